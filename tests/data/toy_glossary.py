"""The toy grammar's words, and a dictionary of them for a translation word by word that ignores order."""

import re
from collections import Counter
from itertools import chain

from rope_mt.data.toy import lexicon as lx

Entry = lx.Word | lx.Noun | lx.Adjective | lx.Verb | lx.Determiner | lx.Pronoun | lx.Preposition | lx.Conjunction

VALUES = [value if isinstance(value, list) else [value] for value in vars(lx).values()]
LEXICON = [entry for entry in chain(*VALUES) if isinstance(entry, Entry)]


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
