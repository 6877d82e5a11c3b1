"""A parallel corpus: where it comes from, how it is cleaned and cut into pieces and batches."""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from omegaconf import MISSING

from rope_mt.config.checks import at_least, choice, folder_name, fraction, no_effect, require

TEST_NAME = r"[\w.+-]+"  # of an additional test set
OF_FURTHER_TESTS = "further_tests."  # an additional test set NAME is further_tests.NAME where texts have keys
JOINED = "test-joined-{}"  # name of the test set with each {} consecutive lines joined to one


@dataclass
class Recipe:
    """What training on a corpus of this size needs. Trainer, optimizer and model take these values by default."""

    max_steps: int = 100_000  # optimizer updates
    val_every: int = 2_000  # updates from one validation and checkpoint to the next
    val_sentences: int = 500  # validation sentences that are translated for BLEU during training
    warmup_steps: int = 4_000  # updates until the learning rate reaches its peak
    lr: float = 7e-4  # peak of the learning rate
    dropout: float = 0.1  # probability, at least 0 and below 1
    norm: str = "post"  # model.norm
    optimizer: str = "adam"  # optimizer.name
    schedule: str = "inverse-sqrt"  # optimizer.schedule
    average: int = 5  # trainer.average
    short: int = 24  # tokens a side that experiment=extrapolation trains on at most; many test sentences are longer


@dataclass
class ArchiveConfig:
    """A tar archive on the web with text in it. Archives that name the same text are put one after the other."""

    text: str = MISSING  # prefix that the members become
    url: str = MISSING  # address of the archive
    members: dict[str, str] = MISSING  # language -> name of the file, in whatever folder of the archive it is
    check: str = MISSING  # sha256:HEX or md5:HEX
    size: int | None = None  # bytes; null: not known

    def __post_init__(self) -> None:
        known = re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", self.check)
        require(bool(known), f"data.archives of {self.url}: check", "sha256: or md5: and lower-case digits", self.check)
        at_least(1, self, f"data.archives of {self.url}: ", "size")


@dataclass
class ParquetConfig:
    """The same text in Parquet files, as Hugging Face has it: a column `translation` with a field a language."""

    text: str = MISSING  # prefix that the files become
    files: list[str] = MISSING  # names of the files below the mirror
    pairs: int = MISSING  # sentence pairs in the files


@dataclass
class DataConfig:
    """A parallel corpus. PREFIX means the two files PREFIX.en and PREFIX.de, plain, .gz or .xz.

    A TEXT is a PREFIX, one of its two files, a table (a file with SOURCE, TAB, TARGET in each line, or FILE.parquet), a
    glob of these, or hf:OWNER/NAME/SUBSET/SPLIT of a Hugging Face data set.
    """

    name: str = MISSING  # name of the corpus, which begins the names of its folders
    # A run is named after the content of its text (data/corpus.py), not after these prefixes.
    train: Any = no_effect(MISSING)  # training text: FILE.tsv, a PREFIX, another TEXT (see data/README.md), or a list
    valid: Any = no_effect(None)  # validation set: a TEXT or a list; null: pairs are held out from data.train
    test: Any = no_effect(None)  # test set: a TEXT or a list; null: pairs are held out from data.train
    held_out: int = no_effect(1_000)  # pairs that are held out for each of the two, one in 20 at most
    # columns of source and target in tables of text
    columns: list[int] = field(default_factory=lambda: [1, 2], metadata={"identity": False})
    # TEXTs of additional test sets, which are scored at the end of training, each under its file's name
    further_tests: list[str] = field(default_factory=list, metadata={"identity": False})
    # also score the test set with each N consecutive lines joined to one, for each N of this list
    joined_tests: list[int] = field(default_factory=list)
    src_lang: str = "en"  # source language, the ending of its files
    tgt_lang: str = "de"  # target language, the ending of its files
    origin: str = no_effect("")  # where missing files come from: grammar (of data=toy), or an address of .gz files
    archives: list[ArchiveConfig] = field(default_factory=list, metadata={"identity": False})  # archives to fetch
    # Parquet files to read instead, where data.mirror has them
    parquet: list[ParquetConfig] = field(default_factory=list, metadata={"identity": False})
    mirror: str = no_effect("")  # folder or address with the files that would be fetched, instead of their own site
    disk: float = no_effect(0.0)  # GB that fetching and preparing needs: archives, text and token ids together
    clean: str = "standard"  # standard or fairseq: which pairs are dropped as too long or too different in length
    drop_identical: bool = False  # drop pairs whose source and target are the same
    drop_duplicates: bool = False  # drop all but the first of equal pairs
    tokenizer: str = "bpe"  # bpe or unigram: the kind of the joint SentencePiece model
    vocab_size: int = 8_000  # pieces of the SentencePiece model, from 300 to 65535; 0: as many as fit the text
    # tokens of a batch, padding and both sides counted: pairs x (slots of a source + slots of a target); 0: as fits
    batch_tokens: int = 4_096
    max_len: int = 256  # tokens; training pairs that are longer on a side are skipped
    # join consecutive sentences of a document to training examples of at most so many tokens a side; null: do not join
    context_tokens: int | None = None
    # subword regularisation of the training text: probability of BPE dropout, or unigram's alpha; 0: none
    sampling: float = 0.0
    workers: int = no_effect(0)  # processes that assemble batches beside the training process
    dir: str = no_effect("data")  # folder of texts and prepared corpora
    # The values count towards a run's name where they take effect.
    recipe: Recipe = field(default_factory=Recipe, metadata={"identity": False})

    def __post_init__(self) -> None:
        folder_name("data.name", self.name)
        for part in ("train", "valid", "test"):
            value = getattr(self, part)
            if value is None and part != "train":
                continue
            prefixes = [value] if isinstance(value, str) else value
            text = isinstance(prefixes, list) and prefixes and all(isinstance(name, str) and name for name in prefixes)
            require(bool(text), f"data.{part}", "the name of a text or a list of names", value)
            setattr(self, part, prefixes)
        reserved = re.compile(f"train|valid|test|{JOINED.format('.*')}", re.IGNORECASE)
        own = all(re.fullmatch(TEST_NAME, name) and not reserved.fullmatch(name) for name in self.named_tests)
        own &= len({name.lower() for name in self.named_tests}) == len(self.further_tests)  # some disks ignore case
        require(own, "data.further_tests", "prefixes with names of their own", self.further_tests)
        rising = all(low < high for low, high in pairwise([1, *self.joined_tests]))
        require(rising, "data.joined_tests", "rising numbers from 2 on", self.joined_tests)
        require(self.src_lang != self.tgt_lang, "data.tgt_lang", "another language than data.src_lang", self.tgt_lang)
        fits = self.vocab_size == 0 or 300 <= self.vocab_size <= 65_535
        require(fits, "data.vocab_size", "0 or from 300 to 65535", self.vocab_size)
        require(1 <= self.max_len <= 65_535, "data.max_len", "from 1 to 65535", self.max_len)
        # the end-of-sentence token counts on both sides
        at_least(2 * (self.max_len + 1) if self.batch_tokens else 0, self, "data.", "batch_tokens")
        two = len(self.columns) == len({*self.columns}) == 2 and min(self.columns) >= 1
        require(two, "data.columns", "two different numbers from 1 on, as in [1,2]", self.columns)
        at_least(0, self, "data.", "workers")
        at_least(1, self, "data.", "held_out", "context_tokens")
        at_least(self.context_tokens or 1, self, "data.", "max_len")
        fraction(self, "data.", "sampling")
        choice(self, "data.", clean=["standard", "fairseq"], tokenizer=["bpe", "unigram"])

    @property
    def named_tests(self) -> dict[str, str]:
        """The prefix of each additional test set by its name."""
        return {PurePath(prefix).name: prefix for prefix in self.further_tests}
