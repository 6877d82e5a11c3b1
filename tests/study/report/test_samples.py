"""What a report marks in the translations that it shows."""

import html
import random
import re

from rope_mt.study.report import samples


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
