"""The toy grammar's words, and a dictionary of them for a translation word by word that ignores order."""

import re
from collections import Counter

from rope_mt.data.toy import lexicon as lx

Entry = lx.Word | lx.Noun | lx.Adjective | lx.Verb | lx.Determiner | lx.Pronoun | lx.Preposition | lx.Conjunction

LEXICON: list[Entry] = [
    *(*lx.NOUNS, *lx.EVENTS, *lx.PERIODS, *lx.ADJECTIVES, lx.BE),
    *(*lx.TRANSITIVE, *lx.DOUBLE_OBJECT, *lx.OBJECT_TO, *lx.INTRANSITIVE, *lx.MOTION),
    *(*lx.THAT, *lx.TELL, *lx.WHETHER, *lx.TO, *lx.LET_TO),
    *(*lx.ADVERBS, *lx.MANNERS, *lx.OPENINGS, *lx.WEEKDAYS, *lx.MONTHS, *lx.DAYTIMES, *lx.DEICTIC, *lx.CITIES),
    *(*lx.UNITS, *lx.TENS, lx.HUNDRED, lx.O_CLOCK),
    *(lx.THE, lx.A, lx.NO, *lx.QUANTIFIERS, *lx.POSSESSIVES, *lx.PRONOUNS, lx.WHO),
    *(*lx.RELATIONS, lx.TO_PLACE, lx.INTO, lx.FROM, lx.OUT_OF, lx.THROUGH),
    *(lx.IN, lx.WITH, lx.WITHOUT, lx.FOR, lx.Preposition("after", "nach", "dat")),
    *(*lx.SUBORDINATORS, lx.THAT_CLAUSE, lx.WHETHER_CLAUSE, lx.IN_ORDER_TO, lx.AND, lx.BUT, lx.OR, *lx.QUESTION_WORDS),
]


def forms(entry: Entry) -> set[str]:
    """The English forms of a word: of several words the first, of a comparative the last."""
    english = {name: form for name, form in vars(entry).items() if name.partition("_")[0] == "en" and form}
    return {form.split()[-1 if name == "en_more" else 0] for name, form in english.items()}


def words_of(sentence: str) -> set[str]:
    return {*re.findall(r"[\w'-]+", sentence)}


def glossary(train: list[tuple[str, str]]) -> dict[str, str]:
    """Each English word in lower case, with the German word of the largest Dice coefficient."""
    english, german, both = Counter(), Counter(), Counter()
    for pair in train:
        src, tgt = words_of(pair[0].lower()), words_of(pair[1])
        english.update(src)
        german.update(tgt)
        both.update((en, de) for en in src for de in tgt)
    best: dict[str, tuple[float, str]] = {}
    for (en, de), n in both.items():
        best[en] = max(best.get(en, (0.0, "")), (n / (english[en] + german[de]), de))
    return {en: de for en, (_, de) in best.items()}
