"""The toy corpus is correct German, can be learnt completely, and cannot be learnt without word order."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain, islice
from random import Random
from statistics import mean
from typing import Any

import pytest
import sacrebleu

from rope_mt.data.toy import ToyCorpus, generate, grammar
from rope_mt.data.toy import lexicon as lx
from rope_mt.data.toy.corpus import bag_of_words, families
from rope_mt.data.toy.grammar import Clause, Common, Head, Name, Pair, Phrase, Predicate, Sentence, Tail, Time

Entry = lx.Word | lx.Noun | lx.Adjective | lx.Verb | lx.Determiner | lx.Pronoun | lx.Preposition | lx.Conjunction
VALUES = [value if isinstance(value, list) else [value] for value in vars(lx).values()]
LEXICON = [entry for entry in chain(*VALUES) if isinstance(entry, Entry)]


@pytest.fixture(scope="module")
def corpus() -> ToyCorpus:
    return generate()


# --- What it measures ----------------------------------------------------------------------------------------


def test_splits_have_their_sizes_and_share_no_sentence_in_any_word_order(corpus):
    splits = [corpus.train, corpus.valid, corpus.test]
    assert [len(split) for split in splits] == [20_000, 1_000, 1_000]
    pairs = list(chain(*splits))
    assert len({en for en, _ in pairs}) == len({de for _, de in pairs}) == 22_000
    train, valid, test = ({bag_of_words(en) for en, _ in split} for split in splits)
    assert len(train | valid | test) == len(train) + len(valid) + len(test)


def test_lengths_cover_3_to_40_words_and_stay_short_on_average(corpus):
    for side in zip(*corpus.train, strict=True):
        lengths = [len(sentence.split()) for sentence in side]
        assert set(lengths) == set(range(3, 41))
        assert 9 < mean(lengths) < 13
        assert mean(length > 25 for length in lengths) > 0.03


def forms(entry: Entry) -> set[str]:
    """The English forms of a word: of several words the first, of a comparative the last."""
    english = {name: form for name, form in vars(entry).items() if name.partition("_")[0] == "en" and form}
    return {form.split()[-1 if name == "en_more" else 0] for name, form in english.items()}


def test_300_lemmas_a_side_each_often_enough_to_be_learnt(corpus):
    assert len({entry.en for entry in LEXICON}) >= 300
    assert len({entry.de for entry in LEXICON}) >= 300
    counts = Counter(re.findall(r"[\w']+", " ".join(en for en, _ in corpus.train).lower()))
    rare = [entry.en for entry in LEXICON if sum(counts[form.lower()] for form in forms(entry)) < 40]
    assert rare == []


def test_every_word_of_the_test_set_is_in_training(corpus):
    for side in (0, 1):
        parts = (" ".join(pair[side] for pair in split).lower() for split in (corpus.train, corpus.test))
        train, test = (set(re.findall(r"[\w']+", part)) for part in parts)
        assert test <= train


def test_german_is_a_function_of_english():
    german_of: dict[str, str] = {}
    for family in islice(families(Random(77)), 6_000):
        for en, de in family:
            assert german_of.setdefault(en, de) == de


def test_a_tenth_of_the_test_sentences_differ_from_another_in_nothing_but_word_order(corpus):
    together: dict[tuple[str, ...], set[str]] = {}
    for en, de in corpus.test:
        together.setdefault(bag_of_words(en), set()).add(de)
    partnered = sum(len(targets) for targets in together.values() if len(targets) > 1)
    assert partnered >= 0.1 * len(corpus.test)


def glossary(train: list[tuple[str, str]]) -> dict[str, str]:
    """Each English word in lower case, with the German word of the largest Dice coefficient."""
    english, german, both = Counter(), Counter(), Counter()
    for pair in train:
        src, tgt = (set(re.findall(r"[\w'-]+", side)) for side in (pair[0].lower(), pair[1]))
        english.update(src)
        german.update(tgt)
        both.update((en, de) for en in src for de in tgt)
    best: dict[str, tuple[float, str]] = {}
    for (en, de), n in both.items():
        best[en] = max(best.get(en, (0.0, "")), (n / (english[en] + german[de]), de))
    return {en: de for en, (_, de) in best.items()}


def test_word_by_word_translation_scores_below_40_bleu(corpus):
    words = glossary(corpus.train)

    def translate(sentence: str) -> str:
        return re.sub(r"[\w'-]+", lambda m: words.get(m[0].lower(), m[0]), sentence)

    hyps = [translate(en) for en, _ in corpus.test]
    hyps = [hyp[0].upper() + hyp[1:] for hyp in hyps]
    assert translate("The dog sees the cats.") == "die Hund sieht die Katzen."
    assert 10 < sacrebleu.corpus_bleu(hyps, [[de for _, de in corpus.test]]).score < 40


# --- Reproducible ----------------------------------------------------------------------------------------------------


def test_the_corpus_is_a_function_of_its_arguments_and_the_same_in_every_process_for_ever():
    small = generate(seed=1, n_train=50, n_valid=20, n_test=20)
    assert generate(seed=2, n_train=50, n_valid=20, n_test=20) != small
    assert generate(seed=1, n_train=7, n_valid=3, n_test=20).test == small.test
    assert hashlib.sha256(repr(small).encode()).hexdigest()[:16] == "03fe18a3c3dd9bb6"


# --- Written as one writes -------------------------------------------------------------------------------------------


def test_sentences_are_written_as_one_writes(corpus):
    for sentence in chain(*corpus.train):
        assert re.fullmatch(r"[A-ZÄÖÜ]([\w'-]+|(?<!,),? )*[.?]", sentence), sentence
    german_text = " ".join(de for _, de in corpus.train).lower()
    assert not re.search(r"\b(in|an|zu|von|bei) dem\b|\bzu der\b|\bin das\b", german_text)  # contracted


# --- Golden sentences ------------------------------------------------------------------------------------------------


def word(en: str, among: Sequence[Any] = lx.TRANSITIVE) -> Any:
    return next(entry for entry in among if entry.en == en)


def noun(
    en: str, determiner: lx.Determiner | None = lx.THE, *adjectives: str, plural=False, number=0, **rest
) -> Common:
    attributes = tuple(word(adjective, lx.ADJECTIVES) for adjective in adjectives)
    return Common(Head(determiner, number, attributes, word(en, lx.NOUNS), plural), **rest)


def clause(subject, en: str, object=None, tense=lx.PRESENT, verbs=lx.TRANSITIVE, **rest) -> Clause:
    return Clause(word(en, verbs), tense, subject, object=object, **rest)


DOG, CAT, CHILD = noun("dog"), noun("cat"), noun("child")
ANNA = Name("Anna", "Anna")
TODAY = Time("today", "heute", "is was will has")
OPENS = clause(noun("man"), "open", noun("box"))
RING = noun("ring", lx.A, "small", "red")
SEES = clause(DOG, "see", CAT)
WAS_OLD = Clause(lx.BE, lx.PAST, DOG, predicate=Predicate(lx.ADJECTIVES[0], CAT))

GOLDEN = [  # a clause alone is a sentence of this clause
    # agreement
    (clause(noun("dog", lx.THE, "old"), "see", CAT), "The old dog sees the cat.", "Der alte Hund sieht die Katze."),
    (clause(CAT, "see", noun("dog", lx.A, "old")), "The cat sees an old dog.", "Die Katze sieht einen alten Hund."),
    (clause(noun("cat", plural=True), "see", noun("dog", None, "old", plural=True, number=23), lx.PAST),
     "The cats saw twenty-three old dogs.", "Die Katzen sahen dreiundzwanzig alte Hunde."),
    (clause(Pair(ANNA, DOG), "look", noun("boy")), "Anna and the dog look for the boy.",
     "Anna und der Hund suchen den Jungen."),
    (clause(lx.PRONOUNS[2], "admire", noun("queen", lx.POSSESSIVES[3])), "We admire our queen.",
     "Wir bewundern unsere Königin."),
    # genitive
    (clause(noun("dog", None, "old", owner=noun("king")), "see", noun("cat", None, "old", owner=ANNA)),
     "The king's old dog sees Anna's old cat.", "Der alte Hund des Königs sieht Annas alte Katze."),
    (clause(noun("dog", None, owner=noun("king", lx.THE, "old")), "see", CAT), "The old king's dog sees the cat.",
     "Der Hund des alten Königs sieht die Katze."),
    # dative
    (clause(noun("queen"), "give", RING, verbs=lx.DOUBLE_OBJECT, indirect=CHILD),
     "The queen gives the child a small red ring.", "Die Königin gibt dem Kind einen kleinen roten Ring."),
    (clause(DOG, "help", noun("child", plural=True)), "The dog helps the children.", "Der Hund hilft den Kindern."),
    (clause(noun("boy"), "introduce", lx.PRONOUNS[0], verbs=lx.OBJECT_TO, to=True, indirect=noun("king")),
     "The boy introduces him to the king.", "Der Junge stellt ihn dem König vor."),
    (clause(noun("boy"), "introduce", lx.PRONOUNS[0], verbs=lx.OBJECT_TO, to=True, indirect=lx.PRONOUNS[1]),
     "The boy introduces him to her.", "Der Junge stellt ihn ihr vor."),
    (clause(DOG, "run", verbs=lx.MOTION, place=Phrase(lx.INTO, noun("house")), companion=Phrase(lx.WITH, noun("bear"))),
     "The dog runs into the house with the bear.", "Der Hund läuft mit dem Bären ins Haus."),
    # verb second
    (clause(DOG, "see", CAT, time=TODAY), "The dog sees the cat today.", "Der Hund sieht heute die Katze."),
    (clause(DOG, "see", CAT, time=TODAY, front="time"), "Today the dog sees the cat.",
     "Heute sieht der Hund die Katze."),
    (clause(DOG, "see", CAT, place=Phrase(lx.IN, noun("garden")), front="place"),
     "In the garden the dog sees the cat.", "Im Garten sieht der Hund die Katze."),
    (Sentence(SEES, asks=True), "Does the dog see the cat?", "Sieht der Hund die Katze?"),
    (Sentence(clause(lx.WHO, "help", CAT), asks=True), "Who helps the cat?", "Wer hilft der Katze?"),
    # verb last
    (Sentence(clause(CHILD, "sleep", tense=lx.PAST, verbs=lx.INTRANSITIVE), Tail(word("when", lx.SUBORDINATORS),
              clause(DOG, "see", CAT, lx.PAST))),
     "When the dog saw the cat, the child slept.", "Als der Hund die Katze sah, schlief das Kind."),
    (clause(ANNA, "say", verbs=lx.THAT, tail=Tail(lx.THAT_CLAUSE, clause(DOG, "see", CAT, lx.PERFECT))),
     "Anna says that the dog has seen the cat.", "Anna sagt, dass der Hund die Katze gesehen hat."),
    (clause(ANNA, "go", tense=lx.PERFECT, verbs=lx.MOTION, place=Phrase(lx.TO_PLACE, noun("market")),
            tail=Tail(lx.IN_ORDER_TO, Clause(word("buy"), lx.PRESENT, object=RING))),
     "Anna has gone to the market in order to buy a small red ring.",
     "Anna ist zum Markt gegangen, um einen kleinen roten Ring zu kaufen."),
    (clause(DOG, "see", CAT, lx.MODALS[0]), "The dog can see the cat.", "Der Hund kann die Katze sehen."),
    (Sentence(clause(CHILD, "dream", verbs=lx.THAT, tail=Tail(lx.THAT_CLAUSE, WAS_OLD)), joint=lx.BUT, second=SEES),
     "The child dreams that the dog was older than the cat, but the dog sees the cat.",
     "Das Kind träumt, dass der Hund älter als die Katze war, aber der Hund sieht die Katze."),
    # separable verbs
    (OPENS, "The man opens the box.", "Der Mann macht die Kiste auf."),
    (Sentence(SEES, Tail(word("because", lx.SUBORDINATORS), OPENS)),
     "Because the man opens the box, the dog sees the cat.",
     "Weil der Mann die Kiste aufmacht, sieht der Hund die Katze."),
    (clause(ANNA, "try", verbs=lx.TO, tail=Tail(None, Clause(word("open"), lx.PRESENT, object=RING))),
     "Anna tries to open a small red ring.", "Anna versucht, einen kleinen roten Ring aufzumachen."),
    (clause(ANNA, "open", noun("door"), lx.PERFECT), "Anna has opened the door.", "Anna hat die Tür aufgemacht."),
    # relative clauses
    (clause(noun("man", relative=clause(None, "see", DOG, gap="subject")), "buy", RING),
     "The man who sees the dog buys a small red ring.",
     "Der Mann, der den Hund sieht, kauft einen kleinen roten Ring."),
    (clause(noun("man"), "buy", noun("book", relative=clause(noun("woman"), "find", gap="object")), lx.PERFECT),
     "The man has bought the book which the woman finds.", "Der Mann hat das Buch gekauft, das die Frau findet."),
    (clause(noun("man", plural=True, relative=clause(DOG, "help", gap="object")), "see", CAT),
     "The men whom the dog helps see the cat.", "Die Männer, denen der Hund hilft, sehen die Katze."),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "en", "de"), GOLDEN, ids=[en for _, en, _ in GOLDEN])
def test_golden_sentence(tree, en, de):
    sentence = tree if isinstance(tree, Sentence) else Sentence(tree)
    assert (grammar.english(sentence), grammar.german(sentence)) == (en, de)


INFLECTED = {
    "arbeiten": "arbeitet arbeiten arbeitete arbeiteten gearbeitet",
    "zeichnen": "zeichnet zeichnen zeichnete zeichneten gezeichnet",
    "lächeln": "lächelt lächeln lächelte lächelten gelächelt",
    "füttern": "füttert füttern fütterte fütterten gefüttert",
    "besuchen": "besucht besuchen besuchte besuchten besucht",
    "reparieren": "repariert reparieren reparierte reparierten repariert",
    "vergessen": "vergisst vergessen vergaß vergaßen vergessen",
    "wissen": "weiß wissen wusste wussten gewusst",
    "sein": "ist sind war waren gewesen",
    "Hund": "Hund Hund Hund Hundes Hunde Hunde Hunden Hunde",
    "Lehrer": "Lehrer Lehrer Lehrer Lehrers Lehrer Lehrer Lehrern Lehrer",
    "Junge": "Junge Jungen Jungen Jungen Jungen Jungen Jungen Jungen",
    "Hotel": "Hotel Hotel Hotel Hotels Hotels Hotels Hotels Hotels",
    "Königin": "Königin Königin Königin Königin Königinnen Königinnen Königinnen Königinnen",
}


@pytest.mark.parametrize("de", INFLECTED)
def test_german_verbs_and_nouns_inflect(de):
    entry = next(entry for entry in LEXICON if isinstance(entry, lx.Verb | lx.Noun) and entry.de == de)
    if isinstance(entry, lx.Verb):
        forms = [*(entry.german(past, plural) for past in (False, True) for plural in (False, True))]
        forms.append(entry.de_participle)
    else:
        forms = [entry.german(plural, case) for plural in (False, True) for case in lx.CASES]
    assert " ".join(forms) == INFLECTED[de]


def test_numbers_are_spelt_by_rule():
    spelt = {7: "seven sieben", 16: "sixteen sechzehn", 70: "seventy siebzig", 21: "twenty-one einundzwanzig"}
    spelt |= {300: "three hundred dreihundert"}
    assert {n: f"{lx.english_number(n)} {lx.german_number(n)}" for n in spelt} == spelt
    assert len({lx.german_number(n) for n in [*range(2, 100), *range(100, 1000, 100)]}) == 107
