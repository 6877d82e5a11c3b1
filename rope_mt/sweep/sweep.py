"""One sweep: its folder, and what it prints and leaves there when its jobs have ended."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from rope_mt.errors import UserError
from rope_mt.runs.tracking import where
from rope_mt.sweep.ledger import DONE, WAITING, Entry, Ledger
from rope_mt.sweep.overview import Overview
from rope_mt.system.files import write_json, write_whole

if TYPE_CHECKING:
    from rope_mt.study.compare.comparison import Comparison


@dataclass(frozen=True)
class Sweep:
    name: str
    folder: Path
    jobs: list[str] | None  # their names; None: the sweeper makes them up as it goes
    command: str  # as it was typed
    words: list[str]  # of the command, those of the choices among them

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder)


def begin(sweep: Sweep) -> None:
    """Let its jobs wait, and forget what an earlier attempt has found."""
    sweep.ledger.start(sweep.jobs or [])
    for suffix in ("json", "md", "png", "html"):
        (sweep.folder / f"sweep.{suffix}").unlink(missing_ok=True)


def conclude(sweep: Sweep, overview: Overview) -> bool:
    """Print how all jobs ended and what their comparison says, and write both to the sweep's folder.

    Returns:
        Whether every job is done.
    """
    console = Console(highlight=False)
    console.print(overview.table())
    entries = sweep.ledger.entries()
    missing = [entry for entry in entries if entry.state != DONE]
    for entry in missing:
        state = "never began" if entry.state == WAITING else entry.state
        print(f"rope-mt: {entry.name}: {state}{': ' * bool(entry.error)}{entry.error}", file=sys.stderr)
    folders = list(dict.fromkeys(Path(entry.run) for entry in entries if entry.state == DONE and entry.run))
    found = _compared(folders) if folders else None
    _write(sweep, entries, found)
    if found is not None:
        # imported here since the report takes torch
        from rope_mt.study.charts import plot_scores
        from rope_mt.study.compare import tables
        from rope_mt.study.report import write_report

        console.print()
        tables.show(found, [len(group.runs) for group in found.groups] == [1], console)
        plot_scores(sweep.folder / "sweep.png", found.groups, found.baseline)
        write_report(sweep.folder / "sweep.html", found)
    files = ["sweep.json", "sweep.md", *(["sweep.png", "sweep.html"] if found is not None else [])]
    console.print(Text(f"files     {os.path.relpath(sweep.folder)}: {', '.join(files)}"), soft_wrap=True)
    runs = (Path(entry.run) for entry in entries if entry.run and not entry.found)
    for line in filter(None, dict.fromkeys(map(where, runs))):  # one line for all that lie in one folder
        console.print(Text(line, "dim"), soft_wrap=True)
    return not missing


def _compared(folders: list[Path]) -> Comparison | None:
    """None, and a line on why, where they cannot be compared: the jobs themselves are done."""
    from rope_mt.study.compare.compare import compared

    try:
        return compared(folders)
    except UserError as error:
        print(f"rope-mt: no comparison: {error}", file=sys.stderr)
        return None


def _write(sweep: Sweep, entries: list[Entry], found: Comparison | None) -> None:
    from rope_mt.study.compare import records, tables

    record = {"name": sweep.name, "command": sweep.command, "jobs": [asdict(entry) for entry in entries]}
    markdown = [f"# {sweep.name}", f"`{sweep.command}`", _as_markdown(entries)]
    if found is not None:
        record["comparison"] = json.loads(records.as_json(found))
        markdown.append(tables.as_markdown(found))
    write_json(sweep.folder / "sweep.json", record)
    write_whole(sweep.folder / "sweep.md", "\n\n".join(markdown) + "\n")


def _as_markdown(entries: list[Entry]) -> str:
    rows = [("job", "state", "run"), ("---", "---", "---")]
    for entry in entries:
        rows.append((entry.name, f"{entry.state} {entry.error}".strip(), entry.run or ""))
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
