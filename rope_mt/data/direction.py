"""Which way round a pair of sentences is, told by words of English grammar that German lacks, and the reverse."""

from collections.abc import Iterable

FEWEST = 10  # pairs or lines that must tell their language before anything is said of most of them
SURE = 2  # words of one language that a line must have more than of the other; a pair must have one more


def _also_capital(words: str) -> frozenset[str]:
    return frozenset(form for word in words.split() for form in (word, word.capitalize()))


# "die", "den" and "was" are missing: they are words of both.
ENGLISH = _also_capital(
    "the of and to is that it with for are this be by he from on which they were would has there you have their but"
)
GERMAN = _also_capital(
    "und der das ist nicht mit ein eine einem einen zu für auf im von sich es sie wir ich wird werden auch oder sind"
)
WORDS = ENGLISH | GERMAN


def _english(line: str) -> int:
    """How many more words of ENGLISH than of GERMAN it has, each counted once."""
    found = WORDS.intersection(line.split())
    return 2 * len(found & ENGLISH) - len(found) if found else 0


def _sign(src_lang: str, tgt_lang: str) -> int:
    """What the sign of `_english` is for a source; 0 for other languages, of which nothing can be told."""
    return {("en", "de"): 1, ("de", "en"): -1}.get((src_lang, tgt_lang), 0)


def of_pairs(pairs: Iterable[tuple[str, str]], src_lang: str, tgt_lang: str) -> list[int]:
    """For each pair 1 where its sides look as they should, -1 where they look exchanged, 0 where it cannot be told."""
    sign = _sign(src_lang, tgt_lang)
    if not sign:
        return [0 for _ in pairs]
    found = []
    for src, tgt in pairs:
        ours, theirs = sign * _english(src), -sign * _english(tgt)
        found.append((ours + theirs > SURE) - (ours + theirs < -SURE) if ours * theirs > 0 else 0)
    return found


def of_sources(lines: Iterable[str], src_lang: str, tgt_lang: str) -> list[int]:
    """The same of lines to be translated: -1 where a line looks like the target language."""
    leaning = (_sign(src_lang, tgt_lang) * _english(line) for line in lines)
    return [(lean >= SURE) - (lean <= -SURE) for lean in leaning]


def most_wrong(found: list[int]) -> bool:
    """Whether most of those that can be told are the wrong way round."""
    return mostly(found.count(-1), len(found) - found.count(0))


def mostly(wrong: int, told: int) -> bool:
    """Whether so many are most of those told, and these enough to say so."""
    return told >= FEWEST and wrong > told / 2
