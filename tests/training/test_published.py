"""A run whose record is published is not computed again; any other is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rope_mt.config.commands import SweepConfig
from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.seal import write_result
from rope_mt.training.train import train


@pytest.fixture(scope="module")
def record(config, tmp_path_factory) -> Path:
    """The record of a run: what can be kept with a repository, without checkpoints."""
    made, kept = tmp_path_factory.mktemp("made") / "run", tmp_path_factory.mktemp("published") / "rope"
    train(config(max_steps=2, val_every=2), made)
    kept.mkdir()
    for name in ("result.json", "config.yaml", "test.hyp"):
        shutil.copy(made / name, kept)
    return kept


def opened_by(cfg, published: Path, monkeypatch) -> Path:
    """The folder in which a run of this configuration finds itself; None is computed."""
    monkeypatch.chdir(published.parent)
    seen: list[RunFolder] = []
    enough = Exception("the folder is known")

    def opened(run: RunFolder) -> None:
        seen.append(run)
        if not run.result.is_file():
            raise enough

    try:
        train(replace(cfg, sweep=SweepConfig(published=str(published))), opened=opened)
    except Exception as error:
        if error is not enough:
            raise
    return seen[0].path


def test_what_is_published_is_found_and_nothing_is_written(config, record, monkeypatch, capsys):
    before = {file: file.stat().st_mtime_ns for file in record.iterdir()}
    assert opened_by(config(max_steps=2, val_every=2, log_every=7), record.parent, monkeypatch) == record
    assert {file: file.stat().st_mtime_ns for file in record.iterdir()} == before
    said = capsys.readouterr().out
    assert f"{record} is published." in said.replace("\n", "")
    assert f"BLEU {json.loads((record / 'result.json').read_text())['test']['bleu']:.2f}" in said


@pytest.mark.parametrize("change", ["seed", "steps", "scheme", "precision", "text"])
def test_another_run_is_not(config, record, change, monkeypatch):
    cfg = config(max_steps=3 if change == "steps" else 2, val_every=2, scheme="none" if change == "scheme" else "rope")
    if change == "seed":
        cfg.seed = 4
    if change == "text":
        cfg = replace(cfg, data=replace(cfg.data, test=cfg.data.train))
    if change == "precision":
        found = json.loads((record / "result.json").read_text())["precision"]
        cfg.trainer.precision = "fp32" if found == "bf16" else "bf16"
    assert opened_by(cfg, record.parent, monkeypatch) != record


def test_a_record_from_before_a_setting_was_there_is_found(config, record, tmp_path, monkeypatch):
    older = shutil.copytree(record, tmp_path / "published" / "older")
    settings = OmegaConf.load(older / "config.yaml")
    del settings["optimizer"]["momentum"], settings["model"]["norm"]
    OmegaConf.save(settings, older / "config.yaml")
    write_result(RunFolder(older), json.loads((older / "result.json").read_text()))
    assert opened_by(config(max_steps=2, val_every=2), older.parent, monkeypatch) == older


def test_a_damaged_record_or_none_at_all_is_one_line(config, record, tmp_path, monkeypatch):
    cfg = config(max_steps=2, val_every=2)
    with pytest.raises(UserError, match=r"^sweep.published: there is no folder .*nowhere$"):
        opened_by(cfg, tmp_path / "nowhere", monkeypatch)
    damaged = shutil.copytree(record, tmp_path / "published" / "damaged")
    (damaged / "result.json").write_text("[]")
    with pytest.raises(UserError, match=r"^sweep.published: .*damaged is damaged: [^\n]+$"):
        opened_by(cfg, damaged.parent, monkeypatch)
