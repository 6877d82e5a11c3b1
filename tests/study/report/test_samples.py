"""Which translations a report shows, and what is marked in them."""

import html
import random
import re

from rope_mt.study.report import samples


def test_samples_are_random_ones_and_the_farthest_from_the_baseline():
    gains = {"a": [0.0] * 50, "b": [0.0] * 50}
    drawn = [*samples.chosen(50, gains)]
    assert len(drawn) == samples.DRAWN
    rest = [number for number in range(50) if number not in drawn]
    far = [("a", 3, 9.0), ("b", 7, 30.0), ("a", 7, 31.0), ("b", 5, 2.0), ("a", 9, 1.0), ("b", 1, -4.0)]
    for label, i, gain in far:
        gains[label][rest[i]] = gain
    gains["a"][drawn[0]] = 99.0
    reasons = samples.chosen(50, gains)
    assert [*reasons] == [*drawn, *(rest[i] for i in (7, 3, 5, 1))]
    assert {reasons[number] for number in drawn} == {"drawn at random"}
    assert reasons[rest[7]] == "a +31.0 chrF against the baseline"
    assert [*samples.chosen(2, {})] == [0, 1]


def test_marks_hide_no_word_and_what_is_unmarked_is_in_the_reference():
    rng = random.Random(0)
    for _ in range(300):
        hyp, ref = (" ".join(rng.choices(["der", "<b>", "Hund", "&", "sah", "ihn."], k=rng.randrange(7))) for _ in "12")
        marked = samples.marked(hyp, ref)
        said = html.unescape(re.sub(r"</?mark>|\[…\]", "", marked))
        assert "".join(said.split()) == "".join(hyp.split())
        unmarked = samples.WORD.findall(html.unescape(re.sub("<mark>.*?</mark>", "", marked)))
        rest = iter(samples.WORD.findall(ref))
        assert all(word in rest for word in unmarked)  # in this order
        assert ("<mark>" in marked) == (hyp != ref)
    assert samples.marked("ein Hund.", "ein Hund.") == "ein Hund."
    assert samples.marked("ein <i> &", "ein &") == "ein <mark>&lt;i&gt;</mark> &amp;"
    assert samples.marked("ein Hund", "ein alter Hund.") == "ein <mark>[…]</mark> Hund <mark>[…]</mark>"
    assert samples.marked("die Katze schläft", "die Kuh schläft") == "die <mark>Katze</mark> schläft"
