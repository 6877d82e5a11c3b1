"""`rope-mt prepare`: find or fetch the text, clean it, train the tokenizer, write token ids to memory maps."""

import hashlib
import inspect
import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from rope_mt.config import DataConfig
from rope_mt.data import text
from rope_mt.data.tokenizer import Tokenizer, train_tokenizer
from rope_mt.durable import whole_file, whole_folder, write_json, write_whole
from rope_mt.errors import UserError

FORMAT = 1  # of a prepared folder; a change makes new folders beside the old ones
CHUNK = 50_000  # pairs encoded at a time
MAX_BROKEN = 1 / 1000  # share of training lines that may be invalid UTF-8

Files = list[tuple[Path, Path]]


@dataclass(frozen=True)
class Corpus:
    """The text that a configuration names: its files, and for each part the sha256 of what they hold."""

    train: Files
    valid: Files
    test: Files
    fingerprints: dict[str, str]


def locate(cfg: DataConfig) -> Corpus:
    """Find the text of a corpus, making or fetching what is missing where the corpus says how.

    Raises:
        UserError: a file is missing and cannot be had, or cannot be read.
    """
    if cfg.origin == "grammar":
        _write_toy(Path(cfg.dir) / "toy")
    elif cfg.origin:
        _fetch_missing(cfg)
    named = {"train": cfg.train, "valid": cfg.valid, "test": cfg.test}
    files = {part: text.pairs_of_files(names, cfg.src_lang, cfg.tgt_lang) for part, names in named.items()}
    return Corpus(**files, fingerprints={part: text.fingerprint(pairs) for part, pairs in files.items()})


def _write_toy(folder: Path) -> None:
    """Write the grammar's corpus as text, unless it is there as this version of the grammar makes it."""
    from rope_mt.data import toy, toy_grammar, toy_lexicon, toy_sentences  # builds its lexicon when it is imported

    sources = "".join(map(inspect.getsource, (toy, toy_sentences, toy_grammar, toy_lexicon)))
    made_by = hashlib.sha256(sources.encode()).hexdigest()
    stamp = folder / "made-by"
    if stamp.is_file() and stamp.read_text() == made_by:
        return
    corpus = toy.generate()
    for part in ("train", "valid", "test"):
        for side, lang in enumerate(("en", "de")):
            lines = (pair[side] + "\n" for pair in getattr(corpus, part))
            write_whole(folder / f"{part}.{lang}", "".join(lines))
    write_whole(stamp, made_by)


def _fetch_missing(cfg: DataConfig) -> None:
    for prefix in dict.fromkeys((*cfg.train, *cfg.valid, *cfg.test)):
        for lang in (cfg.src_lang, cfg.tgt_lang):
            if text.find(prefix, lang):
                continue
            target = Path(f"{prefix}.{lang}.gz")
            address = f"{cfg.origin}/{target.name}"
            print(f"fetching {address}")
            try:
                with urllib.request.urlopen(address, timeout=30) as answer, whole_file(target) as file:
                    _copy(answer, file)
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                raise UserError(f"cannot fetch {address} ({error}): put {target.name} into {target.parent}") from error


def _copy(answer: Any, file: IO[bytes]) -> None:
    expected, received = answer.headers.get("Content-Length"), 0
    while block := answer.read(1 << 20):
        received += file.write(block)
    if expected is not None and received != int(expected):
        raise ConnectionError(f"{received} of {expected} bytes came")


@dataclass(frozen=True)
class Prepared:
    """A folder that `prepare` made: the SentencePiece model and the ids of the training pairs."""

    folder: Path
    meta: dict[str, Any]

    def tokenizer(self) -> Tokenizer:
        return Tokenizer((self.folder / "sentencepiece.model").read_bytes())

    def side(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the `src` or `tgt` side of all pairs, end to end (uint16, mapped), and where each begins."""
        ids = np.memmap(self.folder / f"{name}.ids", dtype=np.uint16, mode="r")
        return ids, np.load(self.folder / f"{name}.offsets.npy")


def prepare(cfg: DataConfig, corpus: Corpus | None = None) -> Prepared:
    """Make what training reads, or find it made: `DIR/NAME-HASH`, named after the training text and the pieces.

    Raises:
        UserError: text is missing, unequal, empty or not UTF-8, or the folder cannot be written.
    """
    corpus = corpus or locate(cfg)
    settings = {
        "format": FORMAT,
        "train": corpus.fingerprints["train"],
        "vocab_size": cfg.vocab_size,
        "languages": [cfg.src_lang, cfg.tgt_lang],
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    folder = Path(cfg.dir) / f"{cfg.name}-{key}"
    if not (folder / "meta.json").is_file():
        for part in (corpus.valid, corpus.test):
            text.read_test_set(part)  # refuse a broken test set now, not after training
        with whole_folder(folder) as unfinished:
            _build(cfg, corpus.train, settings, unfinished)
    return Prepared(folder, json.loads((folder / "meta.json").read_text()))


def _build(cfg: DataConfig, files: Files, settings: dict[str, Any], folder: Path) -> None:
    dropped: Counter[str] = Counter()
    model = train_tokenizer(chain.from_iterable(_clean(files, dropped)), cfg.vocab_size)
    kept = dropped.pop("kept")
    read = kept + dropped.total()
    if dropped["not UTF-8"] > read * MAX_BROKEN:
        raise UserError(f"{dropped['not UTF-8']} of {read} training lines are not UTF-8: is this the right file?")
    write_whole(folder / "sentencepiece.model", model)
    tokenizer = Tokenizer(model)
    tokens = {}
    with whole_file(folder / "src.ids") as src, whole_file(folder / "tgt.ids") as tgt:
        lengths: dict[str, list[np.ndarray]] = {"src": [], "tgt": []}
        pairs = _clean(files, Counter())
        while chunk := list(islice(pairs, CHUNK)):
            for name, file, sentences in zip(("src", "tgt"), (src, tgt), zip(*chunk, strict=True), strict=True):
                encoded = tokenizer.encode(list(sentences))
                file.write(np.concatenate(encoded).tobytes())
                lengths[name].append(np.array([len(ids) for ids in encoded]))
    for name, parts in lengths.items():
        offsets = np.concatenate(([0], *parts)).cumsum()
        tokens[name] = int(offsets[-1])
        with whole_file(folder / f"{name}.offsets.npy") as file:
            np.save(file, offsets)
    counts = {"read": read, "kept": kept, "dropped": dict(dropped), "tokens": tokens}
    write_json(folder / "meta.json", {**settings, **counts, "tokenizer": tokenizer.sha256, "dtype": "uint16"})


def _clean(files: Files, counts: Counter[str]) -> Iterator[tuple[str, str]]:
    """The normalised pairs worth training on; `counts` says what became of every line."""
    for source, target in files:
        for pair in text.aligned(source, target):
            try:
                src, tgt = (text.normalize(side.decode()) for side in pair)
            except UnicodeDecodeError:
                counts["not UTF-8"] += 1
                continue
            if not src or not tgt:
                counts["empty"] += 1
                continue
            counts["kept"] += 1
            yield src, tgt
    if not counts["kept"]:
        raise UserError(f"{', '.join(str(source) for source, _ in files)}: no pair to train on")


def report(prepared: Prepared) -> Iterable[str]:
    """What was read and made, a line each."""
    meta = prepared.meta
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in meta["dropped"].items()) or "none"
    yield f"{meta['read']:,} pairs read, {meta['kept']:,} kept; dropped: {reasons}"
    src, tgt = meta["tokens"]["src"], meta["tokens"]["tgt"]
    yield f"{src:,} source and {tgt:,} target tokens of {meta['vocab_size']:,} pieces in {prepared.folder}"
