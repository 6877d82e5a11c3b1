"""`rope-mt export CHECKPOINT --to FORMAT`: a trained model in a folder of its own, for other programs."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from rope_mt.config.flags import ExportConfig
from rope_mt.errors import UserError
from rope_mt.runs.checkpoint import Checkpoint, load, run_of, write
from rope_mt.system.files import whole_folder


def export(cfg: ExportConfig) -> None:
    """Write a trained model for another program; print where it is and how to use it.

    Raises:
        UserError: the checkpoint cannot be read, or not be exported in this format; or the folder cannot be written.
    """
    ckpt = load(cfg.checkpoint)
    folder = cfg.out or run_of(cfg.checkpoint).path / f"export-{cfg.to}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists: remove it, or name another folder with --out")
    FORMATS[cfg.to](ckpt, folder)


def to_ctranslate2(ckpt: Checkpoint, folder: Path) -> None:
    if find_spec("ctranslate2") is None:
        raise UserError("CTranslate2 is not installed: pip install 'rope-mt[ct2]'")
    from rope_mt.translation import ctranslate2

    spec = ctranslate2.specification(ckpt)
    with whole_folder(folder) as unfinished:
        spec.save(str(unfinished))
        (unfinished / "sentencepiece.model").write_bytes(ckpt.tokenizer.model)
    print(f"# wrote {folder}; this program translates with it, and needs only ctranslate2 and sentencepiece:")
    print(ctranslate2.usage(ckpt.config, folder))


def to_safetensors(ckpt: Checkpoint, folder: Path) -> None:
    """Write a checkpoint of its own, which `translate` and `eval` read as they do a run."""
    write(folder, replace(ckpt, path=folder))
    data, names = ckpt.config.data, sorted(file.name for file in folder.iterdir())
    print(f"wrote {folder}: {', '.join(names)}; to translate with it")
    print(f"rope-mt translate {folder} < in.{data.src_lang} > out.{data.tgt_lang}")


FORMATS = {"ctranslate2": to_ctranslate2, "safetensors": to_safetensors}
