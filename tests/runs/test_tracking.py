"""The real wandb client, on disk and against a server on loopback."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wandb.util import get_core_path

from rope_mt.config.training import TrackingConfig
from rope_mt.runs import wandb_client
from rope_mt.runs.tracking import STEP, Tracker, track
from rope_mt.runs.wandb_client import accepted, run_id
from rope_mt.system.manifest import write_manifest

from .newcomer import KEY, forget_wandb, newcomer
from .wandb_server import WandbServer


@pytest.fixture(autouse=True)
def somebody(tmp_path: Path) -> Iterator[None]:
    with newcomer(tmp_path):
        yield


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits as they are, but about a second each."""
    short = {name: min(longest, 1) for name, longest in wandb_client.PATIENCE.items()}
    monkeypatch.setattr(wandb_client, "PATIENCE", short | {"init_timeout": 10})


def begun(name: str) -> Path:
    """A run folder with the file that a run begins with."""
    folder = Path("outputs", name)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "run.json").exists():
        write_manifest(folder / "run.json", {"key": "0a"})
    return folder


def id_of(name: str) -> str:
    return json.loads((begun(name) / "run.json").read_text())["wandb"]["id"]


def job(name: str = "rope-1", *, steps: range = range(3), config: dict[str, Any] | None = None, **cfg: Any) -> str:
    """A job in outputs/NAME that logs a loss a step; its line for the user."""
    folder = begun(name)
    config = config or {"position": {"name": "rope"}}
    with track(TrackingConfig(**cfg), folder, config, name=name, tags=["rope"]) as tracker:
        for step in steps:
            tracker.log({"valid/loss": 5.0 - step, "valid/bleu": [3.5, 7.5, 5.5][step % 3]}, step)
        tracker.log_translations("samples", [("a cat", "eine Katze", "ein Katze")], step=steps.stop)
        tracker.summarize({"test/bleu": 27.5, "test/signature": "nrefs:1"})
        return tracker.where()


def inspect(folder: Path, *flags: str) -> str:
    """What `wandb leet inspect --json` prints, without the two seconds that importing W&B's command line takes."""
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", *flags]
    command += ["--run-file", str(next(folder.glob("*.wandb"))), str(folder.parent)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def summary(folder: Path) -> dict[str, Any]:
    return json.loads(inspect(folder, "--summary"))


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    rows = map(json.loads, inspect(folder).splitlines())
    return [row[kind] for row in rows if row["type"] == kind]


def offline_runs() -> list[Path]:
    return sorted(Path("outputs", "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_ctime_ns)


def test_none_imports_nothing_and_does_nothing(tmp_path):
    program = """
import sys
from pathlib import Path
from rope_mt.config.training import TrackingConfig
from rope_mt.runs.tracking import track
for cfg in (TrackingConfig(name="none"), TrackingConfig(mode="disabled")):
    with track(cfg, Path("a").absolute(), {}, name="a", tags=[]) as tracker:
        tracker.log({"train/loss": 2.5}, step=1)
        tracker.log_translations("samples", [("a", "b", "c")], step=1)
        tracker.keep(Path("a"), "model")
        tracker.summarize({"test/bleu": 1.0})
        assert (tracker.run, tracker.where()) == (None, "")
assert not {"wandb", "torch", "lightning"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_whoever_is_not_logged_in_is_asked_nothing_and_sends_nothing(server, monkeypatch, capfd):
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0), open(theirs) as terminal:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stdin", terminal)  # a terminal is where wandb.init would offer its menu, and wait
        monkeypatch.setattr("wandb.errors.term._sys_stderr_isatty", lambda: True)
        line = job()

    assert len(offline_runs()) == 1
    assert line == "W&B is offline: look with `wandb leet outputs/wandb`, upload with `wandb sync outputs/wandb`"
    assert server.heard == []
    assert capfd.readouterr() == ("", "")


def test_two_jobs_are_two_runs_that_can_be_read_without_a_server():
    job("a", config={"seed": 1}, group="seeds", tags=["wmt14"])
    job("b", config={"seed": 2}, steps=range(3, 5))

    a, b = offline_runs()
    assert a.name.endswith(f"-{id_of('a')}")
    assert b.name.endswith(f"-{id_of('b')}")
    report = summary(a)
    assert (report["run_id"], report["name"], report["project"]) == (id_of("a"), "a", "rope-mt")
    assert (report["config"], report["tags"], report["exit_code"]) == ({"seed": 1}, ["rope", "wmt14"], 0)
    scores = {"valid/loss": {"min": 3.0}, "valid/bleu": {"max": 7.5}, "test/bleu": 27.5, "test/signature": "nrefs:1"}
    assert report["summary"].items() >= scores.items()
    [run] = records(a, "run")
    assert (run["run_group"], run["job_type"]) == ("seeds", "train")
    rows = [row["item"] for row in records(b, "history")]
    assert [(row[STEP], row["valid/loss"]) for row in rows[:-1]] == [(3, 2.0), (4, 1.0)]
    assert rows[-1][STEP] == 5
    table = json.loads((b / "files" / rows[-1]["samples.path"]).read_text())
    assert table["columns"] == ["source", "reference", "hypothesis", "chrF"]
    assert table["data"][0][:3] == ["a cat", "eine Katze", "ein Katze"]
    metrics = records(a, "metric")
    axes = {metric["name"] for metric in metrics if metric.get("step_metric") is None and "name" in metric}
    assert axes == {STEP, "tokens", "epoch"}
    assert {metric.get("step_metric") for metric in metrics} == {None, STEP}


def test_what_was_written_offline_can_be_uploaded_later(server, monkeypatch):
    job("a", steps=range(2))
    job("a", steps=range(2, 4))  # continued
    with monkeypatch.context() as later:
        later.setenv("WANDB_API_KEY", KEY)
        forget_wandb()
        assert "offline" in job("a", steps=range(4, 5))  # or it would be there before what it continues
        assert "offline" not in job("c")
    forget_wandb()
    line = job("b")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    upload = re.search(r"`wandb (sync [^`]+)`", line)
    assert upload
    command = [sys.executable, "-m", "wandb", *shlex.split(upload[1])]
    subprocess.run(command, check=True, capture_output=True)
    a = server.rows[id_of("a")]
    assert [row[STEP] for row in a] == [0, 1, 2, 2, 3, 4, 4, 5]
    assert [row["_step"] for row in a] == [*range(8)]
    assert {*server.rows} == {id_of(name) for name in "abc"}
    assert server.summary[id_of("a")]["valid/bleu"] == {"max": 7.5}


def test_a_run_that_has_rows_when_its_tracking_begins_tells_them_first(server, monkeypatch):
    """It was not tracked before, or began with the steps of another run."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    folder = begun("a")
    (folder / "checkpoints" / "step-0000001").mkdir(parents=True)
    (folder / "checkpoints" / "step-0000001" / "training.safetensors").touch()
    rows = '{"step": 0, "valid/loss": null}\n{"step": 1, "valid/loss": 2.5}\n{"step": 2}\n'
    (folder / "metrics.jsonl").write_text(rows)
    job("a", steps=range(2, 4))
    assert [row[STEP] for row in server.rows[id_of("a")]] == [0, 1, *range(2, 5)]


def test_a_killed_run_that_went_on_offline_is_there_once_with_each_step_once():
    folder = begun("a")
    for step in (1, 2):
        (folder / "checkpoints" / f"step-{step:07d}").mkdir(parents=True)
        (folder / "checkpoints" / f"step-{step:07d}" / "training.safetensors").touch()
    rows = [{"step": step, "valid/loss": 5.0 - step} for step in range(4)]
    job("a", steps=range(4))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job("a", steps=range(3, 6))
    [part] = offline_runs()
    sent = [row["item"] for row in records(part, "history")]
    assert [(row[STEP], row["valid/loss"]) for row in sent[:-1]] == [(step, 5.0 - step) for step in range(6)]


def test_the_server_receives_all_of_a_run_and_a_continued_job_is_the_same_run(server, logged_in, capfd):
    assert job("a") == f"W&B: {server.url}/me/rope-mt/runs/{id_of('a')}"
    rows = server.rows[id_of("a")]
    assert [row["valid/loss"] for row in rows[:-1]] == [5.0, 4.0, 3.0]
    assert rows[-1]["samples"]["nrows"] == 1
    assert server.exit_codes == {id_of("a"): 0}
    job("a", steps=range(2, 4))  # goes on from a checkpoint, and makes a step again
    assert [row[STEP] for row in server.rows[id_of("a")]] == [0, 1, 2, 3, 2, 3, 4]
    assert [row["_step"] for row in server.rows[id_of("a")]] == [*range(7)]
    assert server.summary[id_of("a")]["valid/bleu"] == {"max": 7.5}
    with pytest.raises(ZeroDivisionError), track(TrackingConfig(), begun("b"), {}, name="b", tags=[]):
        _ = 1 / 0
    assert server.exit_codes[id_of("b")] == 1
    assert capfd.readouterr() == ("", "")


def test_a_server_that_dies_neither_stops_the_job_nor_holds_it_up(server, logged_in, hasty, capfd):
    """With other moments and the real waits: tests/soak/dead_wandb_server.py."""
    row = ("a cat", "eine Katze", "ein Katze")
    with track(TrackingConfig(), begun("a"), {}, name="a", tags=[]) as tracker:
        server.die()
        start = time.monotonic()
        tracker.run.log({"valid/loss": 2.5, STEP: 5})
        tracker.log_translations("samples", [row], step=5)
        tracker.summarize({"test/bleu": 27.5})
        tracker.keep(begun("a") / "run.json", "model")
    assert time.monotonic() - start < 30  # seconds; wandb itself goes on asking for minutes
    (kept,) = Path("outputs", "wandb").glob("run-*-a-*")
    scores = summary(kept)["summary"]
    assert (scores["valid/loss"], scores["test/bleu"]) == ({"min": 2.5}, 27.5)
    assert "wandb sync" in capfd.readouterr().err


@pytest.mark.parametrize("refused", ["everything", "query Viewer", "mutation UpsertBucket"])
def test_a_server_that_is_away_or_refuses_leaves_the_job_offline_under_its_id(refused, server, logged_in, hasty, capfd):
    """`query Viewer` asks who has the key; `UpsertBucket` is refused for a run that was deleted."""
    server.refuse = refused
    if refused == "everything":
        server.die()
    assert "offline" in job("a", mode="online")
    assert [summary(run)["run_id"] for run in offline_runs()] == [id_of("a")]
    out, err = capfd.readouterr()
    assert not out or refused == "mutation UpsertBucket"  # W&B then prints where its own logs are
    assert (err.count("W&B: "), err.count("; this run is written offline\n")) == (1, 1)


def test_online_without_a_login_is_written_offline_and_told(monkeypatch, capfd):
    monkeypatch.setenv("WANDB_MODE", "Online")
    assert job().startswith("W&B is offline")
    assert capfd.readouterr().err == "W&B: nobody is logged in here: run `wandb login`; this run is written offline\n"


def test_command_line_environment_and_wandbs_settings_decide_the_mode(server, logged_in, monkeypatch, tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "settings").write_text("[default]\nmode = offline\n")  # as `wandb offline` leaves it
    assert "offline" in job("a")
    assert server.url in job("b", mode="online")
    forget_wandb()
    for variable, mode in [("dryrun", "offline"), ("Offline ", "offline"), ("DISABLED", ""), ("ofline", "offline")]:
        monkeypatch.setenv("WANDB_MODE", variable)
        assert mode in job("c")
    assert capsys.readouterr().err.count("WANDB_MODE=ofline is none of online, offline and disabled") == 1
    assert server.url in job("d", mode="online")
    monkeypatch.setenv("WANDB_DISABLED", "Yes")
    assert job("e") == ""
    assert set(server.rows) == {id_of("b"), id_of("d")}


def test_names_are_those_of_the_command_line_then_of_the_environment_and_fit_what_wandb_takes(monkeypatch, tmp_path):
    variables = {"PROJECT": "mt/2026", "ENTITY": "lab", "RUN_GROUP": "g" * 70, "TAGS": f"old,, {'t' * 70} ,"}
    outer = {"RUN_ID": "of/an outer job", "RESUME": "must", "DIR": str(tmp_path / "kept" / "here")}
    for name, value in (variables | outer).items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    assert "kept/here/wandb" in job("a" * 70)
    job("b", project="mine", group="", tags=["given"])

    folders = (tmp_path / "kept" / "here" / "wandb").glob("offline-run-*")
    a, b = (records(folder, "run")[0] for folder in folders)
    a, b = (a, b) if a["display_name"].startswith("aaa") else (b, a)
    assert (a["entity"], a["display_name"]) == ("lab", accepted("a" * 70))
    assert a["project"].startswith("mt-2026-")
    assert a["run_group"] == accepted("g" * 70) == f"{'g' * 55}-{accepted('g' * 70)[-8:]}"
    assert a["tags"] == ["rope", "old", accepted("t" * 70)]
    assert (b["project"], b["run_group"], b["tags"]) == ("mine", accepted("g" * 70), ["rope", "given"])
    assert os.environ["WANDB_RUN_ID"] == "of/an outer job"


def test_a_job_goes_on_untracked_where_wandb_cannot_write(monkeypatch, capsys):
    def init(**about: Any) -> None:
        raise OSError(28, "No space left on device", "wandb")

    monkeypatch.setattr("wandb.init", init)
    with track(TrackingConfig(mode="offline"), begun("a"), {}, name="a", tags=[]) as tracker:
        tracker.log({"valid/bleu": 1.0}, 1)
    assert tracker.where() == ""
    assert capsys.readouterr().err == "W&B: [Errno 28] No space left on device: 'wandb'; this job is not tracked\n"


def test_a_job_goes_on_untracked_when_wandb_has_gone(monkeypatch, tmp_path, capsys):
    def log(row: dict[str, Any]) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    tracker = Tracker(SimpleNamespace(log=log, summary={}, offline=False), begun("a"))
    with tracker:
        tracker.log({"valid/bleu": 1.0}, 1)
        tracker.log({"valid/bleu": 2.0}, 2)
    assert tracker.where() == ""
    assert capsys.readouterr().err == "W&B: [Errno 32] Broken pipe; from here on this job is not tracked\n"


def test_a_job_goes_on_where_run_json_cannot_be_written(disk, capsys):
    write_manifest(disk.path / "run.json", {"key": "0a"})
    tracker = Tracker(SimpleNamespace(log=lambda row: None, summary={}, offline=False), disk.path)
    disk.leave(0)
    tracker.log({"valid/bleu": 1.0}, 1)
    assert capsys.readouterr().err.startswith(f"W&B: cannot write {disk.path}/run.json: No space left")
    disk.make_room()
    tracker.log({"valid/bleu": 0.5}, 2)
    assert tracker.run.summary == {"valid/bleu": {"max": 1.0}}
    assert capsys.readouterr().err == ""


@settings(max_examples=50)
@given(st.text(min_size=1), st.text(min_size=1))
def test_a_run_id_is_valid_and_distinct_and_a_good_name_stays_as_it_is(name, other):
    made = run_id(name)
    assert 1 <= len(made) <= 64
    assert set(made) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert run_id(made) == made
    assert (run_id(other) == made) == (other == name)
    assert run_id("toy-rope-seed1.b_2") == "toy-rope-seed1.b_2"
