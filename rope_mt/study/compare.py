"""`rope-mt compare RUN...`: schemes against a baseline, over seeds and sentences, and a warning where runs differ."""

from argparse import ArgumentTypeError
from pathlib import Path

from rich.console import Console

from rope_mt.parser import Parser, rising
from rope_mt.study.finished_runs import cautions, read_runs
from rope_mt.study.groups import choose_baseline, grouped
from rope_mt.study.shared_test_set import TENS, shared_test_set


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
    parser.add_argument("--plot", metavar="FILE.png", type=_png, help=plot)
    return parser


def _png(given: str) -> Path:
    path = Path(given)
    if path.suffix != ".png":
        raise ArgumentTypeError(f"{given!r} does not end in .png")
    return path


def main(arguments: list[str]) -> int:
    """Print the comparison of the run folders that `arguments` name; folders without a finished run are named below.

    Raises:
        UserError: no run is finished, they differ in test set, a file is damaged, or there is no such baseline.
    """
    args = _parser().parse_args(arguments)
    runs, unfinished = read_runs(args.runs)
    src, ref = shared_test_set(runs)
    groups, left_out = grouped(runs)
    baseline = choose_baseline(groups, args.baseline)
    several = len(groups) > 1
    by_run = args.by_run or [len(group.runs) for group in groups] == [1]

    # imported here since it takes torch, for which neither --help nor a mistake should wait
    from rope_mt.study import comparison_records, comparison_table
    from rope_mt.study.comparison import compare

    tested = several and not args.by_run
    found = compare(groups, baseline if tested else None, src, ref, args.buckets)
    found.cautions.extend([*left_out, *cautions(runs, unfinished)])
    if args.json:
        print(comparison_records.as_json(found))
    elif args.csv:
        print(comparison_records.as_csv(found), end="")
    elif args.markdown:
        print(comparison_table.as_markdown(found))
    else:
        comparison_table.show(found, by_run, Console(highlight=False))
    if args.plot:
        from rope_mt.study.comparison_plot import plot

        plot(args.plot, groups, baseline if several else None)
    return 0
