"""Real training and evaluation, with the real wandb client, against a server on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

from rope_mt.config.commands import EvalConfig, SearchChange, TrainConfig
from rope_mt.config.position import NoPositionConfig, RopeConfig
from rope_mt.config.training import TrackingConfig
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.tracking import STEP, attach
from rope_mt.system.manifest import read_manifest, write_manifest
from rope_mt.training.train import train
from rope_mt.translation.evaluate import evaluate

from ..small import small_config, write_corpus
from .newcomer import KEY, forget_wandb, newcomer
from .wandb_server import WandbServer

SCHEMES = {"none": NoPositionConfig(), "rope": RopeConfig()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    """A server on which somebody is logged in, who works in an empty folder."""
    with newcomer(tmp_path_factory.mktemp("here")) as patch, WandbServer() as server:
        patch.setenv("WANDB_BASE_URL", server.url)
        patch.setenv("WANDB_API_KEY", KEY)
        yield server


@pytest.fixture(scope="module")
def jobs(server: WandbServer) -> dict[str, TrainConfig]:
    """Two jobs of a sweep, by the names of their folders; the second one keeps its files at the server."""
    files = write_corpus(Path().absolute())
    made = {name: small_config(files, Path("data").absolute(), SCHEMES[name]) for name in SCHEMES}
    made["none"].tracking = TrackingConfig(group="sweep")
    made["rope"].tracking = TrackingConfig(group="sweep", tags=["mine"], artifacts=True)
    for name, cfg in made.items():
        train(cfg, Path("outputs", name))
    return made


def id_of(name: str) -> str:
    return json.loads(Path("outputs", name, "run.json").read_text())["wandb"]["id"]


def sent_config(server: WandbServer, run: str) -> dict[str, Any]:
    return {key: entry["value"] for key, entry in server.config[run].items() if key != "_wandb"}


def lines(name: str, file: str) -> list[str]:
    return Path("outputs", name, file).read_text(encoding="utf-8").splitlines()


def test_jobs_of_a_sweep_are_runs_of_one_group_with_their_nested_settings(server, jobs):
    assert len({id_of(name) for name in jobs}) == 2
    assert {id_of(name) for name in jobs} == {*server.rows}
    for name, cfg in jobs.items():
        first = next(upsert for upsert in server.upserts if upsert["name"] == id_of(name))
        assert (first["displayName"], first["groupName"], first["jobType"]) == (f"{name}-s1-{name}", "sweep", "train")
        assert first["tags"] == [name, "test", "files", *cfg.tracking.tags]
        assert sent_config(server, id_of(name)) == asdict(cfg)
    assert set(server.exit_codes.values()) == {0}


def test_the_history_of_a_run_is_its_metrics_file_over_steps_tokens_and_epochs(server, jobs):
    for name in jobs:
        sent = [row for row in server.rows[id_of(name)] if "tokens" in row]
        rows = [json.loads(line) for line in lines(name, "metrics.jsonl")]
        ours = [{key: value for key, value in row.items() if key[0] != "_"} for row in sent]
        assert [{STEP: row.pop("step"), **row} for row in rows] == ours
        assert {*rows[0]} > {"train/gradient_norm", "train/padding", "train/peak_memory_mb", "train/tokens_per_second"}
        assert sum("valid/chrf" in row and "valid/perplexity" in row for row in rows) == 2
        losses = [row["valid/loss"] for row in rows if "valid/loss" in row]
        assert server.summary[id_of(name)]["valid/loss"] == {"min": min(losses)}


def test_the_tables_hold_the_sentences_with_the_score_of_each(server, jobs):
    for name in jobs:
        src, ref, hyp = (lines(name, f"test.{part}") for part in ("src", "ref", "hyp"))
        chrf = [sacrebleu.sentence_chrf(h, [r]).score for h, r in zip(hyp, ref, strict=True)]
        table = server.table(id_of(name), "test/translations")
        assert table["columns"] == ["source", "reference", "hypothesis", "chrF"]
        assert table["data"] == [list(row) for row in zip(src, ref, hyp, chrf, strict=True)]
        steps = [row[STEP] for row in server.rows[id_of(name)] if "valid/translations" in row]
        assert steps == [2, 4]
        assert not any("test/translations" in row for row in server.rows[id_of(name)])


def test_the_files_of_a_run_are_kept_only_where_that_is_asked_for(server, jobs):
    kept = {artifact["name"]: artifact for artifact in server.artifacts if artifact["type"] != "run_table"}
    types = {name: artifact["type"] for name, artifact in kept.items()}
    assert types == {"rope-s1-rope-model": "model", "rope-s1-rope-hypotheses": "hypotheses"}
    run = RunFolder(Path("outputs", "rope"))
    assert kept["rope-s1-rope-model"]["files"] == {file.name: file.read_bytes() for file in run.average.iterdir()}
    assert kept["rope-s1-rope-hypotheses"]["files"] == {"test.hyp": run.test_hyp.read_bytes()}


def test_an_evaluation_is_added_to_the_run_and_changes_nothing_else_of_it(server, jobs, capsys):
    run = id_of("rope")
    before, config = dict(server.summary[run]), sent_config(server, run)
    upserts, rows = len(server.upserts), list(server.rows[run])
    bleu = evaluate(EvalConfig("outputs/rope", search=SearchChange(beam=3, length_penalty=1.0), device="cpu"))

    assert capsys.readouterr().out.splitlines()[-1] == f"W&B: {server.url}/me/rope-mt/runs/{run}"
    assert len(server.rows) == 2
    name = "eval/beam-3_length-penalty-1-0"
    after = dict(server.summary[run])
    assert after.pop(f"{name}/bleu") == bleu
    assert after.pop(f"{name}/settings") == "search.beam=3 search.length_penalty=1.0"
    for mine in [key for key in after if key.startswith("eval/")]:
        del after[mine]
    same = {key for key in before if key[0] != "_"}
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert server.rows[run][: len(rows)] == rows
    assert sent_config(server, run) == config
    for upsert in server.upserts[upserts:]:
        assert not any(upsert.get(key) for key in ("displayName", "groupName", "jobType", "tags", "notes")), upsert
    assert server.exit_codes[run] == 0
    assert server.table(run, f"{name}/translations")["ncols"] == 4


def test_what_an_evaluation_found_offline_is_uploaded_to_the_run(server, jobs, monkeypatch):
    run = id_of("none")
    before = dict(server.summary[run])
    forget_wandb()  # as at the beginning of a process
    monkeypatch.setenv("WANDB_MODE", "offline")
    bleu = evaluate(EvalConfig("outputs/none", checkpoints=[2], device="cpu"))
    forget_wandb()
    assert "eval/checkpoints-2/bleu" not in server.summary[run]
    monkeypatch.delenv("WANDB_MODE")
    subprocess.run([sys.executable, "-m", "wandb", "sync", "outputs/wandb"], check=True, capture_output=True)
    assert len(server.rows) == 2
    assert server.summary[run]["eval/checkpoints-2/bleu"] == bleu
    assert server.summary[run]["test/bleu"] == before["test/bleu"]
    assert server.summary[run]["valid/loss"] == before["valid/loss"]


def test_overwriting_begins_another_run_of_the_same_name(server, jobs):
    old = id_of("none")
    rows = list(server.rows[old])
    train(replace(jobs["none"], overwrite=True), Path("outputs", "none"))
    new = id_of("none")
    assert new != old
    assert server.rows[old] == rows
    assert [row[STEP] for row in server.rows[new] if "train/loss" in row] == [1, 2, 3, 4]
    names = {run: next(u["displayName"] for u in server.upserts if u["name"] == run) for run in (old, new)}
    assert names == {old: "none-s1-none", new: "none-s1-none"}


def test_nothing_is_added_to_an_untracked_or_unfinished_run(server, jobs, tmp_path, monkeypatch, capfd):
    untracked, unfinished = Path("outputs", "untracked"), Path("outputs", "unfinished")
    for folder in (untracked, unfinished):
        shutil.copytree(Path("outputs", "rope"), folder)
    (unfinished / "result.json").unlink()
    content = read_manifest(untracked / "run.json", "")
    del content["wandb"]
    write_manifest(untracked / "run.json", content)
    for folder in (untracked, unfinished, tmp_path):
        with attach(folder) as tracker:
            assert tracker.run is None
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with attach(Path("outputs", "rope")) as tracker:
        assert tracker.run is None
    with attach(Path("outputs", "rope"), "offline") as tracker:  # as a setting says it
        tracker.keep(Path("outputs", "rope", "test.hyp"), "hypotheses")
        assert tracker.run.offline
    assert "not uploaded" not in capfd.readouterr().err
