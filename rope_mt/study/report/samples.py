"""Translations side by side: which sentences a report shows, and what differs from the reference in each hypothesis."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from html import escape

from rope_mt.study.compare.groups import Group
from rope_mt.study.report.page import paragraph
from rope_mt.study.run_files import hypotheses
from rope_mt.translation.scoring import sentence_chrf

DRAWN, FARTHEST = 4, 3  # sentences drawn at random, and on each side of the baseline
SEED = 1
WORD = re.compile(r"\w+|[^\w\s]")
MISSING = "<mark>[…]</mark>"


@dataclass(frozen=True)
class Sample:
    """A test sentence to show, from 0, and why it is shown."""

    number: int
    why: str


def translations(groups: Sequence[Group], baseline: Group | None, src: list[str], ref: list[str]) -> str:
    """Each sample's source, reference and hypotheses, those of the first run of each group.

    Raises:
        UserError: a run's hypotheses are missing or damaged.
    """
    found = {group.label: hypotheses(group.runs[0]) for group in groups}
    gains = {}
    if baseline is not None:
        scores = {label: sentence_chrf(lines, ref) for label, lines in found.items()}
        theirs = scores.pop(baseline.label)
        gains = {label: [a - b for a, b in zip(ours, theirs, strict=True)] for label, ours in scores.items()}
    samples = chosen(len(ref), gains)
    seeds = [group.runs[0].seed for group in groups]
    one = f"The runs are those with seed {seeds[0]}." if len({*seeds}) == 1 else f"Seeds: {', '.join(map(str, seeds))}."
    rule = f"{min(DRAWN, len(ref))} sentences drawn at random (Python's random, seed {SEED})."
    if baseline is not None:
        rule += (
            f" Below them those where the chrF of one sentence is farthest above and below that of {baseline.label}, "
            f"at most {FARTHEST} on either side: extremes, from which nothing follows about the whole."
        )
    marked = "Marked: words that the reference does not have in this place; […] stands where words of it are missing."
    data = groups[0].runs[0].config["data"]
    cards = [
        _card(sample, src[sample.number], ref[sample.number], found, (str(data["src_lang"]), str(data["tgt_lang"])))
        for sample in samples
    ]
    return "\n".join([paragraph(marked), paragraph(f"{rule} {one}", "dim"), *cards])


def chosen(sentences: int, gains: dict[str, list[float]]) -> list[Sample]:
    """Some at random, and those where a group is farthest from the baseline; no sentence twice.

    Args:
        gains: chrF of each sentence, less that of the baseline, by group.
    """
    drawn = sorted(random.Random(SEED).sample(range(sentences), min(DRAWN, sentences)))
    samples = {number: Sample(number, "drawn at random") for number in drawn}
    ranked = sorted(
        ((gain, label, number) for label, of in gains.items() for number, gain in enumerate(of)), key=lambda it: it[0]
    )
    for side, sign in ((reversed(ranked), 1), (ranked, -1)):
        left = FARTHEST
        for gain, label, number in side:
            if left and gain * sign > 0 and number not in samples:
                samples[number] = Sample(number, f"{label} {gain:+.1f} chrF against the baseline")
                left -= 1
    return list(samples.values())


def marked(hypothesis: str, reference: str) -> str:
    """HTML of a hypothesis, in which is marked what the reference has not, and where something of it is missing."""
    words, expected = ([*WORD.finditer(line)] for line in (hypothesis, reference))
    matcher = SequenceMatcher(None, [word[0] for word in words], [word[0] for word in expected], autojunk=False)
    html, at = [], 0
    for kind, start, end, _, _ in matcher.get_opcodes():
        begin = words[start].start() if start < len(words) else len(hypothesis)
        stop = words[end - 1].end() if end > start else begin
        html.append(escape(hypothesis[at:begin]))
        if kind in ("delete", "replace"):  # steps from the hypothesis to the reference
            html.append(f"<mark>{escape(hypothesis[begin:stop])}</mark>")
        elif kind == "insert":
            first = begin == 0 or hypothesis[begin - 1].isspace()
            html.append(f"{MISSING} " if first else f" {MISSING}")
        else:
            html.append(escape(hypothesis[begin:stop]))
        at = stop
    return "".join([*html, escape(hypothesis[at:])])


def _card(sample: Sample, src: str, ref: str, found: dict[str, list[str]], langs: tuple[str, str]) -> str:
    same: dict[str, list[str]] = {}  # hypotheses, and which groups made them
    for label, lines in found.items():
        same.setdefault(lines[sample.number], []).append(label)
    rows = [
        ("source", escape(src), langs[0]),
        ("reference", escape(ref), langs[1]),
        *((", ".join(labels), marked(hypothesis, ref) or "—", langs[1]) for hypothesis, labels in same.items()),
    ]
    html = "".join(
        f'<dt>{escape(name)}</dt><dd lang="{escape(lang)}" dir="auto">{line}</dd>' for name, line, lang in rows
    )
    return f"<article><h3>sentence {sample.number + 1:,}, {escape(sample.why)}</h3><dl>{html}</dl></article>"
