"""`rope-mt compare RUN...`: schemes against a baseline, over seeds and sentences, and a warning where runs differ."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rope_mt.config.flags import CompareConfig
from rope_mt.study.charts import plot
from rope_mt.study.compare import records, tables
from rope_mt.study.compare.comparison import Comparison, compare_groups
from rope_mt.study.compare.groups import choose_baseline, grouped
from rope_mt.study.finished_runs import FinishedRun, by_test_set, read_runs, refuse_other_test_sets, warnings_about


def compared(folders: Sequence[Path]) -> Comparison:
    """Read these run folders and compare the runs that have finished, as `compare` does without flags.

    Raises:
        UserError: no run is finished, they differ in test set, or a file is damaged.
    """
    runs, unfinished = read_runs(folders)
    refuse_other_test_sets(runs)
    return _compared(runs, unfinished, CompareConfig(runs=[*folders]))


def _compared(runs: list[FinishedRun], unfinished: list[Path], cfg: CompareConfig) -> Comparison:
    groups, skipped = grouped(runs)
    against = choose_baseline(groups, cfg.baseline)
    comparison = compare_groups(groups, against if cfg.form != "runs" and len(groups) > 1 else None, cfg.buckets)
    comparison.warnings += [*skipped, *warnings_about(runs, unfinished)]
    return comparison


def compare(cfg: CompareConfig) -> None:
    """Print the comparison of run folders, name those without a finished run, and write the chart and the report.

    Runs with different test sets have a table for each; a file is about one.

    Raises:
        UserError: see `compared`; or there is no such baseline.
    """
    runs, unfinished = read_runs(cfg.runs)
    if cfg.form in ("json", "csv") or cfg.plot or cfg.html:
        refuse_other_test_sets(runs)
    parts: dict[str, Comparison] = {}
    for name, of_set in by_test_set(runs).items():
        parts[name] = _compared(of_set, unfinished, cfg)
        unfinished = []  # named once
    for name, comparison in parts.items():
        if len(parts) > 1:
            print(f"\n{name}")
        _write(cfg, comparison)


def _write(cfg: CompareConfig, comparison: Comparison) -> None:
    if cfg.form == "json":
        print(records.as_json(comparison))
    elif cfg.form == "csv":
        print(records.as_csv(comparison), end="")
    elif cfg.form == "markdown":
        print(tables.as_markdown(comparison))
    else:
        tables.show(comparison, Console(highlight=False), run_by_run=cfg.form == "runs")
    if cfg.plot:
        plot(cfg.plot, comparison)
    if cfg.html:
        from rope_mt.study.report import write_report  # takes matplotlib

        write_report(cfg.html, comparison)
