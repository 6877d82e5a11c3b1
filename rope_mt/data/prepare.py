"""`rope-mt prepare`: clean the training text, train the tokenizer, write token ids to memory maps.

A prepared folder appears under its name only when it is complete. Until then the work lies in a hidden folder beside
it, with a note of how far it is: whoever starts the same again goes on there.
"""

import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from rope_mt.config.commands import PrepareConfig
from rope_mt.config.data import DataConfig
from rope_mt.data import checks, text
from rope_mt.data.clean import MAX_BROKEN, Cleaning
from rope_mt.data.corpus import Corpus, Files, locate
from rope_mt.data.prepared import DTYPES, MAPS, SIDES, Prepared
from rope_mt.data.tokenizer import Tokenizer, train_tokenizer
from rope_mt.errors import UserError
from rope_mt.system import disk
from rope_mt.system.files import append, finish_folder, write_whole
from rope_mt.system.locks import OWNER, only_one
from rope_mt.system.manifest import read_manifest, sha256, write_manifest
from rope_mt.system.progress import progress

FORMAT = 3  # of a prepared folder; a change makes new folders beside the old ones
CHUNK = 50_000  # pairs encoded at a time, and lost when the process is killed
CHUNK_BYTES = 1 << 28  # of their text, after which a chunk ends early: lines may be a thousand times too long
TOKENIZER_SUM = "sentencepiece.sha256"  # in an unfinished folder, and there before the model
SAMPLE = {"bpe": 2_000_000, "unigram": 500_000}  # lines of both sides that the tokenizer is trained on


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
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "meta.json").is_file():
        raise UserError(f"{folder} is not all there: remove it, and it is made again")
    if not (folder / "meta.json").is_file():
        for part in (corpus.valid, corpus.test):
            text.read_test_set(part)  # refuse a broken test set now, not after training
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        read = sum(text.count(source) for source, _ in corpus.train)
        size = sum(text.size(path) for pair in corpus.train for path in pair)
        needed = estimated(size, read, cfg.vocab_size)
        disk.ensure(f"preparing data={cfg.name}", unfinished, needed, "choose another disk with data.dir=FOLDER")
        with only_one(unfinished):
            if (folder / "meta.json").is_file():  # by the one that was waited for
                shutil.rmtree(unfinished, ignore_errors=True)
            else:
                if not (unfinished / "meta.json").is_file():
                    _build(cfg, corpus.train, read, settings, unfinished)
                notes = (unfinished / name for name in (TOKENIZER_SUM, "progress.json"))
                cut_off = (file for file in unfinished.glob(".*") if file.name != OWNER)  # which stays locked
                for rest in (*notes, *cut_off):
                    rest.unlink(missing_ok=True)
                finish_folder(unfinished, folder)
    return Prepared.read(folder, settings)


def estimated(size: int, pairs: int, vocab_size: int) -> float:
    """Bytes of the folder made of so many bytes of English and German text, a little more than it comes to.

    A piece is 2.4 to 3.0 bytes of text long where there are 1,000 of them, and with each doubling of their number 0.5
    longer: measured with 1,000 to 37,000 on europarl, news, talks, chats and captions. Each takes 14 to 18 bytes.
    """
    longer = max(1.0, 2.3 + 0.5 * math.log2(vocab_size / 1_000))
    ids, lengths, begins = 2 * size / longer, 4 * pairs, pairs
    return ids + lengths + begins + 18 * vocab_size


def _build(cfg: DataConfig, files: Files, read: int, settings: dict[str, Any], folder: Path) -> None:
    model, known = folder / "sentencepiece.model", folder / TOKENIZER_SUM
    try:
        if not (model.is_file() and known.is_file() and known.read_bytes() == sha256(model).encode()):
            trained = _train_tokenizer(cfg, files, read)
            write_whole(known, hashlib.sha256(trained).hexdigest())
            write_whole(model, trained)
        tokenizer = Tokenizer(model.read_bytes())
        done = _encode(_pairs(files), Cleaning(cfg), tokenizer, folder, read)
        if not done["kept"]:
            raise UserError(f"{', '.join(str(source) for source, _ in files)}: no pair to train on")
    except UserError as error:
        if not isinstance(error.__cause__, OSError):  # the text or the settings must change: nothing to go on with
            shutil.rmtree(folder, ignore_errors=True)
        raise
    tokens = {side: (folder / f"{side}.ids").stat().st_size // 2 for side in SIDES}
    counts = {name: done[name] for name in ("kept", "dropped", "show_languages", "look_exchanged", "hold_nul")}
    marks = sum(text.begins_with_mark(path) for pair in files for path in pair)
    meta = {"read": read, **counts, "byte_order_marks": marks, "tokens": tokens}
    meta |= {"tokenizer_sha256": tokenizer.sha256, "dtypes": DTYPES, "sha256": done["sha256"]}
    write_manifest(folder / "meta.json", {**settings, **meta})


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


def _chunk(pairs: Iterator[tuple[bytes, bytes, bool]]) -> list[tuple[bytes, bytes, bool]]:
    """The next CHUNK pairs, or fewer of CHUNK_BYTES."""
    chunk, size = [], 0
    for pair in islice(pairs, CHUNK):
        chunk.append(pair)
        size += len(pair[0]) + len(pair[1])
        if size >= CHUNK_BYTES:
            break
    return chunk


def _encode(
    pairs: Iterator[tuple[bytes, bytes, bool]], cleaning: Cleaning, tokenizer: Tokenizer, folder: Path, read: int
) -> dict[str, Any]:
    """Append the ids of all kept pairs to the maps, chunk by chunk, and note after each how far that is."""
    note = folder / "progress.json"
    done, sums = _noted(note, folder, tokenizer)
    for src, tgt, _ in islice(pairs, done["lines"]):
        if cleaning.duplicates:
            cleaning.text(src, tgt)  # to know them again
    cleaning.dropped.clear()
    cleaning.dropped.update(done["dropped"])
    for name in MAPS:
        with open(folder / name, "ab") as file:
            file.truncate(done["bytes"][name])  # what came after the last note is done again
    with progress("encoding", read, "pairs", done["lines"]) as advance:
        while chunk := _chunk(pairs):
            arrays, done["begins"] = _encode_chunk(chunk, done["begins"], cleaning, tokenizer)
            for name in MAPS:
                added = arrays[name].tobytes()
                done["bytes"][name] = append(folder / name, added, to_disk=True)
                sums[name].update(added)
                done["sha256"][name] = sums[name].hexdigest()
            done["lines"] += len(chunk)
            done["kept"] += len(arrays["begins"])
            done["show_languages"] += int(np.count_nonzero(arrays["ways"]))
            done["look_exchanged"] += int((arrays["ways"] == -1).sum())
            done["hold_nul"] += int(arrays["nul"].sum())
            done["dropped"] = {step: cleaning.dropped[step] for step in cleaning.STEPS if cleaning.dropped[step]}
            if cleaning.dropped["not UTF-8"] > read * MAX_BROKEN:
                raise UserError(
                    f"{cleaning.dropped['not UTF-8']} of {read} training lines are not UTF-8: is this text?"
                )
            write_manifest(note, done)
            advance(len(chunk))
    return done


def _noted(note: Path, folder: Path, tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """How far the maps are, and the running sha256 of each; all begins anew where they are not what was noted."""
    sums = {name: hashlib.sha256() for name in MAPS}
    fresh: dict[str, Any] = {"lines": 0, "kept": 0, "dropped": {}, "begins": True, "bytes": dict.fromkeys(MAPS, 0)}
    fresh |= {"show_languages": 0, "look_exchanged": 0, "hold_nul": 0}  # of the kept pairs
    fresh |= {"tokenizer": tokenizer.sha256, "sha256": {name: digest.hexdigest() for name, digest in sums.items()}}
    if not note.is_file():
        return fresh, sums
    try:
        done = read_manifest(note, "")
        if {n: type(v) for n, v in done.items()} != {n: type(v) for n, v in fresh.items()}:
            raise ValueError("another version's")
        for name, digest in sums.items():
            left = done["bytes"][name]
            with open(folder / name, "rb") as file:
                while block := file.read(min(left, 1 << 20)):
                    digest.update(block)
                    left -= len(block)
        if done["tokenizer"] != tokenizer.sha256 or done["sha256"] != {n: d.hexdigest() for n, d in sums.items()}:
            raise ValueError("not what was noted")
    except (UserError, OSError, ValueError, TypeError, LookupError):
        print(f"{folder} is damaged, and begun anew", file=sys.stderr, flush=True)
        return fresh, {name: hashlib.sha256() for name in MAPS}
    return done, sums


def _encode_chunk(
    chunk: list[tuple[bytes, bytes, bool]], begins_here: bool, cleaning: Cleaning, tokenizer: Tokenizer
) -> tuple[dict[str, np.ndarray], bool]:
    """What a chunk adds to each map, with the `ways` of its pairs as `checks.directions` tells them.

    Returns:
        It, and whether the pair after the chunk begins something.
    """
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
    arrays["ways"] = np.array(checks.directions(kept, *cleaning.languages), dtype=np.int8)[fits]
    arrays["nul"] = np.array(["\0" in src or "\0" in tgt for src, tgt in kept], dtype=bool)[fits]
    return arrays, begins_here or bool(kept and not fits[-1])


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare_and_report(cfg: PrepareConfig) -> None:
    """Make what training reads, and print what was read and made; raises as `prepare` does."""
    print(*report(prepare(cfg.data)), sep="\n")


def report(prepared: Prepared) -> Iterable[str]:
    """What was read and what was made, a line each, and lines for what is odd in it."""
    meta = prepared.meta
    reasons = ", ".join(f"{n:,} {step}" for step, n in meta["dropped"].items()) or "none"
    yield f"{meta['read']:,} pairs read, {meta['kept']:,} kept; dropped: {reasons}"
    src, tgt = meta["tokens"]["src"], meta["tokens"]["tgt"]
    yield f"{src:,} source and {tgt:,} target tokens of {meta['vocab_size']:,} pieces in {prepared.folder}"
    if n := meta["byte_order_marks"]:
        yield f"{n:,} file{'s' * (n > 1)} began with a byte order mark, which was left out"
    if n := meta["hold_nul"]:
        yield f"{n:,} pair{'s' * (n > 1)} with NUL characters: {text.WIDE_UNMARKED}"
    if exchanged := meta["look_exchanged"]:
        src_lang, tgt_lang = meta["languages"]
        warning = "warning: " if checks.most_of(exchanged, meta["show_languages"]) else ""
        of = f"{exchanged:,} of {meta['show_languages']:,} pairs that show their languages"
        yield f"{warning}in {of} the source looks like {tgt_lang} and the target like {src_lang}"
