"""`rope-mt compare RUN...`: schemes against a baseline, over seeds and sentences, and a warning where runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from rope_mt.config.flags import CompareConfig
from rope_mt.study.compare.groups import choose_baseline, grouped
from rope_mt.study.finished_runs import cautions, read_runs, refuse_other_tests

if TYPE_CHECKING:
    from rope_mt.study.compare.comparison import Comparison


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
    from rope_mt.study.compare import comparison

    found = comparison.compare(groups, against if tested and len(groups) > 1 else None, buckets)
    found.cautions.extend([*left_out, *cautions(runs, unfinished)])
    return found


def compare(cfg: CompareConfig) -> None:
    """Print the comparison of run folders, and name those without a finished run; draw and write what else is asked.

    Raises:
        UserError: see `compared`.
    """
    found = compared(cfg.runs, cfg.baseline, cfg.buckets, tested=cfg.form != "runs")

    from rope_mt.study.compare import records, tables

    groups = found.groups
    if cfg.form == "json":
        print(records.as_json(found))
    elif cfg.form == "csv":
        print(records.as_csv(found), end="")
    elif cfg.form == "markdown":
        print(tables.as_markdown(found))
    else:
        by_run = cfg.form == "runs" or [len(group.runs) for group in groups] == [1]
        tables.show(found, by_run, Console(highlight=False))
    if cfg.plot:
        from rope_mt.study.compare.plot import plot

        plot(cfg.plot, groups, choose_baseline(groups, cfg.baseline) if len(groups) > 1 else None)
    if cfg.html:
        from rope_mt.study.report import write_report

        write_report(cfg.html, found)
