"""`rope-mt export CHECKPOINT --to FORMAT`: a trained model in a folder of its own, for other programs."""

import argparse
from importlib.util import find_spec
from pathlib import Path

from rope_mt.cli.flags import Parser
from rope_mt.errors import UserError
from rope_mt.runs import exported
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.runs.selection import load
from rope_mt.system.files import whole_folder


def main(arguments: list[str]) -> int:
    """Export what `arguments` name; print where it is and how to use it.

    Raises:
        UserError: the checkpoint cannot be read, or not be exported so; or the folder is there, or cannot be written.
    """
    args = _parse(arguments)
    ckpt = load(args.checkpoint)
    folder = args.out or _run_folder(args.checkpoint) / f"export-{args.to}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already: remove it, or name another folder with --out")
    FORMATS[args.to](ckpt, folder)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="rope-mt export", description="Write a trained model for other programs into a new folder.")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a run folder or one .ckpt file")
    parser.add_argument(
        "--to",
        required=True,
        choices=FORMATS,
        help="ctranslate2: a translator that needs no PyTorch and computes in int8 if wanted; "
        "safetensors: weights, settings and vocabulary, which translate and eval read as they do a run",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="default: export-FORMAT in the run folder")
    return parser.parse_args(arguments)


def _run_folder(path: Path) -> Path:
    if path.is_dir():
        return path
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def to_ctranslate2(ckpt: Checkpoint, folder: Path) -> None:
    if find_spec("ctranslate2") is None:
        raise UserError("CTranslate2 is not installed: pip install 'rope-mt[ct2]'")
    from rope_mt.export import ctranslate2

    spec = ctranslate2.specification(ckpt)
    with whole_folder(folder) as unfinished:
        spec.save(str(unfinished))
        (unfinished / "sentencepiece.model").write_bytes(ckpt.tokenizer.model)
    print(f"# wrote {folder}; this program translates with it, and needs only ctranslate2 and sentencepiece:")
    print(ctranslate2.usage(ckpt.config, folder))


def to_safetensors(ckpt: Checkpoint, folder: Path) -> None:
    with whole_folder(folder) as unfinished:
        exported.write(unfinished, ckpt)
    data = ckpt.config.data
    print(f"wrote {folder}: {', '.join(exported.FILES)}; to translate with it")
    print(f"rope-mt translate {folder} < in.{data.src_lang} > out.{data.tgt_lang}")


FORMATS = {"ctranslate2": to_ctranslate2, "safetensors": to_safetensors}
