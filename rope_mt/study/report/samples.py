"""Translations side by side: sentences of the test set, and the words of each hypothesis that the reference lacks."""

import random
import re
from difflib import SequenceMatcher
from html import escape

from rope_mt.data import text
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.finished_runs import FinishedRun
from rope_mt.study.report.page import items, paragraph

DRAWN = 6  # sentences
SEED = 1
WORD = re.compile(r"\w+|[^\w\s]")
MISSING = "<mark>[…]</mark>"
MARKED = "Marked: words that the reference does not have in this place; […] stands where words of it are missing."


def translations(comparison: Comparison) -> str:
    """Source, reference and hypotheses of some sentences, those of the first run of each group; or what is missing."""
    groups = comparison.groups
    try:
        src, ref = texts(comparison.runs)
        lines = {group.label: group.runs[0].hypotheses() for group in groups}
    except UserError as error:
        return items([f"No translations: {error}."], "warnings")
    seeds = [str(group.runs[0].seed) for group in groups]
    drawn = sorted(random.Random(SEED).sample(range(len(ref)), min(DRAWN, len(ref))))
    rule = f"{len(drawn)} sentences drawn at random (Python's random, seed {SEED})."
    rule += f" The runs are those with seed {seeds[0]}." if len({*seeds}) == 1 else f" Seeds: {', '.join(seeds)}."
    data = groups[0].runs[0].config["data"]
    cards = []
    for number in drawn:
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
        cards.append(f"<article><h3>sentence {number + 1:,}</h3><dl>{html}</dl></article>")
    return "\n".join([paragraph(MARKED), paragraph(rule, "dim"), *cards])


def texts(runs: list[FinishedRun]) -> tuple[list[str], list[str]]:
    """Sources and references of the test set, from the first run folder that has them, or from where a run read them.

    Raises:
        UserError: they are in neither place, or damaged.
    """
    for run in runs:
        folder = RunFolder(run.folder)
        if folder.test_src.is_file() and folder.test_ref.is_file():
            return text.read_test_set([(folder.test_src, folder.test_ref)])
    first = RunFolder(runs[0].folder)
    missing = [f"the text of the test set is not there, {first.test_src} and {first.test_ref}"]
    for run in runs:
        data = run.config["data"]
        try:
            files = text.pairs_of_files(data["test"], data["src_lang"], data["tgt_lang"])
        except UserError as error:
            missing.append(str(error))
            continue
        if text.fingerprint(files) == run.result["text"].get("test"):
            most = run.config["trainer"]["test_sentences"]  # null: all were translated
            src, ref = text.read_test_set(files)
            return src[:most], ref[:most]
        missing.append(f"{', '.join(data['test'])} is another text now")
    raise UserError("; ".join(dict.fromkeys(missing)))


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
