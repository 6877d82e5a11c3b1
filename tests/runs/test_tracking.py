"""The real wandb client, on disk and against a server on loopback."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rope_mt.config.training import TrackingConfig
from rope_mt.errors import UserError
from rope_mt.runs import tracking
from rope_mt.runs.tracking import STEP, run_id, track

from .wandb_server import WandbServer

KEY = "0123456789" * 4


def forget_wandb() -> None:
    """End wandb's helper process and drop its settings and login, which otherwise live as long as this process."""
    if "wandb" in sys.modules:
        import wandb
        from wandb.sdk.lib import wbauth

        wandb.teardown()
        wbauth.unauthenticate_session(update_settings=False)


@pytest.fixture(autouse=True)
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody with an empty home who has never heard of W&B."""
    for name in os.environ:
        if name.startswith("WANDB") or name.lower().endswith("_proxy") or name == "NETRC":
            monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in ("WANDB_ERROR_REPORTING", "WANDB_X_DISABLE_STATS", "WANDB_X_DISABLE_MACHINE_INFO"):
        monkeypatch.setenv(name, "false" if name == "WANDB_ERROR_REPORTING" else "true")
    monkeypatch.chdir(tmp_path)
    forget_wandb()
    yield
    forget_wandb()


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
    short = {name: min(longest, 1) for name, longest in tracking.PATIENCE.items()}
    monkeypatch.setattr(tracking, "PATIENCE", short | {"init_timeout": 10})


def job(name: str = "rope-1", *, steps: range = range(3), config: dict[str, Any] | None = None, **cfg: Any) -> str:
    """A job in outputs/NAME that logs a loss a step; its line for the user."""
    folder = Path("outputs", name)
    with track(TrackingConfig(**cfg), folder, config or {"position": {"name": "rope"}}, tags=["rope"]) as tracker:
        for step in steps:
            tracker.run.log({"valid/loss": 5.0 - step, "valid/bleu": [3.5, 7.5, 5.5][step % 3], STEP: step})
        tracker.log_samples([("a cat", "eine Katze", "ein Katze")], step=steps.stop)
        tracker.summarize({"test/bleu": 27.5, "test/signature": "nrefs:1"})
        return tracker.where()


def inspect(folder: Path, *flags: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *flags, str(folder)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(out)] if flags else [json.loads(line) for line in out.splitlines()]


def offline_runs() -> list[Path]:
    return sorted(Path("outputs", "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_ctime_ns)


def test_none_imports_nothing_and_does_nothing(tmp_path):
    program = f"""
import sys
from pathlib import Path
from rope_mt.config.training import TrackingConfig
from rope_mt.runs.tracking import track
with track(TrackingConfig(name="none"), Path({str(tmp_path)!r}, "a"), {{}}, tags=[]) as tracker:
    tracker.log({{"train/loss": 2.5}}, step=1)
    tracker.log_samples([("a", "b", "c")], step=1)
    tracker.summarize({{"test/bleu": 1.0}})
    assert (tracker.run, tracker.where()) == (None, "")
with track(TrackingConfig(mode="disabled"), Path({str(tmp_path)!r}, "a"), {{}}, tags=[]) as tracker:
    assert tracker.run is None
assert not {{"wandb", "torch", "lightning"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert list(tmp_path.iterdir()) == []


def test_whoever_is_not_logged_in_is_asked_nothing_and_sends_nothing(server, monkeypatch, capfd):
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0), open(theirs) as terminal:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stdin", terminal)  # a terminal is where wandb.init would offer its menu, and wait
        monkeypatch.setattr("wandb.errors.term._sys_stderr_isatty", lambda: True)
        line = job()

    (run,) = offline_runs()
    folder = run.parent.absolute()
    assert line == f"W&B is offline: look with `wandb leet {folder}`, upload with `wandb sync {folder / run.name}`"
    assert server.heard == []
    assert capfd.readouterr() == ("", "")


def test_two_jobs_are_two_runs_that_can_be_read_without_a_server():
    job("a", config={"seed": 1}, group="seeds", tags=["wmt14"])
    job("b", config={"seed": 2}, steps=range(3, 5))

    a, b = offline_runs()
    assert (a.name.split("-")[-1], b.name.split("-")[-1]) == ("a", "b")
    (seen,) = inspect(a, "--summary")
    assert (seen["run_id"], seen["name"], seen["project"]) == ("a", "a", "rope-mt")
    assert (seen["config"], seen["tags"], seen["exit_code"]) == ({"seed": 1}, ["rope", "wmt14"], 0)
    assert seen["summary"]["valid/loss"] == {"min": 3.0}
    assert seen["summary"]["valid/bleu"] == {"max": 7.5}
    assert (seen["summary"]["test/bleu"], seen["summary"]["test/signature"]) == (27.5, "nrefs:1")
    rows = [record["history"]["item"] for record in inspect(b) if record["type"] == "history"]
    assert [(row[STEP], row["valid/loss"]) for row in rows[:-1]] == [(3, 2.0), (4, 1.0)]
    assert rows[-1][STEP] == 5
    table = json.loads((b / "files" / rows[-1]["samples.path"]).read_text())
    assert table["columns"] == ["source", "reference", "hypothesis"]
    assert table["data"] == [["a cat", "eine Katze", "ein Katze"]]
    (run,) = [record["run"] for record in inspect(a) if record["type"] == "run"]
    assert (run["run_group"], run["job_type"]) == ("seeds", "train")
    axes = {record["metric"].get("step_metric") for record in inspect(a) if record["type"] == "metric"}
    assert axes == {None, STEP}


def test_what_was_written_offline_can_be_uploaded_later(server, monkeypatch):
    job("a", steps=range(2))
    job("a", steps=range(2, 4))  # continued
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for run in offline_runs():
        subprocess.run([sys.executable, "-m", "wandb", "sync", str(run)], check=True, capture_output=True)
    assert [row[STEP] for row in server.rows["a"]] == [0, 1, 2, 2, 3, 4]
    assert [row["_step"] for row in server.rows["a"]] == [0, 1, 2, 3, 4, 5]


def test_a_job_that_raises_has_failed_and_lends_its_run_to_nobody():
    with pytest.raises(ZeroDivisionError), track(TrackingConfig(), Path("outputs", "a"), {}, tags=[]):
        _ = 1 / 0
    job("b")
    assert [inspect(run, "--summary")[0]["exit_code"] for run in offline_runs()] == [1, 0]


def test_a_job_continued_in_its_folder_is_the_same_run(server, logged_in):
    job("a", steps=range(2))
    job("a", steps=range(2, 4))
    assert [row[STEP] for row in server.rows["a"]] == [0, 1, 2, 2, 3, 4]
    assert [row["_step"] for row in server.rows["a"]] == [0, 1, 2, 3, 4, 5]


def test_the_server_receives_rows_config_group_table_and_scores(server, logged_in, capfd):
    line = job("a", group="seeds", tags=["wmt14"])

    assert line == f"W&B: {server.url}/me/rope-mt/runs/a"
    first = server.upserts[0]
    assert (first["displayName"], first["groupName"], first["jobType"]) == ("a", "seeds", "train")
    assert first["tags"] == ["rope", "wmt14"]
    assert json.loads(first["config"])["position"]["value"] == {"name": "rope"}
    assert [row["valid/loss"] for row in server.rows["a"][:-1]] == [5.0, 4.0, 3.0]
    assert server.rows["a"][-1]["samples"]["nrows"] == 1
    assert json.loads(server.files["/put/samples.table.json"])["data"] == [["a cat", "eine Katze", "ein Katze"]]
    assert server.summary["a"]["test/bleu"] == 27.5
    assert server.exit_codes == {"a": 0}
    assert capfd.readouterr() == ("", "")


def test_metrics_are_logged_at_their_step():
    with track(TrackingConfig(), Path("outputs", "a"), {}, tags=[]) as tracker:
        tracker.log({"train/loss": 2.5}, step=7)
    (seen,) = inspect(offline_runs()[0], "--summary")
    assert (seen["summary"]["train/loss"], seen["summary"][STEP]) == (2.5, 7)


@pytest.mark.parametrize("tables_before", [0, 1])  # the first table of a run makes wandb ask for more
def test_a_server_that_dies_neither_stops_the_job_nor_holds_it_up(tables_before, server, logged_in, hasty, capfd):
    row = ("a cat", "eine Katze", "ein Katze")
    with track(TrackingConfig(), Path("outputs", "a"), {}, tags=[]) as tracker:
        for step in range(tables_before):
            tracker.log_samples([row], step)
        server.die()
        start = time.monotonic()
        tracker.run.log({"valid/loss": 2.5, STEP: 5})
        tracker.log_samples([row], step=5)
        tracker.summarize({"test/bleu": 27.5})
    assert time.monotonic() - start < 8
    (kept,) = Path("outputs", "wandb").glob("run-*-a")
    (seen,) = inspect(kept, "--summary")
    assert (seen["summary"]["valid/loss"], seen["summary"]["test/bleu"]) == ({"min": 2.5}, 27.5)
    assert "wandb sync" in capfd.readouterr().err


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_a_server_that_is_away_leaves_the_job_offline(mode, monkeypatch, logged_in, hasty, capfd):
    with WandbServer() as gone:
        monkeypatch.setenv("WANDB_BASE_URL", gone.url)
    assert "offline" in job("a", mode=mode)
    assert [run.name.split("-")[-1] for run in offline_runs()] == ["a"]
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("W&B: ")
    assert err.endswith("; this run is written offline\n")


@pytest.mark.parametrize("question", ["query Viewer", "mutation UpsertBucket"])
def test_a_server_that_refuses_leaves_the_job_offline_under_its_id(question, server, logged_in, capfd):
    server.refuse = question  # the key; the run, as of one that was deleted
    assert "offline" in job("a")
    assert [inspect(run, "--summary")[0]["run_id"] for run in offline_runs()] == ["a"]
    assert "; this run is written offline\n" in capfd.readouterr().err


@pytest.mark.parametrize("setting", ["tracking.mode", "WANDB_MODE"])
def test_online_without_a_login_is_an_error_that_says_what_to_do(setting, monkeypatch):
    if setting == "WANDB_MODE":
        monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(UserError, match=rf"^{setting}=online.*`wandb login`.*{setting}=offline$"):
        job(mode="online" if setting == "tracking.mode" else "offline")


def test_the_environment_and_then_wandbs_own_settings_decide_the_mode(server, logged_in, monkeypatch, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "settings").write_text("[default]\nmode = offline\n")  # as `wandb offline` leaves it
    assert "offline" in job("a")
    assert server.url in job("b", mode="online")
    forget_wandb()
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert "offline" in job("c", mode="online")
    assert set(server.rows) == {"b"}


@pytest.mark.parametrize("cfg", [{"tags": ["x" * 65]}, {"project": "a/b"}])
def test_what_wandb_does_not_accept_is_one_line_to_the_user(cfg):
    with pytest.raises(UserError, match=r"^W&B: [^\n]+$"):
        job(**cfg)


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_run_id_is_valid_and_distinct_and_a_good_name_stays_as_it_is(name, other):
    made = run_id(name)
    assert 1 <= len(made) <= 64
    assert set(made) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert run_id(made) == made
    assert (run_id(other) == made) == (other == name)
    assert run_id("toy-rope-seed1.b_2") == "toy-rope-seed1.b_2"
