"""`rope-mt compare RUN...`: schemes against a baseline, over seeds and sentences, and a warning where runs differ."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from rope_mt.cli.flags import Parser, rising
from rope_mt.study.compare.buckets import TENS
from rope_mt.study.compare.groups import choose_baseline, grouped
from rope_mt.study.finished_runs import cautions, read_runs, refuse_other_tests

if TYPE_CHECKING:
    from rope_mt.study.compare.comparison import Comparison


def _parser() -> Parser:
    parser = Parser(
        prog="rope-mt compare",
        description="Finished runs, a row for those that differ in nothing but their seed: means and standard "
        "deviations, and whether a difference from the baseline is more than chance.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="a run folder, as in outputs/*")
    baseline = "the scheme or row that the others are tested against (default: sinusoidal-add, or else the first)"
    parser.add_argument("--baseline", metavar="SCHEME", help=baseline)
    buckets = (
        "the longest source of each bucket but the last, in tokens (default: multiples of data.max_len where the test "
        f"set goes beyond it, else {','.join(map(str, TENS))}); no part of --runs"
    )
    parser.add_argument("--buckets", type=rising, metavar="N,N,...", help=buckets)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--runs", dest="by_run", action="store_true", help="a row a run, and no tests")
    forms.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    forms.add_argument("--csv", action="store_true", help="print CSV: the groups, and after them the runs")
    forms.add_argument("--markdown", action="store_true", help="print tables as GitHub reads them")
    plot = "also draw mean BLEU by scheme, with a dot for each seed"
    parser.add_argument("--plot", metavar="FILE.png", type=_ending(".png"), help=plot)
    html = "also write a report to read in a browser: tables, curves, translations, configuration"
    parser.add_argument("--html", metavar="FILE.html", type=_ending(".html"), help=html)
    return parser


def _ending(suffix: str) -> Callable[[str], Path]:
    def path(given: str) -> Path:
        if Path(given).suffix != suffix:
            raise ArgumentTypeError(f"{given!r} does not end in {suffix}")
        return Path(given)

    return path


def compared(
    folders: Sequence[Path], baseline: str | None = None, buckets: list[int] | None = None, tested: bool = True
) -> Comparison:
    """Read these run folders and compare the runs that have finished.

    Args:
        baseline: see `choose_baseline`.
        buckets: the longest source of each bucket but the last, in tokens; None: `default_bounds`.
        tested: False leaves out all that is against the baseline.

    Raises:
        UserError: no run is finished, they differ in test set, a file is damaged, or there is no such baseline.
    """
    runs, unfinished = read_runs(folders)
    refuse_other_tests(runs)
    groups, left_out = grouped(runs)
    against = choose_baseline(groups, baseline)

    # imported here since it takes sacreBLEU, for which neither --help nor a mistake should wait
    from rope_mt.study.compare.comparison import compare

    found = compare(groups, against if tested and len(groups) > 1 else None, buckets)
    found.cautions.extend([*left_out, *cautions(runs, unfinished)])
    return found


def main(arguments: list[str]) -> int:
    """Print the comparison of the run folders that `arguments` name; folders without a finished run are named below.

    Raises:
        UserError: see `compared`.
    """
    args = _parser().parse_args(arguments)
    found = compared(args.runs, args.baseline, args.buckets, tested=not args.by_run)

    from rope_mt.study.compare import records, tables

    groups = found.groups
    if args.json:
        print(records.as_json(found))
    elif args.csv:
        print(records.as_csv(found), end="")
    elif args.markdown:
        print(tables.as_markdown(found))
    else:
        by_run = args.by_run or [len(group.runs) for group in groups] == [1]
        tables.show(found, by_run, Console(highlight=False))
    if args.plot:
        from rope_mt.study.compare.plot import plot

        plot(args.plot, groups, choose_baseline(groups, args.baseline) if len(groups) > 1 else None)
    if args.html:
        from rope_mt.study.report import write_report

        write_report(args.html, found)
    return 0
