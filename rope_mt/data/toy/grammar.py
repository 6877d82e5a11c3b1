"""The grammar of the toy corpus: the tree of a sentence, said as `english(tree)` and as `german(tree)`.

Both are functions of the tree, and the English determines the tree as far as German asks. German moves what English
keeps in place: verb second and verb last, separable prefixes, time before object, case instead of order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from rope_mt.data.toy import lexicon as lx
from rope_mt.data.toy.lexicon import Adjective, Case, Conjunction, Preposition, Pronoun, Tense, Time, Verb, Word

Gap = Literal["", "subject", "object", "indirect"]  # the part that a relative clause lacks: the noun before it


# --- Trees -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """Determiner, number, adjectives and noun, which agree."""

    determiner: lx.Determiner | None
    number: int  # 0 is none
    adjectives: tuple[Adjective, ...]
    noun: lx.Noun
    plural: bool


@dataclass(frozen=True)
class Name:
    """A person, or a city where a place is expected."""

    en: str
    de: str


@dataclass(frozen=True)
class Common:
    """A noun with everything that belongs to it: "Anna's old dog", "the man with the hat", "the king who sleeps"."""

    head: Head
    owner: "Common | Name | None" = None
    attribute: "Phrase | None" = None
    relative: "Clause | None" = None


@dataclass(frozen=True)
class Pair:
    first: "Common | Name"
    second: "Common | Name"


NounPhrase = Name | Common | Pair | Pronoun


@dataclass(frozen=True)
class Phrase:
    preposition: Preposition
    noun: NounPhrase


@dataclass(frozen=True)
class Predicate:
    """The predicate of "to be": "old", "older than the church", "as old as the church"."""

    adjective: Adjective
    than: NounPhrase | None = None
    equal: bool = False


@dataclass(frozen=True)
class Tail:
    """A clause after the one it depends on; without a conjunction, or after "in order", it is an infinitive."""

    conjunction: Conjunction | None
    clause: "Clause"
    joint: Word | None = None  # "that A and that B"
    second: "Clause | None" = None


@dataclass(frozen=True)
class Clause:
    verb: Verb
    tense: Tense
    subject: NounPhrase | None = None  # none in an infinitive, and where it is the gap of a relative clause
    indirect: NounPhrase | None = None  # in the dative
    object: NounPhrase | None = None
    to: bool = False  # English has the indirect object last: "introduces the boy to the queen"
    predicate: Predicate | None = None
    place: Phrase | None = None
    companion: Phrase | None = None  # "for the king", "with the dog"
    adverb: Word | None = None
    negated: bool = False
    time: Time | None = None
    opening: Word | None = None  # "perhaps"
    front: Literal["", "time", "place"] = ""  # which adverbial opens the clause
    gap: Gap = ""  # of a relative clause
    tail: Tail | None = None


@dataclass(frozen=True)
class Sentence:
    main: Clause
    lead: Tail | None = None  # "When A, B."
    joint: Word | None = None  # "A, but B."
    second: Clause | None = None
    asks: bool = False
    about: Word | None = None  # the question word


Tree = Sentence | Clause | Tail | Predicate | Phrase | Pair | Common | Name | Head


# --- English ---------------------------------------------------------------------------------------------------------


def is_plural(noun: NounPhrase) -> bool:
    """Which verb form a subject asks for."""
    if isinstance(noun, Pronoun):
        return noun.plural
    return isinstance(noun, Pair) or (isinstance(noun, Common) and noun.head.plural)


def english(sentence: Sentence) -> str:
    """Say the tree in English."""
    words: list[str] = []
    if sentence.lead:
        words += [*_english_tail(sentence.lead), ","]
    words += [sentence.about.en] if sentence.about else []
    words += _english_clause(sentence.main, question=sentence.asks and sentence.main.subject is not lx.WHO)
    if sentence.joint and sentence.second:
        words += [",", sentence.joint.en, *_english_clause(sentence.second)]
    return _written(words, "?" if sentence.asks else ".")


def _english_clause(clause: Clause, antecedent: Common | None = None, question: bool = False) -> list[str]:
    subject = clause.subject or (antecedent if clause.gap == "subject" else None)
    words: list[str] = []
    if clause.opening:
        words.append(clause.opening.en)
    if clause.front == "time" and clause.time:
        words.append(clause.time.en)
    if clause.front == "place" and clause.place:
        words += _english_phrase(clause.place)
    if antecedent:
        person = antecedent.head.noun.kind == "P"
        pronoun = "which" if not person else "who" if clause.gap == "subject" else "whom"
        words += ["to", pronoun] if clause.gap == "indirect" else [pronoun]
    spoken = _english_noun(clause.subject) if clause.subject else []
    if subject is None:
        words += ["to", clause.verb.en]
    else:
        auxiliary, main = _english_verb(clause.verb, clause.tense, is_plural(subject), question or clause.negated)
        adverb = [clause.adverb.en] if clause.adverb else []
        negation = ["not"] if clause.negated else []
        begin = [*auxiliary, *spoken] if question else [*spoken, *auxiliary]
        words += [*begin, *negation, *adverb, *main]
    words += [clause.verb.particle] if clause.verb.particle else []
    indirect = _english_noun(clause.indirect, True) if clause.indirect else []
    words += indirect if not clause.to else []
    words += _english_noun(clause.object, True) if clause.object else []
    words += ["to", *indirect] if clause.to and indirect else []
    if clause.predicate:
        words += _english_predicate(clause.predicate)
    words += _english_phrase(clause.place) if clause.place and clause.front != "place" else []
    words += _english_phrase(clause.companion) if clause.companion else []
    words += [clause.time.en] if clause.time and clause.front != "time" else []
    return words + (_english_tail(clause.tail) if clause.tail else [])


def _english_verb(verb: Verb, tense: Tense, plural: bool, support: bool) -> tuple[list[str], list[str]]:
    """The auxiliary, which questions put before the subject, and the rest; `support`: "does" or "did" is needed."""
    if tense.english:
        return [tense.english[plural]], [verb.en_participle if tense is lx.PERFECT else verb.en]
    if verb is lx.BE:
        return [("is", "are")[plural] if tense is lx.PRESENT else ("was", "were")[plural]], []
    if support:
        return [("does", "do")[plural] if tense is lx.PRESENT else "did"], [verb.en]
    if tense is lx.PAST:
        return [], [verb.en_past]
    return [], [verb.en if plural else verb.en_present]


def _english_tail(tail: Tail) -> list[str]:
    conjunction = [tail.conjunction.en] if tail.conjunction else []
    words = conjunction + _english_clause(tail.clause)
    if tail.joint and tail.second:
        words += [tail.joint.en, *conjunction, *_english_clause(tail.second)]
    return words


def _english_predicate(predicate: Predicate) -> list[str]:
    adjective = predicate.adjective
    if predicate.than is None:
        return [adjective.en]
    than = _english_noun(predicate.than)
    return ["as", adjective.en, "as", *than] if predicate.equal else [adjective.en_more, "than", *than]


def _english_phrase(phrase: Phrase) -> list[str]:
    return [phrase.preposition.en, *_english_noun(phrase.noun, True)]


def _english_noun(noun: NounPhrase, is_object: bool = False) -> list[str]:
    if isinstance(noun, Pronoun):
        return [noun.en_object if is_object else noun.en]
    if isinstance(noun, Name):
        return [noun.en]
    if isinstance(noun, Pair):
        return [*_english_noun(noun.first), lx.AND.en, *_english_noun(noun.second)]
    head = noun.head
    words = [lx.english_number(head.number)] if head.number else []
    words += [adjective.en for adjective in head.adjectives]
    words.append(head.noun.en_plural if head.plural else head.noun.en)
    if noun.owner:
        *owner, last = _english_noun(noun.owner)
        words = [*owner, f"{last}'s", *words]
    elif head.determiner is lx.A:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    elif head.determiner:
        words.insert(0, (head.plural and head.determiner.en_plural) or head.determiner.en)
    words += _english_phrase(noun.attribute) if noun.attribute else []
    return words + (_english_clause(noun.relative, antecedent=noun) if noun.relative else [])


# --- German ----------------------------------------------------------------------------------------------------------

Order = Literal["second", "first", "last"]  # where the finite verb stands


def german(sentence: Sentence) -> str:
    """Say the tree in German."""
    words: list[str] = []
    if sentence.lead:
        words += _german_tail(sentence.lead)
    verb_first = sentence.lead or (sentence.asks and sentence.main.subject is not lx.WHO)
    words += [sentence.about.de] if sentence.about else []
    words += _german_clause(sentence.main, "first" if verb_first else "second")
    if sentence.joint and sentence.second:
        words += [","] if sentence.joint is lx.BUT else []
        words += [sentence.joint.de, *_german_clause(sentence.second, "second")]
    return _written(words, "?" if sentence.asks else ".")


def _german_clause(clause: Clause, order: Order, antecedent: Common | None = None) -> list[str]:
    """Prefield, finite verb, midfield, the rest of the verb, and the heavy parts that follow it."""
    verb = clause.verb
    subject = clause.subject or (antecedent if clause.gap == "subject" else None)
    spoken = _german_noun(clause.subject, "nom") if clause.subject else []
    time = [clause.time.de] if clause.time else []
    place = _german_phrase(clause.place) if clause.place else []
    prefield: list[str] = []
    if clause.opening:
        prefield = [clause.opening.de]
    elif clause.front == "time":
        prefield, time = time, []
    elif clause.front == "place":
        prefield, place = place, []
    elif order == "second":
        prefield, spoken = spoken, []
    elif antecedent:
        case: Case = "nom" if clause.gap == "subject" else "dat" if clause.gap == "indirect" else verb.case
        prefield = [_relative_pronoun(antecedent.head, case)]

    objects: list[tuple[NounPhrase | None, Case]] = [(clause.indirect, "dat"), (clause.object, verb.case)]
    light = [_german_noun(noun, case) for noun, case in reversed(objects) if isinstance(noun, Pronoun)]
    full = [_german_noun(noun, case, bare=True) for noun, case in objects if noun and not isinstance(noun, Pronoun)]
    adverb = [clause.adverb.de] if clause.adverb else []
    middle = [*spoken, *chain(*light), *time, *adverb, *chain(*full)]
    middle += ["nicht"] if clause.negated else []
    middle += _german_phrase(clause.companion) if clause.companion else []
    middle += place + (_german_predicate(clause.predicate) if clause.predicate else [])
    after = _german_relative(clause.object) if isinstance(clause.object, Common) else []
    after += _german_tail(clause.tail) if clause.tail else []

    if subject is None:
        to = [f"{verb.prefix}zu{verb.de}"] if verb.prefix else ["zu", verb.de]
        return [*middle, *to, *after]
    finite, rest = _german_verb(verb, clause.tense, is_plural(subject))
    if order == "last":
        last = [*rest, finite] if clause.tense.english else [verb.prefix + finite]
        return [*prefield, *middle, *last, *after]
    return [*prefield, finite, *middle, *rest, *after]


def _german_verb(verb: Verb, tense: Tense, plural: bool) -> tuple[str, list[str]]:
    """The finite form, and the words that close the clause: prefix, participle or infinitive."""
    if tense is lx.PERFECT:
        return (lx.IS_ARE if verb.takes_sein else lx.HAVE)[plural], [verb.prefix + verb.de_participle]
    if tense.german:
        return tense.german[plural], [verb.prefix + verb.de]
    return verb.german(tense is lx.PAST, plural), [verb.prefix] if verb.prefix else []


def _german_tail(tail: Tail) -> list[str]:
    conjunction: list[str] = []
    if tail.conjunction:
        past = tail.clause.tense.time == "was"
        conjunction = [(past and tail.conjunction.de_past) or tail.conjunction.de]
    words = [",", *conjunction, *_german_clause(tail.clause, "last")]
    if tail.joint and tail.second:
        words += [tail.joint.de, *conjunction, *_german_clause(tail.second, "last")]
    return [*words, ","]


def _german_predicate(predicate: Predicate) -> list[str]:
    adjective = predicate.adjective
    if predicate.than is None:
        return [adjective.de]
    than = _german_noun(predicate.than, "nom")
    return ["so", adjective.de, "wie", *than] if predicate.equal else [adjective.de_more, "als", *than]


def _german_phrase(phrase: Phrase) -> list[str]:
    preposition = phrase.preposition
    city = isinstance(phrase.noun, Name) and preposition.city
    return [city or preposition.de, *_german_noun(phrase.noun, preposition.case)]


def _german_noun(noun: NounPhrase, case: Case, bare: bool = False) -> list[str]:
    """Decline a noun phrase; `bare` leaves its relative clause to be said after the verb."""
    if isinstance(noun, Pronoun):
        return [noun.german(case)]
    if isinstance(noun, Name):
        return [noun.de]
    if isinstance(noun, Pair):
        return [*_german_noun(noun.first, case), lx.AND.de, *_german_noun(noun.second, case)]
    head = noun.head
    gender = "pl" if head.plural else head.noun.gender
    possessor = isinstance(noun.owner, Name)  # "Annas alter Hund", but "der alte Hund des Königs"
    determiner = lx.THE if noun.owner and not possessor else head.determiner
    endings = determiner.adjective if determiner else lx.STRONG
    words = [f"{noun.owner.de}s"] if isinstance(noun.owner, Name) else []
    words += [determiner.german(gender, case)] if determiner else []
    words += [lx.german_number(head.number)] if head.number else []
    words += [adjective.german(endings[gender, case]) for adjective in head.adjectives]
    words.append(head.noun.german(head.plural, case))
    words += _german_noun(noun.owner, "gen") if isinstance(noun.owner, Common) else []
    words += _german_phrase(noun.attribute) if noun.attribute else []
    return words + ([] if bare else _german_relative(noun))


def _german_relative(noun: Common) -> list[str]:
    return [",", *_german_clause(noun.relative, "last", antecedent=noun), ","] if noun.relative else []


def _relative_pronoun(head: Head, case: Case) -> str:
    gender = "pl" if head.plural else head.noun.gender
    return "denen" if (gender, case) == ("pl", "dat") else lx.DEFINITE[gender, case]


def _written(words: Sequence[str], stop: str) -> str:
    """Join words to a sentence: contractions, one comma where clauses meet, a capital, a full stop."""
    written: list[str] = []
    for word in words:
        if word == ",":
            if not written[-1:] or written[-1].endswith(","):
                continue
            written[-1] += ","
        elif written and (written[-1], word) in lx.CONTRACTIONS:
            written[-1] = lx.CONTRACTIONS[written[-1], word]
        else:
            written.append(word)
    text = " ".join(written).rstrip(",")
    return text[0].upper() + text[1:] + stop
