"""The embedded corpus: sentences of a small English-German grammar, so that the first command needs no network.

A sentence is drawn as a tree and said twice, and its English determines its German, so a perfect learner reaches 100
BLEU. Many sentences come with a partner that has the same English words in another order and nearly always another
meaning. A model that ignores order cannot tell the two apart: this corpus measures that.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import combinations

from rope_mt.data.toy import lexicon as lx
from rope_mt.data.toy.grammar import Clause, Common, Head, Name, Sentence, Tree, english, german
from rope_mt.data.toy.lexicon import Conjunction
from rope_mt.data.toy.sentences import Painter

MIN_WORDS, MAX_WORDS = 3, 40  # of a sentence, on either side, split at spaces


@dataclass(frozen=True)
class ToyCorpus:
    """Pairs (english, german) of raw text. No sentence of either language is in two places."""

    train: list[tuple[str, str]]
    valid: list[tuple[str, str]]
    test: list[tuple[str, str]]


# --- Partners: the same English words in another order ---------------------------------------------------------------


def bag_of_words(text: str) -> tuple[str, ...]:
    """The words of a sentence without their order, case and punctuation."""
    return tuple(sorted(re.findall(r"[\w'-]+", text.lower())))


def _nodes(node: Tree) -> Iterator[Tree]:
    yield node
    for item in fields(node):
        child = getattr(node, item.name)
        if isinstance(child, Tree):
            yield from _nodes(child)


def _exchanged(node: Tree, new: dict[int, Tree]) -> Tree:
    """A copy of the tree with some of its nodes replaced; `new` holds the new ones by the id() of the old."""
    if id(node) in new:
        return new[id(node)]
    children = {item.name: getattr(node, item.name) for item in fields(node)}
    changes = {name: _exchanged(child, new) for name, child in children.items() if isinstance(child, Tree)}
    return replace(node, **changes)


def _exchanges(sentence: Sentence) -> Iterator[dict[int, Tree]]:
    """Ways to say something else with the same words.

    Some of them fail, as agreement changes a word, and some say the same ("Anna and Paul", "as old as").
    """
    nodes = list(_nodes(sentence))
    owners = {id(node.owner.head) for node in nodes if isinstance(node, Common) and isinstance(node.owner, Common)}
    heads = [node for node in nodes if isinstance(node, Head) and node.determiner is not lx.NO]
    for a, b in combinations(heads, 2):
        if (a.noun.kind, a.noun.at) != (b.noun.kind, b.noun.at):
            continue
        owned = [head.determiner is None and not head.number for head in (a, b)]
        singular = not (a.plural or b.plural)
        if owned[0] == owned[1] and (singular or not {id(a), id(b)} & owners):
            yield {id(a): b, id(b): a}
        if a.adjectives != b.adjectives:
            yield {id(a): replace(a, adjectives=b.adjectives), id(b): replace(b, adjectives=a.adjectives)}
    people = [node for node in nodes if isinstance(node, Name) and node.en in lx.NAMES]
    for a, b in combinations(people, 2):
        yield {id(a): b, id(b): a}
    main, lead, tail = sentence.main, sentence.lead, sentence.main.tail
    if lead and not main.tail and _may_follow(lead.conjunction, main):
        yield {id(main): lead.clause, id(lead.clause): main}
    if tail and tail.conjunction in lx.SUBORDINATORS and _may_follow(tail.conjunction, main) and not tail.clause.tail:
        yield {id(main): replace(tail.clause, tail=replace(tail, clause=replace(main, tail=None)))}


def _may_follow(conjunction: Conjunction | None, clause: Clause) -> bool:
    simple = not clause.tense.english or not (conjunction and conjunction.simple)
    return simple and not clause.front and not clause.opening


def _partners(sentence: Sentence, en: str, rng: random.Random) -> list[tuple[str, str]]:
    """Up to two pairs of the same English words in another order."""
    exchanges = list(_exchanges(sentence))
    rng.shuffle(exchanges)
    bag, partners = bag_of_words(en), {}
    for exchange in exchanges:
        if len(partners) == 2:
            break
        partner = _exchanged(sentence, exchange)
        assert isinstance(partner, Sentence)
        other = english(partner)
        if other != en and bag_of_words(other) == bag:
            partners[other] = german(partner)
    return list(partners.items())


# --- The corpus ------------------------------------------------------------------------------------------------------


def families(rng: random.Random) -> Iterator[list[tuple[str, str]]]:
    """Endless pairs, some followed by a partner or two; sentences may come again."""
    while True:
        sentence = Painter(rng).sentence()
        pair = english(sentence), german(sentence)
        partners = _partners(sentence, pair[0], rng) if rng.random() < 0.35 else []
        if _within_limits(pair):
            yield [pair, *filter(_within_limits, partners)]


def _within_limits(pair: tuple[str, str]) -> bool:
    return all(MIN_WORDS <= len(side.split()) <= MAX_WORDS for side in pair)


def generate(seed: int = 0, n_train: int = 20_000, n_valid: int = 1_000, n_test: int = 1_000) -> ToyCorpus:
    """Draw the corpus.

    The same arguments give the same corpus on every machine. Sentences with the same English words in any order are all
    in one split, so the test set asks for no sentence that training has shown shuffled; and the test set, drawn first,
    does not depend on the sizes of the others.
    """
    rng = random.Random(seed)
    source = families(rng)
    bags: set[tuple[str, ...]] = set()
    targets: set[str] = set()

    def split(n: int) -> list[tuple[str, str]]:
        pairs: list[tuple[str, str]] = []
        while len(pairs) < n:
            family = next(source)
            bag = bag_of_words(family[0][0])
            if bag in bags:
                continue
            bags.add(bag)
            for en, de in family[: n - len(pairs)]:
                if de not in targets:
                    targets.add(de)
                    pairs.append((en, de))
        random.Random(seed).shuffle(pairs)  # partners lie apart
        return pairs

    test, valid, train = split(n_test), split(n_valid), split(n_train)
    return ToyCorpus(train, valid, test)
