"""One sweep: its folder, and what it prints and leaves there when its jobs have ended."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rope_mt.durable import write_json, write_whole
from rope_mt.errors import UserError
from rope_mt.runs.tracking import where
from rope_mt.sweep.ledger import DONE, FAILED, Entry, Ledger
from rope_mt.sweep.overview import Overview


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
        print(f"rope-mt: {entry.name}: {entry.state}{': ' * bool(entry.error)}{entry.error}", file=sys.stderr)
    record = {"name": sweep.name, "command": sweep.command, "jobs": [asdict(entry) for entry in entries]}
    written = ["sweep.json"]
    markdown = [f"# {sweep.name}", f"`{sweep.command}`", _as_markdown(entries)]
    folders = list(dict.fromkeys(Path(entry.run) for entry in entries if entry.state == DONE and entry.run))
    if folders:
        # imported here since it takes torch
        from rope_mt.study import comparison_records, comparison_table
        from rope_mt.study.compare import compared
        from rope_mt.study.comparison_plot import plot
        from rope_mt.study.report import write_report

        try:
            found = compared(folders)
        except UserError as error:  # the jobs themselves are done
            print(f"rope-mt: no comparison: {error}", file=sys.stderr)
        else:
            console.print()
            comparison_table.show(found, [len(group.runs) for group in found.groups] == [1], console)
            record["comparison"] = json.loads(comparison_records.as_json(found))
            markdown.append(comparison_table.as_markdown(found))
            plot(sweep.folder / "sweep.png", found.groups, found.baseline)
            write_report(sweep.folder / "sweep.html", found)
            written += ["sweep.png", "sweep.html"]
    write_json(sweep.folder / "sweep.json", record)
    write_whole(sweep.folder / "sweep.md", "\n\n".join(markdown) + "\n")
    folder = os.path.relpath(sweep.folder)
    console.print(f"files     {folder}: {', '.join([*written, 'sweep.md'])}", soft_wrap=True)
    runs = (Path(entry.run) for entry in entries if entry.run and not entry.found)
    for line in filter(None, dict.fromkeys(map(where, runs))):  # one line for all that lie in one folder
        console.print(Text(line, "dim"), soft_wrap=True)
    return not missing


def _as_markdown(entries: list[Entry]) -> str:
    lines = ["| job | state | run |", "|---|---|---|"]
    lines += [
        f"| {entry.name} | {entry.state} {entry.error if entry.state == FAILED else ''} | {entry.run or ''} |"
        for entry in entries
    ]
    return "\n".join(lines)
