"""A parallel corpus: where it comes from, how it is cleaned and cut into pieces and batches."""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from omegaconf import MISSING

from rope_mt.config.checks import at_least, choice, fraction, no_effect, require

TEST_NAME = r"[\w.+-]+"  # of a further test set
OF_FURTHER_TESTS = "further_tests."  # begins what the text of one is called beside those of train, valid and test
JOINED = "test-joined-{}"  # the name of the test set with so many lines in a row joined to one


@dataclass
class Recipe:
    """What training on a corpus of this size needs; trainer, optimizer and model take it unless told otherwise."""

    max_steps: int = 100_000
    val_every: int = 2_000  # steps from one validation and checkpoint to the next
    val_sentences: int = 500
    warmup_steps: int = 4_000
    lr: float = 7e-4
    dropout: float = 0.1
    short: int = 24  # the tokens a side that experiment=extrapolation trains on: much of the test set is longer


@dataclass
class ArchiveConfig:
    """A tar archive on the web with text in it. Archives that name the same text are put one after the other."""

    text: str = MISSING  # the prefix that its members become
    url: str = MISSING
    members: dict[str, str] = MISSING  # language -> name of the file in the archive, whatever folder it is in there
    check: str = MISSING  # sha256:HEX or md5:HEX
    size: int | None = None  # bytes, where they are known

    def __post_init__(self) -> None:
        known = re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", self.check)
        require(bool(known), f"data.archives of {self.url}: check", "sha256: or md5: and lower-case digits", self.check)
        if self.size is not None:
            at_least(1, **{f"data.archives of {self.url}: size": self.size})


@dataclass
class ParquetConfig:
    """The same text in Parquet files, as Hugging Face has it: a column `translation` with a field a language."""

    text: str = MISSING
    files: list[str] = MISSING  # below the mirror
    pairs: int = MISSING


@dataclass
class DataConfig:
    """A parallel corpus. PREFIX means the two files PREFIX.en and PREFIX.de, plain, .gz or .xz."""

    name: str = MISSING
    train: Any = no_effect(MISSING)  # a prefix, or a list of prefixes and globs; what the files hold is counted,
    valid: Any = no_effect(MISSING)  # not what they are called (corpus.fingerprint)
    test: Any = no_effect(MISSING)
    # prefixes of more test sets to score at the end of training, each called by its file's name
    further_tests: list[str] = field(default_factory=list, metadata={"identity": False})
    joined_tests: list[int] = field(default_factory=list)  # and the test set with so many lines in a row joined to one
    src_lang: str = "en"
    tgt_lang: str = "de"
    origin: str = no_effect("")  # where missing files come from: "grammar", or the address of PREFIX.LANG.gz
    archives: list[ArchiveConfig] = field(default_factory=list, metadata={"identity": False})
    parquet: list[ParquetConfig] = field(default_factory=list, metadata={"identity": False})
    mirror: str = no_effect("")  # a folder or address with the files that would be fetched, instead of their own site
    disk: float = no_effect(0.0)  # GB that fetching and preparing takes, archives, text and token ids together
    clean: str = "standard"  # or fairseq: which pairs are too long or too unlike in length (rope_mt/data/clean.py)
    drop_identical: bool = False  # leave out pairs whose sides are the same
    drop_duplicates: bool = False  # leave out all but the first of equal pairs
    tokenizer: str = "bpe"  # or unigram: how the joint SentencePiece model is made
    vocab_size: int = 8_000  # its pieces
    batch_tokens: int = 4_096  # slots of both sides: (longest source + longest target, a little rounded up) x pairs
    max_len: int = 256  # training examples with more tokens on a side are left out
    context_tokens: int | None = None  # join consecutive sentences of a document, up to so many tokens a side
    sampling: float = 0.0  # subword regularisation of the training text: BPE dropout, or unigram's alpha
    workers: int = no_effect(0)  # processes that assemble batches beside the training process
    dir: str = no_effect("data")  # where prepared corpora are kept
    recipe: Recipe = field(default_factory=Recipe, metadata={"identity": False})  # counted where it takes effect

    def __post_init__(self) -> None:
        for part in ("train", "valid", "test"):
            given = getattr(self, part)
            setattr(self, part, [given] if isinstance(given, str) else given)
            names = getattr(self, part)
            well = isinstance(names, list) and names and all(isinstance(n, str) and n for n in names)
            require(bool(well), f"data.{part}", "a prefix or a list of prefixes", given)
        named = [*self.named_tests]
        taken = re.compile(f"train|valid|test|{JOINED.format('.*')}")
        own = all(re.fullmatch(TEST_NAME, name) and not taken.fullmatch(name) for name in named)
        own &= len(named) == len(self.further_tests)
        require(own, "data.further_tests", "prefixes with names of their own", self.further_tests)
        rising = all(low < high for low, high in pairwise([1, *self.joined_tests]))
        require(rising, "data.joined_tests", "rising numbers from 2 on", self.joined_tests)
        require(self.src_lang != self.tgt_lang, "data.tgt_lang", "another language than data.src_lang", self.tgt_lang)
        require(300 <= self.vocab_size <= 65_535, "data.vocab_size", "from 300 to 65535", self.vocab_size)
        require(1 <= self.max_len <= 65_535, "data.max_len", "from 1 to 65535", self.max_len)
        # the end-of-sentence token counts on both sides
        at_least(2 * (self.max_len + 1), data__batch_tokens=self.batch_tokens)
        at_least(0, data__workers=self.workers)
        choice("data.clean", self.clean, "standard", "fairseq")
        choice("data.tokenizer", self.tokenizer, "bpe", "unigram")
        fraction("data.sampling", self.sampling)
        if self.context_tokens is not None:
            at_least(1, data__context_tokens=self.context_tokens)
            at_least(self.context_tokens, data__max_len=self.max_len)

    @property
    def named_tests(self) -> dict[str, str]:
        """The prefix of each further test set by the name it goes by."""
        return {PurePath(prefix).name: prefix for prefix in self.further_tests}
