"""The grammar of the toy corpus: the tree of a sentence, said as `english(tree)` and as `german(tree)`.

Both are functions of the tree, and the English determines the tree as far as German asks. German moves what English
keeps in place: verb second and verb last, separable prefixes, time before object, case instead of order.
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from rope_mt.data.toy import lexicon as lx
from rope_mt.data.toy.lexicon import Adjective, Case, Conjunction, Preposition, Pronoun, Tense, Time, Verb, Word

Gap = Literal["", "subject", "object", "indirect"]  # the part that a relative clause lacks: the noun before it


def _say(lang: str, *parts: Any) -> str:
    """Join the parts that are there: text, or what has its text in a field of the language's name."""
    return " ".join(part if isinstance(part, str) else getattr(part, lang) for part in parts if part)


_en, _de = partial(_say, "en"), partial(_say, "de")


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

    @property
    def en(self) -> str:
        head = self.head
        noun = head.noun.en_plural if head.plural else head.noun.en
        words = _en(head.number and lx.english_number(head.number), *head.adjectives, noun)
        determiner: Any = head.determiner
        if self.owner:
            determiner = f"{self.owner.en}'s"
        elif determiner is lx.A:
            determiner = "an" if words[0] in "aeiou" else "a"
        elif determiner and head.plural:
            determiner = determiner.en_plural or determiner
        return _en(determiner, words, self.attribute, self.relative and _english_clause(self.relative, self))


@dataclass(frozen=True)
class Pair:
    first: "Common | Name"
    second: "Common | Name"

    @property
    def en(self) -> str:
        return _en(self.first, lx.AND, self.second)


NounPhrase = Name | Common | Pair | Pronoun


@dataclass(frozen=True)
class Phrase:
    preposition: Preposition
    noun: NounPhrase

    @property
    def en(self) -> str:
        return _en(self.preposition, _english_object(self.noun))

    @property
    def de(self) -> str:
        city = isinstance(self.noun, Name) and self.preposition.city
        return _de(city or self.preposition, _german_noun(self.noun, self.preposition.case))


@dataclass(frozen=True)
class Predicate:
    """The predicate of "to be": "old", "older than the church", "as old as the church"."""

    adjective: Adjective
    than: NounPhrase | None = None
    equal: bool = False

    @property
    def en(self) -> str:
        if self.equal:
            return _en("as", self.adjective, "as", self.than)
        return _en(self.adjective.en_more, "than", self.than) if self.than else self.adjective.en

    @property
    def de(self) -> str:
        than = self.than and _german_noun(self.than, "nom")
        if self.equal:
            return _de("so", self.adjective, "wie", than)
        return _de(self.adjective.de_more, "als", than) if than else self.adjective.de


@dataclass(frozen=True)
class Tail:
    """A clause after the one it depends on; without a conjunction, or after "in order", it is an infinitive."""

    conjunction: Conjunction | None
    clause: "Clause"
    joint: Word | None = None  # "that A and that B"
    second: "Clause | None" = None

    @property
    def en(self) -> str:
        second = self.second and _en(self.joint, self.conjunction, _english_clause(self.second))
        return _en(self.conjunction, _english_clause(self.clause), second)

    @property
    def de(self) -> str:
        past = self.conjunction and self.clause.tense.time == "was" and self.conjunction.de_past
        conjunction = past or self.conjunction
        second = self.second and _de(self.joint, conjunction, _german_clause(self.second, "last"))
        return _de(",", conjunction, _german_clause(self.clause, "last"), second, ",")


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
    lead, second = sentence.lead, sentence.second
    main = _english_clause(sentence.main, question=sentence.asks and sentence.main.subject is not lx.WHO)
    last = second and _en(",", sentence.joint, _english_clause(second))
    return _written(_en(lead, lead and ",", sentence.about, main, last), sentence)


def _english_object(noun: NounPhrase | None) -> str:
    return noun.en_object if isinstance(noun, Pronoun) else _en(noun)


def _english_clause(clause: Clause, antecedent: Common | None = None, question: bool = False) -> str:
    subject = clause.subject or antecedent
    pronoun = antecedent and (
        "which" if antecedent.head.noun.kind != "P" else "who" if clause.gap == "subject" else "whom"
    )
    to = clause.gap == "indirect" and "to"
    begin = [clause.opening, clause.front and getattr(clause, clause.front), to, pronoun]
    if subject is None:
        spoken = ["to", clause.verb]
    else:
        auxiliary, main = _english_verb(clause.verb, clause.tense, is_plural(subject), question or clause.negated)
        first = (auxiliary, clause.subject) if question else (clause.subject, auxiliary)
        spoken = [*first, clause.negated and "not", clause.adverb, main]
    objects = [_english_object(clause.indirect), _english_object(clause.object)]
    if clause.to:
        objects = [objects[1], "to", objects[0]]
    place, time = clause.front != "place" and clause.place, clause.front != "time" and clause.time
    after = [clause.predicate, place, clause.companion, time, clause.tail]
    return _en(*begin, *spoken, clause.verb.particle, *objects, *after)


def _english_verb(verb: Verb, tense: Tense, plural: bool, support: bool) -> tuple[str, str]:
    """The auxiliary, which questions put before the subject, and the rest; `support`: "does" or "did" is needed."""
    if tense.english:
        return tense.english[plural], verb.en_participle if tense is lx.PERFECT else verb.en
    if verb is lx.BE:
        return ("is", "are")[plural] if tense is lx.PRESENT else ("was", "were")[plural], ""
    if support:
        return ("does", "do")[plural] if tense is lx.PRESENT else "did", verb.en
    return "", verb.en_past if tense is lx.PAST else verb.en if plural else verb.en_present


# --- German ----------------------------------------------------------------------------------------------------------

Order = Literal["second", "first", "last"]  # where the finite verb stands


def german(sentence: Sentence) -> str:
    """Say the tree in German."""
    verb_first = sentence.lead or (sentence.asks and sentence.main.subject is not lx.WHO)
    main = _german_clause(sentence.main, "first" if verb_first else "second")
    comma = sentence.joint is lx.BUT and ","
    second = sentence.second and _german_clause(sentence.second, "second")
    return _written(_de(sentence.lead, sentence.about, main, comma, sentence.joint, second), sentence)


def _german_clause(clause: Clause, order: Order, antecedent: Common | None = None) -> str:
    """Prefield, finite verb, midfield, the rest of the verb, and the heavy parts that follow it."""
    verb = clause.verb
    subject = clause.subject or antecedent
    spoken = clause.subject and _german_noun(clause.subject, "nom")
    prefield, time, place = clause.opening, clause.time, clause.place
    if clause.front == "time":
        prefield, time = time, None
    elif clause.front == "place":
        prefield, place = place, None
    elif not prefield and order == "second":
        prefield, spoken = spoken, None
    elif antecedent:
        case = "nom" if clause.gap == "subject" else "dat" if clause.gap == "indirect" else verb.case
        prefield = _relative_pronoun(antecedent.head, case)

    objects: list[tuple[NounPhrase | None, Case]] = [(clause.indirect, "dat"), (clause.object, verb.case)]
    light = [_german_noun(noun, case) for noun, case in reversed(objects) if isinstance(noun, Pronoun)]
    full = [_german_noun(noun, case, bare=True) for noun, case in objects if noun and not isinstance(noun, Pronoun)]
    negation = clause.negated and "nicht"
    middle = _de(spoken, *light, time, clause.adverb, *full, negation, clause.companion, place, clause.predicate)
    after = _de(isinstance(clause.object, Common) and _german_relative(clause.object), clause.tail)
    if subject is None:
        return _de(middle, f"{verb.prefix}zu{verb.de}" if verb.prefix else f"zu {verb.de}", after)
    finite, rest = _german_verb(verb, clause.tense, is_plural(subject))
    if order == "last":
        return _de(prefield, middle, f"{rest} {finite}" if clause.tense.english else verb.prefix + finite, after)
    return _de(prefield, finite, middle, rest, after)


def _german_verb(verb: Verb, tense: Tense, plural: bool) -> tuple[str, str]:
    """The finite form, and the word that closes the clause: prefix, participle or infinitive."""
    if tense is lx.PERFECT:
        return (lx.IS_ARE if verb.takes_sein else lx.HAVE)[plural], verb.prefix + verb.de_participle
    if tense.german:
        return tense.german[plural], verb.prefix + verb.de
    return verb.german(tense is lx.PAST, plural), verb.prefix


def _german_noun(noun: NounPhrase, case: Case, bare: bool = False) -> str:
    """Decline a noun phrase; `bare` leaves its relative clause to be said after the verb."""
    if isinstance(noun, Pronoun):
        return noun.german(case)
    if isinstance(noun, Name):
        return noun.de
    if isinstance(noun, Pair):
        return _de(_german_noun(noun.first, case), lx.AND, _german_noun(noun.second, case))
    head, owner = noun.head, noun.owner
    gender = "pl" if head.plural else head.noun.gender
    before = isinstance(owner, Name) and f"{owner.de}s"  # "Annas alter Hund", but "der alte Hund des Königs"
    behind = isinstance(owner, Common) and _german_noun(owner, "gen")
    determiner = lx.THE if behind else head.determiner
    endings = determiner.adjective if determiner else lx.STRONG
    number = head.number and lx.german_number(head.number)
    adjectives = [adjective.german(endings[gender, case]) for adjective in head.adjectives]
    words = [*adjectives, head.noun.german(head.plural, case), behind, noun.attribute]
    return _de(
        before, determiner and determiner.german(gender, case), number, *words, not bare and _german_relative(noun)
    )


def _german_relative(noun: Common) -> str:
    return f", {_german_clause(noun.relative, 'last', antecedent=noun)} ," if noun.relative else ""


def _relative_pronoun(head: Head, case: Case) -> str:
    gender = "pl" if head.plural else head.noun.gender
    return "denen" if (gender, case) == ("pl", "dat") else lx.DEFINITE[gender, case]


def _written(words: str, sentence: Sentence) -> str:
    """Write words as a sentence: contractions, one comma where clauses meet, a capital, a full stop."""
    words = re.sub(r"\b(in|an|zu|von|bei) (dem|das|der)\b", lambda m: lx.CONTRACTIONS.get(m[0], m[0]), words)
    text = re.sub(r"( ,)+", ",", words).strip(", ")
    return text[0].upper() + text[1:] + ("?" if sentence.asks else ".")
