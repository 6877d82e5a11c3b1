"""The toy grammar's words as a dictionary, for a translation word by word that ignores order."""

import re
from collections import Counter
from collections.abc import Iterable

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

# Forms that the entries above do not inflect.
IRREGULAR = """
    an = ein eine einen einem einer, which = der die das den dem denen, are = sind, were = war waren
    have = haben habe sind, has = hat ist, had = musste mussten, do = haben, does = hat, did = hat
    will = wird werden, can = kann können, must = muss müssen, should = sollte sollten
    want = wollen will, wants = will, wanted = wollte wollten, could = konnte konnten, not = nicht, than = als
    as = wie so, last = letzte letzten letztes, next = nächste nächsten nächstes neben, on = am auf
    at = um an am auf, of = von, course = natürlich, front = vor, more = mehr, away = weg, up = auf, along = mit
    asleep = ein, order = um
"""

Glosses = dict[str, tuple[str, ...]]


def glosses(entry: Entry) -> Glosses:
    """English form -> the German forms that can stand for it."""
    if isinstance(entry, lx.Noun):
        english = {False: entry.en, True: entry.en_plural}
        return {word: _unlike(entry.german(plural, case) for case in lx.CASES) for plural, word in english.items()}
    if isinstance(entry, lx.Adjective):
        plain = (entry.de, *(entry.german(ending) for ending in ("e", "en", "er", "es", "em")))
        return {entry.en: plain} | ({entry.en_more.split()[-1]: (entry.de_more,)} if entry.en_more else {})
    if isinstance(entry, lx.Verb):
        forms = {
            entry.en: [entry.german(False, plural=True)],
            entry.en_present: [entry.de_present],
            entry.en_past: [entry.german(True, plural=False), entry.german(True, plural=True)],
        }
        forms.setdefault(entry.en_participle, []).append(entry.de_participle)
        return {
            en: _unlike(form for word in german for form in (word, entry.prefix + word)) for en, german in forms.items()
        }
    if isinstance(entry, lx.Determiner):
        german = _unlike(entry.german(*key) for key in entry.endings)
        return {word.split()[0]: german for word in (entry.en, entry.en_plural) if word}
    if isinstance(entry, lx.Pronoun):
        return {entry.en: (entry.de,), entry.en_object: (entry.accusative, entry.dative)}
    other = {lx.Preposition: "city", lx.Conjunction: "de_past"}.get(type(entry))
    return {entry.en.split()[0]: tuple(filter(None, [entry.de, getattr(entry, other) if other else ""]))}


def _unlike(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def glossary(train: list[tuple[str, str]]) -> dict[str, str]:
    """Each English word form with the most common of the German forms it can stand for."""
    counts = Counter(word for _, de in train for word in re.findall(r"\w+", de))
    forms: dict[str, list[str]] = {}
    for entry in LEXICON:
        for en, de in glosses(entry).items():
            forms.setdefault(en, []).extend(de)
    for line in re.split("[\n,]", IRREGULAR.strip()):
        en, _, de = line.strip().partition(" = ")
        forms.setdefault(en, []).extend(de.split())
    words = {en: max(de, key=lambda form: counts[form]) for en, de in forms.items()}
    possessives = {f"{noun.en}'s": noun.german(False, "gen") for noun in lx.NOUNS if noun.kind == "P"}
    names = {name: name for name in lx.NAMES} | {f"{name}'s": f"{name}s" for name in lx.NAMES}
    numbers = {lx.english_number(n): lx.german_number(n) for n in range(2, 100)}
    return words | possessives | names | numbers
