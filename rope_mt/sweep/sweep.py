"""One sweep: its folder, and what it prints and writes there when its jobs have ended."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rope_mt.errors import UserError
from rope_mt.runs.tracking import where
from rope_mt.study.charts import plot
from rope_mt.study.compare import compare, records, tables
from rope_mt.study.compare.comparison import Comparison
from rope_mt.study.report import write_report
from rope_mt.sweep.ledger import DONE, WAITING, Entry, Ledger
from rope_mt.sweep.overview import Overview
from rope_mt.system.files import write_json, write_whole


@dataclass(frozen=True)
class Sweep:
    name: str
    folder: Path
    jobs: list[str] | None  # their names; None if the sweeper makes them up as it goes
    command: str  # as the user typed it
    words: list[str]  # of the command, with the choices
    tuned: Path | None = None  # where the best settings of each scheme go

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder)


def begin(sweep: Sweep) -> None:
    """Let all jobs wait, and forget an earlier attempt."""
    sweep.ledger.start(sweep.jobs or [])
    for suffix in ("json", "md", "png", "html"):
        (sweep.folder / f"sweep.{suffix}").unlink(missing_ok=True)


def conclude(sweep: Sweep, overview: Overview) -> bool:
    """Print how all jobs ended and their comparison, write both to the sweep's folder; True if every job is done."""
    console = Console(highlight=False)
    console.print(overview.table())
    entries = sweep.ledger.entries()
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
    _write_record(sweep, entries, comparison)
    files = ["sweep.json", "sweep.md"]
    if comparison is not None:
        console.print()
        tables.show(comparison, console)
        plot(sweep.folder / "sweep.png", comparison)
        write_report(sweep.folder / "sweep.html", comparison)
        files += ["sweep.png", "sweep.html"]
    console.print(Text(f"files     {os.path.relpath(sweep.folder)}: {', '.join(files)}"), soft_wrap=True)
    if sweep.tuned and len(done) == len(entries):
        # torch would count the cores before a launcher's job, which has a copy of the sweep, can set its threads
        from rope_mt.sweep.tuning import tune

        for scheme, chosen in tune([Path(entry.run) for entry in done if entry.run], sweep.tuned).items():
            values = "   ".join(f"{name} {value}" for name, value in chosen.items())
            console.print(Text(f"tuned     {scheme}: {values}"), soft_wrap=True)
        console.print(Text(f"written   {sweep.tuned}"), soft_wrap=True)
    lines = dict.fromkeys(where(Path(entry.run)) for entry in entries if entry.run and not entry.found)
    for line in filter(None, lines):
        console.print(Text(line, "dim"), soft_wrap=True)
    return len(done) == len(entries)


def _write_record(sweep: Sweep, entries: list[Entry], comparison: Comparison | None) -> None:
    record = {"name": sweep.name, "command": sweep.command, "jobs": [asdict(entry) for entry in entries]}
    rows = ["| job | state | run |", "| --- | --- | --- |"]
    for entry in entries:
        cells = (entry.name, f"{entry.state} {entry.error}".strip(), entry.run or "")
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    markdown = [f"# {sweep.name}", f"`{sweep.command}`", "\n".join(rows)]
    if comparison is not None:
        record["comparison"] = json.loads(records.as_json(comparison))
        markdown.append(tables.as_markdown(comparison))
    write_json(sweep.folder / "sweep.json", record)
    write_whole(sweep.folder / "sweep.md", "\n\n".join(markdown) + "\n")
