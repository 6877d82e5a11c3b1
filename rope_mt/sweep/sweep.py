"""What a sweep prints, and writes to its folder, when its jobs have ended."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rope_mt.errors import UserError
from rope_mt.runs.tracking import where
from rope_mt.study.charts import plot
from rope_mt.study.compare import compare, records, tables
from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.report import write_report
from rope_mt.sweep.ledger import DONE, WAITING, Entry
from rope_mt.sweep.overview import Overview
from rope_mt.sweep.tuning import tune
from rope_mt.system.files import write_json, write_whole


def conclude(overview: Overview, command: str, tuned: Path | None) -> bool:
    """Print how all jobs ended and their comparison, write both to the sweep's folder; True if every job is done.

    Args:
        command: as the user typed it.
        tuned: the file for the best settings of each scheme.
    """
    console = Console(highlight=False)
    console.print(overview.table())
    folder, entries = overview.ledger.folder, overview.ledger.entries()
    done = [entry for entry in entries if entry.state == DONE]
    for entry in entries:
        if entry.state != DONE:
            state = "never began" if entry.state == WAITING else entry.state
            reason = f": {entry.error}" if entry.error else ""
            print(f"rope-mt: {entry.name}: {state}{reason}", file=sys.stderr)
    comparison = None
    if folders := list(dict.fromkeys(Path(entry.run) for entry in done if entry.run)):
        try:
            comparison = compare.compared(folders)
        except UserError as error:
            print(f"rope-mt: no comparison: {error}", file=sys.stderr)
    _write_record(folder, command, entries, comparison)
    files = ["sweep.json", "sweep.md"]
    if comparison is not None:
        console.print()
        tables.show(comparison, console)
        plot(folder / "sweep.png", comparison)
        write_report(folder / "sweep.html", comparison)
        files += ["sweep.png", "sweep.html"]
    console.print(Text(f"files     {os.path.relpath(folder)}: {', '.join(files)}"), soft_wrap=True)
    if tuned and len(done) == len(entries):
        for scheme, chosen in tune([Path(entry.run) for entry in done if entry.run], tuned).items():
            values = "   ".join(f"{name} {value}" for name, value in chosen.items())
            console.print(Text(f"tuned     {scheme}: {values}"), soft_wrap=True)
        console.print(Text(f"written   {tuned}"), soft_wrap=True)
    lines = dict.fromkeys(where(Path(entry.run)) for entry in entries if entry.run and not entry.found)
    for line in filter(None, lines):
        console.print(Text(line, "dim"), soft_wrap=True)
    return len(done) == len(entries)


def _write_record(folder: Path, command: str, entries: list[Entry], comparison: Comparison | None) -> None:
    record = {"name": folder.name, "command": command, "jobs": [asdict(entry) for entry in entries]}
    rows = ["| job | state | run |", "| --- | --- | --- |"]
    for entry in entries:
        cells = (entry.name, f"{entry.state} {entry.error}".strip(), entry.run or "")
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    markdown = [f"# {folder.name}", f"`{command}`", "\n".join(rows)]
    if comparison is not None:
        record["comparison"] = json.loads(records.as_json(comparison))
        markdown.append(tables.as_markdown(comparison))
    write_json(folder / "sweep.json", record)
    write_whole(folder / "sweep.md", "\n\n".join(markdown) + "\n")
