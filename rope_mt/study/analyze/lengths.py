"""`rope-mt analyze lengths RUN...`: scores by the length of the source, and of sentences joined to longer ones.

A scheme that stops generalising shows it twice: on the long sentences of the test set, which are few and unlike the
others, and on joined sentences. These differ from single ones in length alone only where training had joined ones too.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rope_mt.config.data import JOINED
from rope_mt.config.flags import AnalyzeLengthsConfig
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result, write_result
from rope_mt.study.compare.buckets import default_bounds, in_buckets
from rope_mt.study.compare.groups import labels
from rope_mt.study.finished_runs import FinishedRun, read_runs, refuse_other_test_sets, warnings_about
from rope_mt.system.locks import only_one
from rope_mt.system.plots import figure, write_csv

COLUMNS = ("run", "scheme", "seed", "kind", "name", "low", "high", "sentences", "mean source tokens", "bleu")
COLUMNS += ("bleu without brevity penalty",)


@dataclass(frozen=True)
class Cell:
    """The score of one run on one part of the test set."""

    run: FinishedRun
    scheme: str
    kind: str  # bucket or joined
    name: str
    low: int  # tokens of a source: the bounds of a bucket; of joined sources the shortest and the longest
    high: int | None
    lengths: list[int]  # tokens of each source
    bleu: float | None  # None: there is no sentence, or the model cannot read one so long
    unpenalised: float | None  # without the brevity penalty

    def text(self, penalised: bool) -> str:
        """One of the scores, or why it is missing."""
        score = self.bleu if penalised else self.unpenalised
        if score is not None:
            return f"{score:.2f}"
        return "too long" if self.lengths else "-"


def analyze_lengths(cfg: AnalyzeLengthsConfig) -> None:
    """Print BLEU by bucket and by joining, and write OUT.csv and OUT.png; with `forced` what `analyze_forced` does.

    Raises:
        UserError: no run is finished, they differ in test set or tokenizer, the test set is too small to join, or one
            has neither translations of joined sentences nor weights.
    """
    runs, unfinished = read_runs(cfg.runs)
    if cfg.forced:
        from rope_mt.study.analyze.beyond import analyze_forced

        analyze_forced(runs, unfinished, cfg.out)
        return
    lengths = common_lengths(runs)
    if max(cfg.joined) > len(lengths):
        raise UserError(f"the test set has {len(lengths)} sentences, too few to join {max(cfg.joined)}: lower --joined")
    caps = sorted({run.config["data"]["max_len"] for run in runs})
    bounds = cfg.buckets or default_bounds(caps[0], max(lengths))
    score_joined(runs, [k for k in cfg.joined if k > 1])
    runs = read_runs(cfg.runs)[0]  # with those scores
    cells = []
    for run, scheme in zip(runs, labels(runs), strict=True):
        cells += bucket_cells(run, scheme, bounds)
        cells += [joined_cell(run, scheme, k, lengths) for k in cfg.joined]

    console = Console(highlight=False)
    console.print(Text(runs[0].result["test"]["bleu_signature"], "dim"), soft_wrap=True)
    console.print(Text(f"trained on at most {' or '.join(map(str, caps))} tokens a side"), soft_wrap=True)
    for penalised, lacks in ((True, ""), (False, ", without its brevity penalty")):
        for kind, told in (("bucket", "by source length in tokens"), ("joined", "of so many test sentences joined")):
            of_kind = [cell for cell in cells if cell.kind == kind]
            console.print(Text(f"\nBLEU {told}{lacks}", "bold"), table(of_kind, penalised), sep="\n")
    for line in warnings_about(runs, unfinished):
        console.print(Text(line, "yellow"), soft_wrap=True)
    csv, png = Path(f"{cfg.out}.csv"), Path(f"{cfg.out}.png")
    write_csv(csv, COLUMNS, map(_csv_row, cells))
    plot(png, cells, caps, fmean(lengths))
    console.print(Text(f"\nfiles     {csv}, {png}"), soft_wrap=True)


def common_lengths(runs: list[FinishedRun]) -> list[int]:
    """Tokens of each test source, without the end of the sentence, in the tokenizer that the runs share.

    Raises:
        UserError: they do not share test set and tokenizer, or a file is missing or damaged.
    """
    refuse_other_test_sets(runs)
    first = runs[0].statistics().lengths
    for run in runs[1:]:
        if run.statistics().lengths != first:
            raise UserError(f"{runs[0].folder} and {run.folder} have different tokenizers: give each its own table")
    return first


def score_joined(runs: list[FinishedRun], numbers: Sequence[int]) -> None:
    """Translate joined sources as each run translated its test set, unless its result has these scores.

    Args:
        numbers: of sentences to join.

    Raises:
        UserError: the weights or the text for it are missing.
    """
    missing = []
    for run in runs:
        if wanted := [k for k in numbers if JOINED.format(k) not in run.scores]:
            if not RunFolder(run.folder).average.is_dir():
                lacks = f"{run.folder} has no translations for --joined {','.join(map(str, wanted))}"
                raise UserError(f"{lacks}, and no weights to make them: leave it out")
            missing.append((run, wanted))
    for number, (run, wanted) in enumerate(missing, start=1):
        print(f"{run.folder}: translating joined sentences, run {number} of {len(missing)}", file=sys.stderr)
        with only_one(run.folder):
            _translate_joined(RunFolder(run.folder), str(run.result["precision"]), wanted)


def _translate_joined(run: RunFolder, precision: str, numbers: Sequence[int]) -> None:
    # imported here since they take torch, which published records do not need
    from rope_mt.runs import checkpoint
    from rope_mt.system.device import choose_device, choose_precision
    from rope_mt.translation.scored_sets import own_test_set, translate_joined
    from rope_mt.translation.translator import Translator

    ckpt = checkpoint.load(run.path)
    device = choose_device("auto")
    translator = Translator.of(ckpt, ckpt.config.search, device, choose_precision(precision, device))
    test_set = own_test_set(run.path, ckpt)
    for k in numbers:
        result = read_result(run)
        if JOINED.format(k) not in result["further_tests"]:  # another command may have added it meanwhile
            result["further_tests"][JOINED.format(k)] = translate_joined(run, k, translator, *test_set)
            write_result(run, result)


def bucket_cells(run: FinishedRun, scheme: str, bounds: Sequence[int]) -> list[Cell]:
    """The scores of a run's translations of the test set, by the length of their sources."""
    of_run, cells = run.statistics(), []
    for bucket in in_buckets(of_run.lengths, bounds):
        part = bucket.numbers
        inside = [of_run.lengths[i] for i in part]
        scores = (of_run.score("bleu", part), of_run.score("unpenalised bleu", part)) if part else (None, None)
        cells.append(Cell(run, scheme, "bucket", bucket.name, bucket.low, bucket.high, inside, *scores))
    return cells


def joined_cell(run: FinishedRun, scheme: str, k: int, lengths: list[int]) -> Cell:
    """The score of k sentences joined; `lengths` are those of single ones."""
    name = JOINED.format(k) if k > 1 else "test"
    together = [sum(lengths[i : i + k]) for i in range(0, len(lengths) - k + 1, k)]
    scores = (None, None)
    if run.scores[name]:
        of_run = run.statistics(name)
        scores = (of_run.score("bleu"), of_run.score("unpenalised bleu"))
    return Cell(run, scheme, "joined", str(k), min(together), max(together), together, *scores)


def table(cells: list[Cell], penalised: bool) -> Table:
    """BLEU, a row a run; under the name of a column how many sources it has, and their mean length in tokens."""
    out = Table(box=None, header_style="bold", pad_edge=False)
    out.add_column("position\n[dim]sources\ntokens, mean[/]", no_wrap=True)
    out.add_column("seed\n\n", justify="right")
    rows: dict[Path, list[Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.run.folder, []).append(cell)
    for cell in rows[cells[0].run.folder]:
        tokens = f"{fmean(cell.lengths):.1f}" if cell.lengths else "-"
        out.add_column(f"{cell.name}\n[dim]{len(cell.lengths):,}\n{tokens}[/]", justify="right", no_wrap=True)
    for row in rows.values():
        out.add_row(row[0].scheme, str(row[0].run.seed), *(cell.text(penalised) for cell in row))
    return out


def plot(path: Path, cells: list[Cell], caps: list[int], mean_length: float) -> None:
    """BLEU against the length of the source, and against the number of sentences joined: a line a scheme.

    Lines are means over seeds, with a mark for each seed. A dashed line stands at the longest source of the training
    text; among joined sources it stands where their mean length reaches it.
    """
    with figure(path, width=8.0, height=3.8) as drawn:
        left, right = drawn.subplots(1, 2)
        for axes, kind in ((left, "bucket"), (right, "joined")):
            for scheme in dict.fromkeys(cell.scheme for cell in cells):
                _draw_scheme(axes, scheme, [cell for cell in cells if (cell.scheme, cell.kind) == (scheme, kind)])
            axes.set_ylim(bottom=0)
        left.set(xlabel="source length (tokens, mean of the bucket)", ylabel="BLEU")
        numbers = [*dict.fromkeys(cell.name for cell in cells if cell.kind == "joined")]
        right.set(xlabel="test sentences joined")
        right.set_xscale("log", base=2)
        right.set_xticks([int(number) for number in numbers], numbers)
        right.minorticks_off()
        for cap in caps:
            for axes, at in ((left, cap), (right, cap / mean_length)):
                low, high = axes.get_xlim()
                if low < at < high:
                    axes.axvline(at, color="#555555", linestyle=(0, (6, 4)), linewidth=0.9)
                    place = {"xy": (at, 1.0), "xycoords": ("data", "axes fraction"), "va": "top"}
                    axes.annotate(f" trained on at most {cap}", fontsize=7, **place)
        drawn.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)


def _draw_scheme(axes: Axes, scheme: str, cells: list[Cell]) -> None:
    points = []  # tokens or sentences joined, and BLEU
    for cell in cells:
        if cell.bleu is not None:
            points.append((fmean(cell.lengths) if cell.kind == "bucket" else float(cell.name), cell.bleu))
    means = {x: fmean(bleu for at, bleu in points if at == x) for x, _ in sorted(points)}
    [line] = axes.plot(list(means), list(means.values()), label=scheme)
    xs, ys = [x for x, _ in points], [bleu for _, bleu in points]  # none where all sources were too long
    axes.scatter(xs, ys, s=14, marker="x", linewidths=0.7, color=line.get_color())


def _csv_row(cell: Cell) -> tuple[object, ...]:
    tokens = f"{fmean(cell.lengths):.2f}" if cell.lengths else None
    part = (cell.kind, cell.name, cell.low, cell.high, len(cell.lengths), tokens)
    return (cell.run.folder, cell.scheme, cell.run.seed, *part, cell.bleu, cell.unpenalised)
