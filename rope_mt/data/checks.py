"""Checks of parallel text: its direction, the well-known test sets, and what the user should be warned of."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable

from rope_mt.data import text
from rope_mt.data.tokenizer import LONGEST, Tokenizer, list_lines, read

# ---- direction: words of English grammar that German lacks, and the reverse ------------------------------------------

FEWEST = 10  # pairs or lines whose languages must show before anything is said of most of them
SURE = 2  # a pair shows its direction with more words than this, on both sides together, of the languages they lean to


def _with_capitals(words: str) -> frozenset[str]:
    return frozenset(form for word in words.split() for form in (word, word.capitalize()))


# "die", "den" and "was" are missing: they are words of both.
ENGLISH = _with_capitals(
    "the of and to is that it with for are this be by he from on which they were would has there you have their but"
)
GERMAN = _with_capitals(
    "und der das ist nicht mit ein eine einem einen zu für auf im von sich es sie wir ich wird werden auch oder sind"
)


def _lean(line: str) -> int:
    """The number of words in ENGLISH less the number of words in GERMAN, each counted once."""
    words = set(line.split())
    return len(words & ENGLISH) - len(words & GERMAN)


def directions(src: Iterable[str], tgt: Iterable[str] | None, src_lang: str, tgt_lang: str) -> list[int]:
    """For each pair 1 where its sides look right, -1 where they look exchanged, and 0 where the words do not tell.

    Without targets the sources alone are looked at, with twice their weight.
    """
    sign = {("en", "de"): 1, ("de", "en"): -1}.get((src_lang, tgt_lang), 0)
    src_leans = [sign * _lean(line) for line in src]
    tgt_leans = src_leans if tgt is None else [-sign * _lean(line) for line in tgt]
    leans = zip(src_leans, tgt_leans, strict=True)
    return [(1 if a > 0 else -1) if a * b > 0 and abs(a + b) > SURE else 0 for a, b in leans]


def mostly_wrong(directions: list[int]) -> bool:
    """Whether most of the lines or pairs whose direction shows are the wrong way round."""
    return most_of(directions.count(-1), len(directions) - directions.count(0))


def most_of(wrong: int, known: int) -> bool:
    """Whether `wrong` is more than half of `known`, and `known` large enough to say so."""
    return known >= FEWEST and wrong > known / 2


# ---- well-known test sets, recognised by their references ------------------------------------------------------------

# The keys are of copies in NFC without control characters and doubled blanks, so `fingerprint` ignores these too.
# Published scores on all of newstest2014 say ref_len 62688 (13a) and the copy has 62,687 tokens, so sacreBLEU's own
# file may differ in a character that counts. It would then have no name, which is better than a wrong name.
KNOWN = {
    "8d1a0657d7a0f36e": "newstest2014, all 3,003 sentences (sacreBLEU wmt14/full)",
    "35422a8e49b0b2de": "newstest2014, 2,737 sentences (sacreBLEU wmt14)",
    "8c889992fa9e119f": "newstest2012 (sacreBLEU wmt12)",
    "9f4640f335c9595e": "newstest2013 (sacreBLEU wmt13)",
    "944ddcfe805bb15c": "newstest2015 (sacreBLEU wmt15)",
    "551222d238cb2336": "Multi30k val",
    "eb3e14920969e5af": "Multi30k test_2016_flickr",
    "da979355d015a335": "Multi30k test_2017_flickr",
    "1bc231e085a8513f": "Multi30k test_2017_mscoco",
}
LONGER = 10_000  # characters; no line of a known test set is so long


def name_of_test_set(references: Iterable[str]) -> str | None:
    """The test set whose German side these lines are, with sacreBLEU's name for it where it has one; else None."""
    return KNOWN.get(fingerprint(references))


def fingerprint(lines: Iterable[str]) -> str:
    """16 hex digits of sha256 over the sorted lines: the order of the sentences does not matter.

    Control and format characters, runs of blanks and the form of accents do not matter either. Everything else does:
    references with other quotation marks are other references, and have moved BLEU by more than a point.
    """
    kept = []
    for line in lines:
        printed = (
            c for c in text.normalize(line, LONGER) if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf")
        )
        kept.append(" ".join("".join(printed).split()))
    return hashlib.sha256("\n".join(sorted(kept)).encode()).hexdigest()[:16]


# ---- validation and test sets ----------------------------------------------------------------------------------------


def warnings_about(
    files: text.Files, tokenizer: Tokenizer, src_lang: str, tgt_lang: str, loss: bool = False
) -> list[str]:
    """A line for everything in a validation or test set that is not read as it is, or may be a mistake.

    Args:
        loss: whether the references are read for a loss too, and not for scoring alone.

    Raises:
        UserError: as `text.read_test_set` does.
    """
    warnings: list[str] = []
    sides = text.read_test_set(files, warnings.append)
    for source, target in files:
        uses = [(source, "translated"), (target, "in the loss")] if loss else [(source, "translated")]
        for path, use in uses:
            lines = [line.decode() for line in text.lines(path)]
            if unseen := Counter(name for line in lines for name in text.oddities(line)):
                warnings.append(f"{path}: {text.tally(unseen)}")
            if cut := read(tokenizer, lines).cut:
                warnings.append(f"{path}, {list_lines(cut)}: only the first {LONGEST:,} tokens of each are {use}")
    if mostly_wrong(directions(*sides, src_lang, tgt_lang)):
        names = ", ".join(str(source) for source, _ in files)
        exchanged = f"most sources look like the language {tgt_lang}, and their references like {src_lang}"
        warnings.append(f"{names}: {exchanged}")
    return warnings
