"""`rope-mt ls`: the state of each run, and what `--prune` removes."""

import io
import shutil

import pytest

from rope_mt.cli.main import main
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result
from rope_mt.system.locks import alone


@pytest.fixture
def runs(finished, tmp_path):
    """A folder with a finished run, one that was stopped, and a damaged one."""
    for state in ("stopped", "damaged"):
        shutil.copytree(finished, tmp_path / state)
    (tmp_path / "stopped" / "result.json").unlink()
    (tmp_path / "damaged" / "result.json").write_text("{}")
    (tmp_path / "no run").mkdir()
    return tmp_path


def listed(capsys) -> dict[str, str]:
    """The row of each run, by the name of its folder."""
    lines = [line for line in capsys.readouterr().out.splitlines() if "/" in line]
    return {line.rpartition("/")[2].strip(): line for line in lines}


def test_each_run_has_its_state_step_score_and_code(runs, capsys):
    assert main(["ls", str(runs)]) == 0
    rows = listed(capsys)
    assert rows.keys() == {"finished", "stopped", "damaged"}
    bleu = read_result(RunFolder(runs / "finished"))["test"]["bleu"]
    assert rows["finished"].split()[:5] == ["rope", "3", "finished", "2", f"{bleu:.2f}"]
    assert rows["stopped"].split()[:6] == ["rope", "3", "stopped", "2", "of", "2"]
    assert rows["damaged"].split()[0] == "damaged"
    for state in ("scoring", "training"):
        with alone(runs / "stopped" / ".lock", "training it"):
            assert main(["ls", str(runs / "stopped")]) == 0
        assert f" {state} " in listed(capsys)["stopped"]
        shutil.rmtree(runs / "stopped" / "checkpoints" / "average", ignore_errors=True)


@pytest.mark.parametrize(("answer", "removed"), [("y\n", True), ("n\n", False), ("", False)])
def test_prune_removes_old_checkpoints_of_finished_runs_if_the_user_agrees(runs, monkeypatch, capsys, answer, removed):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    before = {path for path in runs.rglob("*") if path.is_file()}
    assert main(["ls", str(runs), "--prune"]) == 0
    lost = before - {path for path in runs.rglob("*") if path.is_file()}
    assert {path.relative_to(runs).parts[0] for path in lost} == ({"finished"} if removed else set())
    assert {path.parent.name for path in lost} == ({"step-0000002", "best-0000002"} if removed else set())
    assert ("nothing was removed" in capsys.readouterr().out) != removed
