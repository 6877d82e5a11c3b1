"""`rope-mt prepare`: clean the training text, train the tokenizer, write token ids to memory maps.

A prepared folder appears under its name only when it is complete. Until then the work lies in a hidden folder beside
it, with a note of how far it is: whoever starts the same again goes on there.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from rope_mt.config.data import DataConfig
from rope_mt.data import text
from rope_mt.data.clean import MAX_BROKEN, Cleaning
from rope_mt.data.corpus import Corpus, Files, locate
from rope_mt.data.tokenizer import Tokenizer, train_tokenizer
from rope_mt.durable import finish_folder, only_one, write_json, write_whole
from rope_mt.errors import UserError
from rope_mt.progress import progress

FORMAT = 2  # of a prepared folder; a change makes new folders beside the old ones
CHUNK = 50_000  # pairs encoded at a time, and lost when the process is killed
SAMPLE = {"bpe": 2_000_000, "unigram": 500_000}  # lines of both sides that the tokenizer is trained on
SIDES = ("src", "tgt")
MAPS = {"src.ids": np.uint16, "tgt.ids": np.uint16, "src.lengths": np.uint16, "tgt.lengths": np.uint16, "begins": bool}


@dataclass(frozen=True)
class Prepared:
    """A folder that `prepare` made: the SentencePiece model, and of the kept pairs

    - `src.ids`, `tgt.ids`: their token ids end to end, without bos and eos,
    - `src.lengths`, `tgt.lengths`: how many ids each has,
    - `begins`: whether a document begins there, or something before it was dropped.
    """

    folder: Path
    meta: dict[str, Any]

    def tokenizer(self) -> Tokenizer:
        """The model that the ids were made with.

        Raises:
            UserError: it is missing, or another one.
        """
        path = self.folder / "sentencepiece.model"
        try:
            model = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}; remove {self.folder} to make it again") from error
        if hashlib.sha256(model).hexdigest() != self.meta["tokenizer_sha256"]:
            raise UserError(f"{path} is not the model of {self.folder}/meta.json; remove the folder to make it again")
        return Tokenizer(model)

    def map(self, name: str) -> np.ndarray:
        """One of the arrays above, read from disk as it is needed.

        Raises:
            UserError: the file does not have the size that meta.json says.
        """
        path, kind = self.folder / name, np.dtype(MAPS[name])
        entries = self.meta["tokens"][name[:3]] if name.endswith(".ids") else self.meta["kept"]
        if not path.is_file() or path.stat().st_size != entries * kind.itemsize:
            raise UserError(f"{path} is damaged: remove {self.folder} to make it again")
        return np.memmap(path, dtype=kind, mode="r")


def prepare(cfg: DataConfig, corpus: Corpus | None = None) -> Prepared:
    """Make what training reads, or find it made: `DIR/NAME-HASH`, named after the training text and the settings.

    Raises:
        UserError: text is missing, unequal, empty or not UTF-8, or the folder cannot be written.
    """
    corpus = corpus or locate(cfg)
    settings = {
        "format": FORMAT,
        "train": corpus.fingerprints["train"],
        "languages": [cfg.src_lang, cfg.tgt_lang],
        "tokenizer": cfg.tokenizer,
        "vocab_size": cfg.vocab_size,
        "clean": cfg.clean,
        "drop_identical": cfg.drop_identical,
        "drop_duplicates": cfg.drop_duplicates,
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    folder = Path(cfg.dir) / f"{cfg.name}-{key}"
    if not (folder / "meta.json").is_file():
        for part in (corpus.valid, corpus.test):
            text.read_test_set(part)  # refuse a broken test set now, not after training
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        with only_one(unfinished):
            if (folder / "meta.json").is_file():  # by the one that was waited for
                shutil.rmtree(unfinished, ignore_errors=True)
            else:
                if not (unfinished / "meta.json").is_file():
                    _build(cfg, corpus.train, settings, unfinished)
                for rest in (unfinished / "progress.json", *unfinished.glob(".*")):  # .*: of a write that was cut off
                    rest.unlink(missing_ok=True)
                finish_folder(unfinished, folder)
    return Prepared(folder, json.loads((folder / "meta.json").read_text()))


def _build(cfg: DataConfig, files: Files, settings: dict[str, Any], folder: Path) -> None:
    read = sum(text.count(source) for source, _ in files)
    model = folder / "sentencepiece.model"
    try:
        if not model.is_file():
            write_whole(model, _train_tokenizer(cfg, files, read))
        tokenizer = Tokenizer(model.read_bytes())
        done = _encode(files, Cleaning(cfg), tokenizer, folder, read)
        if not done["kept"]:
            raise UserError(f"{', '.join(str(source) for source, _ in files)}: no pair to train on")
    except UserError as error:
        if not isinstance(error.__cause__, OSError):  # the text or the settings must change: nothing to go on with
            shutil.rmtree(folder, ignore_errors=True)
        raise
    tokens = {side: (folder / f"{side}.ids").stat().st_size // 2 for side in SIDES}
    meta = {"read": read, "kept": done["kept"], "dropped": done["dropped"], "tokens": tokens}
    meta |= {"tokenizer_sha256": tokenizer.sha256, "dtypes": {n: np.dtype(kind).name for n, kind in MAPS.items()}}
    write_json(folder / "meta.json", {**settings, **meta})


def _train_tokenizer(cfg: DataConfig, files: Files, read: int) -> bytes:
    """Train on every pair, or on every n-th of a corpus that is larger than the sample."""
    every = max(1, -(-2 * read // SAMPLE[cfg.tokenizer]))
    if every > 1:
        print(f"training {cfg.vocab_size:,} pieces on {2 * read // every:,} lines", file=sys.stderr, flush=True)
    cleaning = Cleaning(cfg)
    cleaned = (cleaning.text(src, tgt) for src, tgt, _ in islice(_pairs(files), 0, None, every))
    sentences = chain.from_iterable(pair for pair in cleaned if pair)
    if (first := next(sentences, None)) is None:
        raise UserError(f"{', '.join(str(source) for source, _ in files)}: no pair to train on")
    return train_tokenizer(chain((first,), sentences), cfg.vocab_size, cfg.tokenizer)


def _pairs(files: Files) -> Iterator[tuple[bytes, bytes, bool]]:
    """All pairs, and whether a document begins with them."""
    for source, target in files:
        marks = text.documents(source)
        begins = {0, *(text.first_lines(marks) if marks else ())}
        for n, (src, tgt) in enumerate(text.aligned(source, target)):
            yield src, tgt, n in begins


def _encode(files: Files, cleaning: Cleaning, tokenizer: Tokenizer, folder: Path, read: int) -> dict[str, Any]:
    """Append the ids of all kept pairs to the maps, chunk by chunk, and note after each how far that is."""
    note = folder / "progress.json"
    done: dict[str, Any] = {"lines": 0, "kept": 0, "dropped": {}, "begins": True, "bytes": dict.fromkeys(MAPS, 0)}
    if note.is_file():
        done = json.loads(note.read_text())
    pairs = _pairs(files)
    for src, tgt, _ in islice(pairs, done["lines"]):
        if cleaning.duplicates:
            cleaning.text(src, tgt)  # to know them again
    cleaning.dropped.clear()
    cleaning.dropped.update(done["dropped"])
    with ExitStack() as open_files:
        maps = {name: open_files.enter_context(open(folder / name, "ab")) for name in MAPS}
        for name, file in maps.items():
            file.truncate(done["bytes"][name])  # what came after the last note is done again
        with progress("encoding", read, "pairs", done["lines"]) as advance:
            while chunk := list(islice(pairs, CHUNK)):
                arrays, done["begins"] = _encode_chunk(chunk, done["begins"], cleaning, tokenizer)
                for name, file in maps.items():
                    file.write(arrays[name].tobytes())
                    file.flush()
                    os.fsync(file.fileno())
                    done["bytes"][name] = file.tell()
                done["lines"] += len(chunk)
                done["kept"] += len(arrays["begins"])
                done["dropped"] = {step: cleaning.dropped[step] for step in cleaning.STEPS if cleaning.dropped[step]}
                if cleaning.dropped["not UTF-8"] > read * MAX_BROKEN:
                    raise UserError(
                        f"{cleaning.dropped['not UTF-8']} of {read} training lines are not UTF-8: is this text?"
                    )
                write_json(note, done)
                advance(len(chunk))
    return done


def _encode_chunk(
    chunk: list[tuple[bytes, bytes, bool]], begins_here: bool, cleaning: Cleaning, tokenizer: Tokenizer
) -> tuple[dict[str, np.ndarray], bool]:
    """What a chunk adds to each map, and whether the pair after it begins something."""
    kept, begins = [], []
    for src, tgt, begins_document in chunk:
        begins_here |= begins_document
        if (pair := cleaning.text(src, tgt)) is not None:
            kept.append(pair)
            begins.append(begins_here)
        begins_here = pair is None
    arrays: dict[str, np.ndarray] = {}
    for side, sentences in zip(SIDES, zip(*kept, strict=True) if kept else ((), ()), strict=True):
        encoded = tokenizer.encode(list(sentences), threads=cores())
        arrays[f"{side}.lengths"] = np.fromiter(map(len, encoded), np.int64, len(encoded))
        arrays[f"{side}.ids"] = np.fromiter(chain.from_iterable(encoded), np.uint16, arrays[f"{side}.lengths"].sum())
    fits = cleaning.fits(arrays["src.lengths"], arrays["tgt.lengths"])
    after_gap = np.concatenate(([False], ~fits[:-1])) if kept else fits
    for side in SIDES:
        arrays[f"{side}.ids"] = arrays[f"{side}.ids"][np.repeat(fits, arrays[f"{side}.lengths"])]
        arrays[f"{side}.lengths"] = arrays[f"{side}.lengths"][fits].astype(np.uint16)
    arrays["begins"] = (np.array(begins, dtype=bool) | after_gap)[fits]
    return arrays, begins_here or bool(kept and not fits[-1])


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def report(prepared: Prepared) -> Iterable[str]:
    """What was read and made, a line each."""
    meta = prepared.meta
    reasons = ", ".join(f"{n:,} {step}" for step, n in meta["dropped"].items()) or "none"
    yield f"{meta['read']:,} pairs read, {meta['kept']:,} kept; dropped: {reasons}"
    src, tgt = meta["tokens"]["src"], meta["tokens"]["tgt"]
    yield f"{src:,} source and {tgt:,} target tokens of {meta['vocab_size']:,} pieces in {prepared.folder}"
