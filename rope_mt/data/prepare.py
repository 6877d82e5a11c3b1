"""`rope-mt prepare`: clean the training text, train the tokenizer, write token ids to memory maps.

A prepared folder gets its name when it is complete. Until then the work lies in a hidden folder beside it. The same
command finds the tokenizer there, which takes longest to make.
"""

import hashlib
import json
import math
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, compress, islice
from pathlib import Path
from typing import Any

import numpy as np

from rope_mt.config.commands import PrepareConfig
from rope_mt.config.data import DataConfig
from rope_mt.data import checks, text
from rope_mt.data.clean import MAX_BROKEN, Cleaning
from rope_mt.data.corpus import Corpus, locate
from rope_mt.data.epoch import EpochPlan
from rope_mt.data.prepared import MAPS, META, MODEL, SIDES, Prepared
from rope_mt.data.tokenizer import Tokenizer, train_tokenizer
from rope_mt.errors import UserError
from rope_mt.system import disk
from rope_mt.system.files import append, finish_folder, write_whole
from rope_mt.system.locks import OWNER, only_one
from rope_mt.system.manifest import write_manifest
from rope_mt.system.progress import progress

FORMAT = 5  # of a prepared folder; another number makes new folders beside the old ones
CHUNK = 10_000  # pairs encoded at a time
SAMPLE = {"bpe": 2_000_000, "unigram": 500_000}  # lines of both sides that the tokenizer is trained on


def prepare(cfg: DataConfig, corpus: Corpus | None = None) -> Prepared:
    """Make the folder that training reads, or find it made: `DIR/NAME-HASH`, named after the text and the settings.

    Raises:
        UserError: text is missing, unequal, empty or not UTF-8, or the folder cannot be written or is damaged.
    """
    corpus = corpus or locate(cfg)
    cfg = corpus.cfg
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
    if folder.is_symlink():
        folder = folder.resolve()
    if (folder / META).is_file():
        return Prepared.read(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is not all there: remove it, and it is made again")
    for part in (corpus.valid, corpus.test):
        text.read_test_set(part)  # refuse a broken test set now, not after training
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    warnings: list[str] = []
    (n_pairs, src_size), (_, tgt_size) = (text.size(side, warnings.append) for side in zip(*corpus.train, strict=True))
    needed = estimated_size(src_size + tgt_size, n_pairs, cfg.vocab_size)
    disk.ensure(f"preparing data={cfg.name}", unfinished, needed, "choose another disk with data.dir=FOLDER")
    with only_one(unfinished):
        if (folder / META).is_file():  # made by another process, for which this one has waited
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            _build(cfg, corpus.train, n_pairs, {**settings, "warnings": warnings}, unfinished)
            finish_folder(unfinished, folder)
    return Prepared.read(folder)


def prepare_and_report(cfg: PrepareConfig) -> None:
    """Make what training reads, and print what was read and made, and how it is batched.

    Raises:
        UserError: as `prepare` does, or no pair is short enough to be trained on.
    """
    from rope_mt.data.batches import training_pairs  # which imports torch

    corpus = locate(cfg.data)
    prepared, data = prepare(cfg.data, corpus), corpus.cfg
    print(*report(prepared), *(f"{name}: {line}" for name, line in corpus.chosen.items()), sep="\n")
    pairs = training_pairs(replace(data, sampling=0.0), prepared, seed=0)
    plan = EpochPlan(*pairs.lengths(), data.batch_tokens, data.max_len, seed=0)
    batches = f"an epoch has {len(plan):,} batches of {len(plan.shapes)} shapes"
    print(f"{batches} with up to {data.batch_tokens:,} slots, {plan.efficiency():.1%} of them filled")


def estimated_size(size: int, pairs: int, vocab_size: int) -> float:
    """Bytes of the folder made of so many bytes of English and German text, a little too high.

    With 1,000 pieces one piece is 2.4 to 3.0 bytes of text long, and each doubling of their number adds 0.5 bytes:
    measured with 1,000 to 37,000 on europarl, news, talks, chats and captions. The model has 14 to 18 bytes a piece.
    """
    piece = max(1.0, 2.3 + 0.5 * math.log2(vocab_size / 1_000))
    ids, lengths, begins = 2 * size / piece, 4 * pairs, pairs
    return ids + lengths + begins + 18 * vocab_size


def _build(cfg: DataConfig, files: text.Files, n_pairs: int, settings: dict[str, Any], folder: Path) -> None:
    """Fill the unfinished folder, in which a killed process may have left the tokenizer."""
    for file in folder.iterdir():
        if file.name not in (MODEL, OWNER):
            file.unlink()
    model = folder / MODEL
    try:
        if not model.is_file():
            write_whole(model, _train_tokenizer(cfg, files, n_pairs, settings["warnings"].append))
        counts = _encode(cfg, files, n_pairs, folder, settings["warnings"].append)
    except UserError as error:
        if not isinstance(error.__cause__, OSError):  # the text or the settings must change: nothing here is of use
            shutil.rmtree(folder, ignore_errors=True)
        raise
    write_manifest(folder / META, {**settings, "read": n_pairs, **counts}, [model, *(folder / name for name in MAPS)])


def _train_tokenizer(cfg: DataConfig, files: text.Files, n_pairs: int, warn: text.Warn) -> bytes:
    """Train on every pair, or on every n-th of a corpus that is larger than the sample."""
    every = max(1, math.ceil(2 * n_pairs / SAMPLE[cfg.tokenizer]))
    if every > 1:
        print(f"training {cfg.vocab_size:,} pieces on {2 * n_pairs // every:,} lines", file=sys.stderr, flush=True)
    sentences = (side for src, tgt, _ in _kept(Cleaning(cfg), files, n_pairs, every) for side in (src, tgt))
    return train_tokenizer(sentences, cfg.vocab_size, cfg.tokenizer, warn)


def _kept(cleaning: Cleaning, files: text.Files, n_pairs: int, every: int = 1) -> Iterator[tuple[str, str, bool]]:
    """Of every n-th pair those whose text is kept, and whether a document begins there or the pair before was dropped.

    Raises:
        UserError: more than MAX_BROKEN of the pairs are not UTF-8, or none is kept.
    """
    begins, any_kept = False, False
    for src, tgt, begins_document, _ in islice(text.pairs(files), 0, None, every):
        begins |= begins_document
        if pair := cleaning.text(src, tgt):
            any_kept = True
            yield *pair, begins
        elif cleaning.dropped["not UTF-8"] > n_pairs * MAX_BROKEN:
            raise UserError(f"more than {MAX_BROKEN:.1%} of the training lines are not UTF-8: is this text?")
        begins = pair is None
    if not any_kept:
        raise UserError(f"{', '.join(str(source) for source, _ in files)}: no pair to train on")


def _encode(cfg: DataConfig, files: text.Files, n_pairs: int, folder: Path, warn: text.Warn) -> dict[str, Any]:
    """Write the maps, chunk by chunk; return what meta.json says of the kept and the dropped pairs."""
    tokenizer, cleaning = Tokenizer((folder / MODEL).read_bytes()), Cleaning(cfg)
    pairs, after_gap = _kept(cleaning, files, n_pairs), False
    counts, tokens = Counter(kept=0, show_languages=0, look_exchanged=0), Counter()
    with progress("encoding", n_pairs, "pairs") as advance:
        while chunk := list(islice(pairs, CHUNK)):
            src, tgt, begins = zip(*chunk, strict=True)
            encoded = [tokenizer.encode(side, threads=cores()) for side in (src, tgt)]
            lengths = [np.fromiter(map(len, ids), np.int64) for ids in encoded]
            fits = cleaning.fits(*lengths)
            append(folder / "begins", (begins | np.concatenate(([after_gap], ~fits[:-1])))[fits].tobytes())
            after_gap = not fits[-1]
            for side, ids, length in zip(SIDES, encoded, lengths, strict=True):
                kept = np.fromiter(chain.from_iterable(compress(ids, fits)), np.uint16)
                append(folder / f"{side}.ids", kept.tobytes())
                append(folder / f"{side}.lengths", length[fits].astype(np.uint16).tobytes())
                tokens[side] += len(kept)
            directions = checks.directions(compress(src, fits), compress(tgt, fits), cfg.src_lang, cfg.tgt_lang)
            counts["kept"] += len(directions)
            counts["show_languages"] += len(directions) - directions.count(0)
            counts["look_exchanged"] += directions.count(-1)
            advance(len(chunk))
    if not counts["kept"]:
        raise UserError(f"{', '.join(str(source) for source, _ in files)}: no pair to train on")
    if cleaning.unseen:
        warn(f"{text.tally(cleaning.unseen, 'pair')}: text is read in NFC, and the signs stay")
    dropped = {step: cleaning.dropped[step] for step in cleaning.STEPS if cleaning.dropped[step]}
    return {**counts, "dropped": dropped, "tokens": tokens}


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def report(prepared: Prepared) -> Iterable[str]:
    """Lines for the user: what was read, what was made, and then one for everything that may be a mistake."""
    meta = prepared.meta
    reasons = ", ".join(f"{n:,} {step}" for step, n in meta["dropped"].items()) or "none"
    yield f"{meta['read']:,} pairs read, {meta['kept']:,} kept; dropped: {reasons}"
    src, tgt = meta["tokens"]["src"], meta["tokens"]["tgt"]
    yield f"{src:,} source and {tgt:,} target tokens of {meta['vocab_size']:,} pieces in {prepared.folder}"
    yield from meta["warnings"]
    if exchanged := meta["look_exchanged"]:
        src_lang, tgt_lang = meta["languages"]
        warning = "warning: " if checks.most_of(exchanged, meta["show_languages"]) else ""
        of = f"{exchanged:,} of {meta['show_languages']:,} pairs that show their languages"
        yield f"{warning}in {of} the source looks like {tgt_lang} and the target like {src_lang}"
