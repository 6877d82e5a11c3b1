"""`rope-mt analyze lengths RUN...`: scores by the length of the source, and of sentences joined to longer ones.

Where a scheme stops generalising shows twice: on the long sentences of the test set, which are few and unlike the
others, and on the same sentences joined, which differ from them in nothing but length.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rope_mt.data import text
from rope_mt.data.reading import LONGEST, read
from rope_mt.device import choose_device, choose_precision
from rope_mt.durable import write_whole
from rope_mt.errors import UserError
from rope_mt.evaluation import in_buckets, score_by_length
from rope_mt.parser import rising
from rope_mt.progress import progress
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.scoring import Scores, score
from rope_mt.sealed import sha256
from rope_mt.study.finished_runs import FinishedRun, read_runs, warnings
from rope_mt.study.groups import labels
from rope_mt.study.plots import figure, write_csv
from rope_mt.study.shared_test_set import TENS, default_bounds, hypotheses, shared_test_set
from rope_mt.translation import Translator

COLUMNS = ("run", "position", "seed", "kind", "name", "low", "high", "sentences", "mean source tokens", "bleu", "chrf")


@dataclass(frozen=True)
class Cell:
    """The scores of one run on one part of the test set."""

    kind: str  # bucket or joined
    name: str
    low: int  # tokens of a source: the bounds of a bucket; of joined sources the shortest and the longest
    high: int | None
    lengths: list[int]  # tokens of each source
    scores: Scores | None  # None: there is no sentence, or the model cannot read one so long

    def __str__(self) -> str:
        if self.scores:
            return f"{self.scores.bleu:.2f}"
        return "too long" if self.lengths else "-"


@dataclass(frozen=True)
class Row:
    """A run and its scores."""

    run: FinishedRun
    scheme: str
    cells: list[Cell]

    @property
    def seed(self) -> int:
        return self.run.result["seed"]

    def of(self, kind: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.kind == kind]


@dataclass(frozen=True)
class TestSet:
    """What all runs were tested on, and the length of what they were trained on."""

    src: list[str]
    ref: list[str]
    lengths: dict[int, list[int]]  # tokens of the sources without the end of the sentence, by how many are joined
    caps: list[int]  # data.max_len of the runs, each once, rising


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="a run folder, as in outputs/*")
    parser.add_argument(
        "--buckets",
        type=rising,
        metavar="N,N,...",
        help="the longest source of each bucket but the last, in tokens (default: multiples of data.max_len where the "
        f"test set goes beyond it, else {_listed(TENS)})",
    )
    parser.add_argument(
        "--joined",
        type=rising,
        default=[1, 2, 4, 8],
        metavar="N,N,...",
        help="how many consecutive test sentences to join, what is left over at the end left out (default: 1,2,4,8); "
        "translations stay in the run folder as test-joined-N.hyp",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/lengths"), help="what files' names begin with (default: %(default)s)"
    )


def main(args: argparse.Namespace) -> int:
    """Print BLEU by bucket and by joining; write OUT.csv and OUT.png.

    Raises:
        UserError: no run is finished, they differ in test set or tokenizer, or the test set is too small to join.
    """
    runs, unfinished = read_runs(args.runs)
    test = common_test_set(runs, args.joined)
    bounds = args.buckets or default_bounds(test.caps[0], max(test.lengths[1]))
    too_long = translate_joined(runs, test, args.joined)
    rows = []
    for run, scheme in zip(runs, labels(runs), strict=True):
        joined_cells = [joined_cell(run.folder, test, k, (run.folder, k) in too_long) for k in args.joined]
        rows.append(Row(run, scheme, bucket_cells(run, test, bounds) + joined_cells))

    console = Console(highlight=False)
    console.print(Text(runs[0].result["test"]["bleu_signature"], "dim"), soft_wrap=True)
    console.print(Text(f"trained on at most {_listed(test.caps, ' or ')} tokens a side"), soft_wrap=True)
    console.print(Text("\nBLEU by source length in tokens", "bold"), table(rows, "bucket"), sep="\n")
    console.print(Text("\nBLEU of so many test sentences joined", "bold"), table(rows, "joined"), sep="\n")
    for line in warnings(runs, unfinished):
        console.print(line, soft_wrap=True)
    numbers, drawn = Path(f"{args.out}.csv"), Path(f"{args.out}.png")
    write_csv(numbers, COLUMNS, _csv_rows(rows))
    plot(drawn, rows, test)
    console.print(Text(f"\nfiles     {numbers}, {drawn}"), soft_wrap=True)
    return 0


def joined(lines: list[str], k: int) -> list[str]:
    """Each k consecutive lines as one, with a blank between; lines left over at the end are left out."""
    return [" ".join(lines[i : i + k]) for i in range(0, len(lines) - k + 1, k)]


def common_test_set(runs: list[FinishedRun], counts: Sequence[int]) -> TestSet:
    """The test set that the runs share, its lengths in the tokenizer that they share.

    Raises:
        UserError: they do not share them, a file is missing, or there are not enough sentences to join.
    """
    src, ref = shared_test_set(runs)
    tokenizers, caps = [], set()
    for run in runs:
        ckpt = checkpoint.load(run.folder)
        tokenizers.append(ckpt.tokenizer)
        caps.add(ckpt.config.data.max_len)
        if tokenizers[-1].model != tokenizers[0].model:
            raise UserError(f"{runs[0].folder} and {run.folder} have different tokenizers: give each its own table")
    if max(counts) > len(src):
        raise UserError(f"the test set has {len(src)} sentences, too few to join {max(counts)}: lower --joined")
    lengths = {k: [*map(len, read(tokenizers[0], joined(src, k), k * LONGEST).ids)] for k in {1, *counts}}
    return TestSet(src, ref, lengths, sorted(caps))


def translate_joined(runs: list[FinishedRun], test: TestSet, counts: Sequence[int]) -> set[tuple[Path, int]]:
    """Translate joined sources as each run translated its test set, unless that lies in its folder already.

    Returns:
        Run folder and number joined where the sources are longer than the model can read.
    """
    missing = {
        run.folder: [k for k in counts if k > 1 and not _is_translated(run.folder, k, len(test.lengths[k]))]
        for run in runs
    }
    device = choose_device("auto")
    too_long = set()
    with progress("translating joined sentences", sum(map(len, missing.values())), "test sets") as advance:
        for folder, ks in missing.items():
            if not ks:
                continue
            ckpt = checkpoint.load(folder)
            precision = choose_precision(ckpt.config.trainer.precision, device)
            translator = Translator.of(ckpt, ckpt.config.search, device, precision)
            for k in ks:
                known = translator.model.max_len
                if known is not None and max(test.lengths[k]) > known:
                    too_long.add((folder, k))
                else:
                    translated = translator.translate(joined(test.src, k), k * LONGEST)
                    run = RunFolder(folder)
                    write_whole(run.joined_hyp(k), "".join(line + "\n" for line in translated))
                    write_whole(run.joined_sum(k), sha256(run.joined_hyp(k)))
                advance(1)
    return too_long


def bucket_cells(run: FinishedRun, test: TestSet, bounds: Sequence[int]) -> list[Cell]:
    """The scores of a run's own translations, by the length of their sources."""
    lengths, cells = test.lengths[1], []
    buckets = score_by_length(lengths, hypotheses(run), test.ref, bounds)
    for bucket, chosen in zip(buckets, in_buckets(lengths, bounds), strict=True):
        inside = [lengths[i] for i in chosen]
        cells.append(Cell("bucket", bucket.name, bucket.low, bucket.high, inside, bucket.scores))
    return cells


def joined_cell(folder: Path, test: TestSet, k: int, too_long: bool) -> Cell:
    """The scores of k sentences joined, from what `translate_joined` left in a run folder."""
    lengths, scores = test.lengths[k], None
    if not too_long:
        translated = [line.decode(errors="replace") for line in text.lines(RunFolder(folder).joined_hyp(k))]
        scores = score(translated, joined(test.ref, k))
    return Cell("joined", str(k), min(lengths), max(lengths), lengths, scores)


def table(rows: list[Row], kind: str) -> Table:
    """BLEU, a row a run; under the name of a column how many sources it has, and their mean length in tokens."""
    out = Table(box=None, header_style="bold", pad_edge=False)
    out.add_column("position\n[dim]sources\ntokens, mean[/]", no_wrap=True)
    out.add_column("seed\n\n", justify="right")
    for cell in rows[0].of(kind):
        tokens = f"{fmean(cell.lengths):.1f}" if cell.lengths else "-"
        out.add_column(f"{cell.name}\n[dim]{len(cell.lengths):,}\n{tokens}[/]", justify="right", no_wrap=True)
    for row in rows:
        out.add_row(row.scheme, str(row.seed), *map(str, row.of(kind)))
    return out


def plot(path: Path, rows: list[Row], test: TestSet) -> None:
    """BLEU against the length of the source, and against the number of sentences joined: a line a scheme.

    Lines are means over seeds, with a mark for each seed; what training was cut to is a dashed line. Among joined
    sources it is where their mean length reaches it.
    """
    panels = {"bucket": "source length (tokens, mean of the bucket)", "joined": "test sentences joined"}
    with figure(path, width=8.0, height=3.8) as drawn:
        left, right = drawn.subplots(1, 2)
        for axes, (kind, label) in zip((left, right), panels.items(), strict=True):
            for scheme in dict.fromkeys(row.scheme for row in rows):
                points = [point for row in rows if row.scheme == scheme for point in _points(row.of(kind))]
                means = {x: fmean(bleu for at, bleu in points if at == x) for x, _ in sorted(points)}
                [line] = axes.plot(list(means), list(means.values()), label=scheme)
                xs, ys = [x for x, _ in points], [bleu for _, bleu in points]  # none where all was too long
                axes.scatter(xs, ys, s=14, marker="x", linewidths=0.7, color=line.get_color())
            axes.set_xlabel(label)
            axes.set_ylim(bottom=0)
        left.set_ylabel("BLEU")
        counts = [int(cell.name) for cell in rows[0].of("joined")]
        right.set_xscale("log", base=2)
        right.set_xticks(counts, [str(k) for k in counts])
        right.minorticks_off()
        for cap in test.caps:
            for axes, at in ((left, cap), (right, cap / fmean(test.lengths[1]))):
                low, high = axes.get_xlim()
                if low < at < high:
                    axes.axvline(at, color="#555555", linestyle=(0, (6, 4)), linewidth=0.9)
                    top = (at, 1.0)
                    axes.annotate(
                        f" trained on at most {cap}", top, xycoords=("data", "axes fraction"), va="top", fontsize=7
                    )
        drawn.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)


def _points(cells: list[Cell]) -> list[tuple[float, float]]:
    """Where the cells with scores lie in the figure: tokens or sentences joined, and BLEU."""
    return [
        (fmean(cell.lengths) if cell.kind == "bucket" else float(cell.name), cell.scores.bleu)
        for cell in cells
        if cell.scores
    ]


def _csv_rows(rows: list[Row]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        for cell in row.cells:
            tokens = f"{fmean(cell.lengths):.2f}" if cell.lengths else None
            numbers = (cell.scores.bleu, cell.scores.chrf) if cell.scores else (None, None)
            part = (cell.kind, cell.name, cell.low, cell.high, len(cell.lengths), tokens)
            yield (row.run.folder, row.scheme, row.seed, *part, *numbers)


def _is_translated(folder: Path, k: int, sentences: int) -> bool:
    """Whether there are translations in full, as they were written, by the weights that are there now."""
    run = RunFolder(folder)
    path = run.joined_hyp(k)
    newer = path.is_file() and path.stat().st_mtime_ns > run.average.stat().st_mtime_ns
    known = newer and run.joined_sum(k).is_file() and run.joined_sum(k).read_bytes() == sha256(path).encode()
    return known and text.count(path) == sentences


def _listed(values: Sequence[object], by: str = ",") -> str:
    return by.join(str(value) for value in values)
