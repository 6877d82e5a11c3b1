"""The sentences of the toy corpus, drawn at random as trees of its grammar."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from rope_mt.data.toy import lexicon as lx
from rope_mt.data.toy.grammar import (
    Clause,
    Common,
    Gap,
    Head,
    Name,
    NounPhrase,
    Pair,
    Phrase,
    Predicate,
    Sentence,
    Tail,
)
from rope_mt.data.toy.lexicon import Adjective, Conjunction, Preposition, Tense

T = TypeVar("T")
SHAPES = {"transitive": 44, "double": 13, "to": 5, "intransitive": 10, "motion": 12, "be": 16}
CLAUSES = {1: 77, 2: 15.5, 3: 3.6, 4: 2, 5: 1.2, 6: 0.7}  # clauses a sentence, or so, and how often in a hundred
Tenses = Literal["any", "unfinished", "simple"]  # without the perfect; only present and past
Role = Literal["subject", "object", "other"]


def _kind(noun: NounPhrase | None) -> str:
    if isinstance(noun, Pair):
        return _kind(noun.first)
    return noun.head.noun.kind if isinstance(noun, Common) else "P"


class Painter:
    """Draws one sentence, in which a noun, name, pronoun or adjective hardly ever comes twice."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.used: set[object] = set()
        self.past = rng.random() < 0.45

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def weighted(self, weights: Mapping[T, int | float]) -> T:
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def fresh(self, choices: Sequence[T]) -> T:
        """One that this sentence has not used yet."""
        while True:
            choice = self.rng.choice(choices)
            word = getattr(choice, "en", choice)
            if word not in self.used or self.chance(0.02):  # never stuck, if all are used
                self.used.add(word)
                return choice

    # Noun phrases

    def noun(self, kinds: str, role: Role = "other") -> NounPhrase:
        """A noun phrase of one of the kinds; pronouns and quantifiers are for subjects and objects alone."""
        kind = self.rng.choice(kinds)
        if "P" in kinds and role != "other" and self.chance(0.1):
            return self.fresh(lx.PRONOUNS)
        if kind != "L" and role != "other" and self.chance(0.05):
            return Pair(self.name_or_common(kind, plain=True), self.name_or_common(kind, plain=True))
        return self.name_or_common(kind, role)

    def indirect(self) -> NounPhrase:
        return self.noun("P", "object") if self.chance(0.4) else self.name_or_common("P")

    def name_or_common(self, kind: str, role: Role = "other", plain: bool = False) -> Common | Name:
        return self.name() if kind == "P" and self.chance(0.17) else self.common(kind, role, plain)

    def name(self) -> Name:
        name = self.fresh(lx.NAMES)
        return Name(name, name)

    def city(self) -> Name:
        city = self.fresh(lx.CITIES)
        return Name(city.en, city.de)

    def common(self, kind: str, role: Role = "other", plain: bool = False) -> Common:
        """A noun phrase with a noun; a plain one is a singular with nothing after it."""
        head = self.head(kind, role, singular=plain or kind == "L")
        related = kind != "P" or head.noun.en in lx.RELATED
        if related and not plain and not head.number and self.chance(0.1 if kind != "P" else 0.2):
            head = replace(head, determiner=None)
            return Common(head, owner=self.name() if self.chance(0.3) else Common(self.owner()))
        if kind == "P" and not plain and self.chance(0.08):
            return Common(head, attribute=self.attribute())
        return Common(head)

    def attribute(self) -> Phrase:
        if self.chance(0.4):
            return Phrase(lx.OUT_OF, self.city())
        noun = self.fresh(lx.CARRIED)
        determiner = lx.THE if self.chance(0.6) else lx.A
        head = Head(determiner, 0, self.adjectives(noun.kind, 0.4), noun, plural=False)
        return Phrase(lx.WITH if self.chance(0.7) else lx.WITHOUT, Common(head))

    def owner(self) -> Head:
        noun = self.fresh(lx.NOUNS_OF["P"])
        determiner = self.rng.choice(lx.POSSESSIVES) if noun.en in lx.RELATED and self.chance(0.5) else lx.THE
        return Head(determiner, 0, self.adjectives("P", 0.3), noun, plural=False)

    def head(self, kind: str, role: Role, singular: bool) -> Head:
        noun = self.fresh(lx.NOUNS_OF[kind])
        plural = not singular and self.chance(0.32)
        number = 0
        if (kind != "P" or noun.en in lx.RELATED) and self.chance(0.2):
            determiner = self.rng.choice(lx.POSSESSIVES)
        elif not singular and self.chance(0.18):
            plural, number = True, self.number()
            determiner = lx.THE if self.chance(0.15) else None
        elif not singular and role != "other" and self.chance(0.25):
            fits = [word for word in lx.QUANTIFIERS if ("p" if plural else "s") in word.numbers]
            determiner = self.rng.choice([*fits, lx.NO] if role == "object" else fits)
        else:
            determiner = lx.THE if self.chance(0.7) or plural else lx.A
        return Head(determiner, number, self.adjectives(kind, 0.34), noun, plural)

    def number(self) -> int:
        if self.chance(0.06):
            return 100 * self.rng.randint(1, 9)
        low, high = self.weighted({(2, 12): 45, (13, 19): 16, (20, 99): 33})
        return self.rng.randint(low, high)

    def adjectives(self, kind: str, probability: float) -> tuple[Adjective, ...]:
        if not self.chance(probability):
            return ()
        first = self.fresh(lx.ADJECTIVES_OF[kind])
        if first not in lx.COLOURS and self.chance(0.2):
            colour = self.fresh(lx.COLOURS)
            return (first, colour) if kind in colour.kinds else (first,)
        return (first,)

    def place(self, motion: bool = False) -> Phrase:
        if self.chance(0.15):
            return Phrase(lx.TO_PLACE if motion else lx.IN, self.city())
        noun = self.common("L")
        en, de = noun.head.noun.at
        if motion:
            inside = [lx.INTO, lx.THROUGH] if en == "in" else []
            return Phrase(self.rng.choice([lx.TO_PLACE, lx.OUT_OF if de == "in" else lx.FROM, *inside]), noun)
        if self.chance(0.4):
            return Phrase(self.rng.choice(lx.RELATIONS), noun)
        return Phrase(Preposition(en, de, "dat"), noun)

    # Clauses

    def tense(self, tenses: Tenses) -> Tense:
        if self.past:
            return lx.PAST if tenses == "simple" or self.chance(0.82) else self.rng.choice(lx.PAST_MODALS)
        if tenses == "simple" or self.chance(0.5):
            return lx.PRESENT
        if tenses == "any" and self.chance(0.42):
            return lx.PERFECT
        return lx.FUTURE if self.chance(0.3) else self.rng.choice(lx.MODALS)

    def shape(self, gap: Gap, kind: str, tenses: Tenses, infinitive: bool) -> str:
        """The shape of a clause that its subject and its place in the sentence allow."""
        if gap in ("object", "indirect"):
            return "double" if gap == "indirect" else "transitive"
        if kind and kind not in "PA":
            return "be"
        no_state = infinitive or (tenses != "any" and not gap)  # a person is not old until somebody sleeps
        shape = self.weighted({shape: weight for shape, weight in SHAPES.items() if shape != "be" or not no_state})
        return shape if any(kind in verb.subjects for verb in lx.VERBS_OF[shape]) else "transitive"

    def plain(self, tenses: Tenses, gap: Gap = "", kind: str = "", infinitive: bool = False, shape: str = "") -> Clause:
        """A clause on which no other depends.

        Args:
            tenses: which may be chosen; "to be" may always have the future.
            gap: the part that a relative clause takes from the noun before it.
            kind: of that noun, or of the person who is the subject of an infinitive.
            infinitive: has no subject.
            shape: key of SHAPES, to be chosen if empty. A "transitive" that is asked for has nothing after the object.
        """
        lean = shape == "transitive"
        shape = shape or self.shape(gap, kind, tenses, infinitive)
        missing = gap == "subject" or infinitive
        verbs = lx.VERBS_OF[shape]
        if missing or gap == "object":
            verbs = [verb for verb in verbs if kind in (verb.subjects if missing else verb.objects)]
        verb = self.rng.choice(verbs)
        tense = self.tense("simple" if verb is lx.BE else tenses)
        if verb.en in lx.STATES and tense in (*lx.MODALS, *lx.PAST_MODALS):  # nobody must need a lamp
            tense = self.tense("simple")
        subject_kind = kind if missing else self.rng.choice(verb.subjects)
        clause = Clause(verb, tense, None if missing else self.noun(subject_kind, "subject"), gap=gap)
        if shape in ("double", "to"):
            indirect = None if gap == "indirect" else self.indirect()
            given = self.common(self.rng.choice(verb.objects))
            clause = replace(clause, to=shape == "to", indirect=indirect, object=given)
        if shape == "transitive" and gap != "object":
            clause = replace(clause, object=self.noun(verb.objects, "other" if infinitive else "object"))
        if shape == "be":
            tense = lx.FUTURE if not self.past and self.chance(0.2) else clause.tense
            return replace(clause, tense=tense, predicate=self.predicate(subject_kind))
        return self.adverbials(clause, shape, lean, adverb=not infinitive and (tenses != "simple" or bool(gap)))

    def predicate(self, kind: str) -> Predicate:
        if self.chance(0.3):
            return Predicate(self.fresh(lx.ADJECTIVES_OF[kind]))
        adjective = self.fresh(lx.COMPARABLE_OF[kind])
        return Predicate(adjective, self.name_or_common(kind), equal=self.chance(0.25))

    def adverbials(self, clause: Clause, shape: str, lean: bool, adverb: bool) -> Clause:
        verb, simple = clause.verb, not clause.tense.english
        if shape == "motion":
            clause = replace(clause, place=self.place(motion=True))
        elif not lean and self.chance({"intransitive": 0.5, "transitive": 0.14}.get(shape, 0.0)):
            clause = replace(clause, place=self.place())
        if shape in ("intransitive", "motion"):
            if self.chance(0.25):
                companion = self.name_or_common(self.rng.choice("PA"), plain=True)
                clause = replace(clause, companion=Phrase(lx.WITH, companion))
            if adverb and simple and self.chance(0.15):
                clause = replace(clause, negated=True)
        elif verb.en in lx.FOR_SOMEBODY and not lean and not clause.place and self.chance(0.35):
            clause = replace(clause, companion=Phrase(lx.FOR, self.name_or_common("P", plain=True)))
        negated = clause.negated or (isinstance(clause.object, Common) and clause.object.head.determiner is lx.NO)
        if adverb and not negated and not _with_to(clause.tense) and self.chance(0.18):
            choices = lx.ADVERBS if verb.en in lx.STATES or self.chance(0.35) else lx.MANNERS
            clause = replace(clause, adverb=self.rng.choice(choices))
        return clause

    def timed(self, clause: Clause, probability: float = 0.3) -> Clause:
        """Maybe add an adverbial of time."""
        if clause.predicate or clause.adverb in lx.ADVERBS or not self.chance(probability):
            return clause
        return replace(clause, time=self.rng.choice(self.rng.choice(lx.TIMES[clause.tense.time])))

    def opened(self, clause: Clause) -> Clause:
        """Maybe begin a main clause with something other than its subject."""
        if clause.time and self.chance(0.6):
            return replace(clause, front="time")
        if clause.place and clause.verb not in lx.MOTION and self.chance(0.35):
            return replace(clause, front="place")
        if not clause.time and self.chance(0.1):
            return replace(clause, opening=self.rng.choice(lx.OPENINGS))
        return clause

    def clause(self, n: int, tenses: Tenses = "any") -> Clause:
        """A clause that makes about n together with those that depend on it."""
        related = n > 1 and self.chance(0.3)
        n -= related
        if n == 1:
            clause = self.timed(self.plain(tenses), 0.12 if related else 0.3)
        else:
            form = self.weighted({"reported": 2, "infinitive": 1, "subordinated": 2, "object_relative": 1})
            clause = getattr(self, form)(n, tenses)
        if related and isinstance(clause.subject, Common) and not clause.subject.attribute:
            relative = self.relative(_kind(clause.subject), 1)
            clause = replace(clause, adverb=None, subject=replace(clause.subject, relative=relative))
        return clause

    def relative(self, kind: str, n: int) -> Clause:
        gaps: dict[Gap, int] = {"subject": 50, "object": 40, "indirect": 10 if kind == "P" else 0}
        return self.extended(self.plain("simple" if self.chance(0.6) else "any", self.weighted(gaps), kind), n)

    def extended(self, clause: Clause, n: int) -> Clause:
        return replace(clause, tail=self.subordinate(n - 1, self.fresh(lx.SUBORDINATORS))) if n > 1 else clause

    def subordinate(self, n: int, conjunction: Conjunction) -> Tail:
        return Tail(conjunction, self.clause(n, "simple" if conjunction.simple else "any"))

    def subordinated(self, n: int, tenses: Tenses) -> Clause:
        """A does, because B does; A goes somewhere in order to."""
        if self.chance(0.15):
            clause = self.plain(tenses, shape="motion")
            return replace(clause, tail=Tail(lx.IN_ORDER_TO, self.infinitival(n - 1, _kind(clause.subject))))
        conjunction = self.fresh(lx.SUBORDINATORS)
        tenses = "unfinished" if conjunction.simple and tenses == "any" else tenses
        clause = self.timed(self.plain(tenses), 0.15)
        return replace(clause, tail=self.subordinate(n - 1, conjunction))

    def infinitival(self, n: int, kind: str) -> Clause:
        return self.extended(self.plain("simple", kind=kind, infinitive=True), n)

    def infinitive(self, n: int, tenses: Tenses) -> Clause:
        """Somebody tries to, or allows somebody to."""
        verb = self.rng.choice(lx.TO if self.chance(0.6) else lx.LET_TO)
        clause = Clause(verb, self.tense(tenses), self.noun(self.rng.choice(verb.subjects), "subject"))
        if verb in lx.LET_TO:
            clause = replace(clause, indirect=self.indirect())
        return replace(clause, tail=Tail(None, self.infinitival(n - 1, _kind(clause.indirect or clause.subject))))

    def object_relative(self, n: int, tenses: Tenses) -> Clause:
        clause = self.plain(tenses, shape="transitive")
        if not isinstance(clause.object, Common) or clause.object.attribute:
            return self.extended(clause, n)
        return replace(clause, object=replace(clause.object, relative=self.relative(_kind(clause.object), n - 1)))

    def reported(self, n: int, tenses: Tenses) -> Clause:
        """Somebody says that, tells somebody that, asks somebody whether."""
        kind = self.weighted({"that": 45, "tell": 30, "whether": 25})
        verb = self.rng.choice({"that": lx.THAT, "tell": lx.TELL, "whether": lx.WHETHER}[kind])
        clause = Clause(verb, self.tense(tenses), self.noun(self.rng.choice(verb.subjects), "subject"))
        if kind != "that":
            clause = replace(clause, **{"indirect" if kind == "tell" else "object": self.indirect()})
        conjunction, joint = (lx.WHETHER_CLAUSE, lx.OR) if kind == "whether" else (lx.THAT_CLAUSE, lx.AND)
        if (n > 2 or kind == "whether") and self.chance(0.45):
            return replace(clause, tail=Tail(conjunction, self.clause(1), joint, self.clause(max(1, n - 2))))
        return replace(clause, tail=Tail(conjunction, self.clause(n - 1)))

    # Sentences

    def sentence(self) -> Sentence:
        n = self.weighted(CLAUSES)
        if n == 1:
            return self.question() if self.chance(0.12) else Sentence(self.opened(self.clause(1)))
        form = self.weighted({"joined": 30, "led": 22, "single": 48})
        if form == "single":
            return Sentence(self.opened(self.clause(n)))
        if form == "led":
            conjunction = self.fresh(lx.SUBORDINATORS)
            first = 1 if n < 4 else 2
            lead = self.subordinate(first, conjunction)
            return Sentence(self.clause(n - first, "unfinished" if conjunction.simple else "any"), lead)
        first = self.rng.randint(1, n - 1)
        joint = lx.AND if self.chance(0.55) else lx.BUT
        return Sentence(self.opened(self.clause(first)), joint=joint, second=self.opened(self.clause(n - first)))

    def question(self) -> Sentence:
        clause = replace(self.plain("any"), negated=False)
        if _with_to(clause.tense):
            clause = replace(clause, tense=lx.PAST if self.past else lx.PRESENT)
        kind = self.weighted({"whether": 45, "who": 20, "about": 35})
        if kind == "who" and _kind(clause.subject) == "P":
            return Sentence(replace(clause, subject=lx.WHO, tense=self.tense("simple")), asks=True)
        about = self.rng.choice(lx.QUESTION_WORDS)
        fits = clause.verb is not lx.BE and not (about.en == "where" and clause.place)
        if kind == "about" and fits and not (about.en == "when" and clause.tense is lx.PERFECT):
            return Sentence(clause, asks=True, about=about)
        return Sentence(self.timed(clause), asks=True)


def _with_to(tense: Tense) -> bool:
    """Whether it is "wants to" or "had to", where no adverb goes in, and questions would need "does"."""
    return any(word.endswith(" to") for word in tense.english)
