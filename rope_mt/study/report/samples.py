"""Translations side by side: sentences of the test set, and the words of each hypothesis that the reference lacks."""

import random
import re
from difflib import SequenceMatcher
from html import escape

from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.report.page import paragraph
from rope_mt.study.run_files import hypotheses
from rope_mt.translation.scoring import sentence_chrf

DRAWN, FARTHEST = 4, 3  # sentences drawn at random, and on each side of the baseline
SEED = 1
WORD = re.compile(r"\w+|[^\w\s]")
MISSING = "<mark>[…]</mark>"
MARKED = "Marked: words that the reference does not have in this place; […] stands where words of it are missing."


def translations(comparison: Comparison, src: list[str], ref: list[str]) -> str:
    """Source, reference and hypotheses of some sentences, those of the first run of each group.

    Raises:
        UserError: a run's hypotheses are missing or damaged.
    """
    groups, baseline = comparison.groups, comparison.baseline
    lines = {group.label: hypotheses(group.runs[0]) for group in groups}
    seeds = [str(group.runs[0].seed) for group in groups]
    rule = f"{min(DRAWN, len(ref))} sentences drawn at random (Python's random, seed {SEED})."
    gains = {}
    if baseline is not None:
        rule += (
            f" Below them those where the chrF of one sentence is farthest above and below that of {baseline.label}, "
            f"at most {FARTHEST} on either side: extremes, from which nothing follows about the whole."
        )
        scores = {label: sentence_chrf(of_group, ref) for label, of_group in lines.items()}
        theirs = scores.pop(baseline.label)
        gains = {label: [a - b for a, b in zip(ours, theirs, strict=True)] for label, ours in scores.items()}
    rule += f" The runs are those with seed {seeds[0]}." if len({*seeds}) == 1 else f" Seeds: {', '.join(seeds)}."
    data = groups[0].runs[0].config["data"]
    cards = []
    for number, reason in chosen(len(ref), gains).items():
        rows = [("source", escape(src[number]), data["src_lang"]), ("reference", escape(ref[number]), data["tgt_lang"])]
        labels: dict[str, list[str]] = {}  # of the groups, by their hypothesis
        for label, of_group in lines.items():
            labels.setdefault(of_group[number], []).append(label)
        for hypothesis, alike in labels.items():
            rows.append((", ".join(alike), marked(hypothesis, ref[number]) or "—", data["tgt_lang"]))
        html = "".join(
            f'<dt>{escape(name)}</dt><dd lang="{escape(language)}" dir="auto">{line}</dd>'
            for name, line, language in rows
        )
        cards.append(f"<article><h3>sentence {number + 1:,}, {escape(reason)}</h3><dl>{html}</dl></article>")
    return "\n".join([paragraph(MARKED), paragraph(rule, "dim"), *cards])


def chosen(sentences: int, gains: dict[str, list[float]]) -> dict[int, str]:
    """Numbers of sentences, from 0, and why each is shown: some at random, and those farthest from the baseline.

    Args:
        gains: chrF of each sentence, less that of the baseline, by group.
    """
    drawn = sorted(random.Random(SEED).sample(range(sentences), min(DRAWN, sentences)))
    reasons = dict.fromkeys(drawn, "drawn at random")
    ranked = [(gain, label, number) for label, of_group in gains.items() for number, gain in enumerate(of_group)]
    ranked.sort(key=lambda entry: entry[0])
    for side, sign in ((reversed(ranked), 1), (ranked, -1)):
        left = FARTHEST
        for gain, label, number in side:
            if left and gain * sign > 0 and number not in reasons:
                reasons[number] = f"{label} {gain:+.1f} chrF against the baseline"
                left -= 1
    return reasons


def marked(hypothesis: str, reference: str) -> str:
    """HTML of a hypothesis with marks at words that the reference lacks, and where words of it are missing."""
    words, expected = ([*WORD.finditer(line)] for line in (hypothesis, reference))
    matcher = SequenceMatcher(None, [word[0] for word in words], [word[0] for word in expected], autojunk=False)
    html, at = [], 0
    for kind, start, end, _, _ in matcher.get_opcodes():  # steps from the hypothesis to the reference
        begin = words[start].start() if start < len(words) else len(hypothesis)
        stop = words[end - 1].end() if end > start else begin
        html.append(escape(hypothesis[at:begin]))
        if kind == "equal":
            html.append(escape(hypothesis[begin:stop]))
        elif kind == "insert":
            first = begin == 0 or hypothesis[begin - 1].isspace()
            html.append(f"{MISSING} " if first else f" {MISSING}")
        else:
            html.append(f"<mark>{escape(hypothesis[begin:stop])}</mark>")
        at = stop
    return "".join([*html, escape(hypothesis[at:])])
