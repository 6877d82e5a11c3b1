"""A run whose record is published is not computed again; any other is, and its record published."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rope_mt.config.commands import SweepConfig
from rope_mt.config.plain import read_yaml
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result, write_result
from rope_mt.system.manifest import CHECKSUM, FILES
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
    assert said.endswith(f"{record}: test.hyp, result.json\n")
    assert f"BLEU {json.loads((record / 'result.json').read_text())['test']['bleu']:.2f}" in said


def test_what_is_published_is_not_overwritten(config, record, monkeypatch):
    cfg = config(max_steps=2, val_every=2)
    cfg.overwrite = True
    with pytest.raises(UserError, match=f"{record} is published: leave out overwrite=true, or sweep.published"):
        opened_by(cfg, record.parent, monkeypatch)


@pytest.mark.parametrize("wanted", ["auto", "fp32", "bf16"])
def test_a_record_of_another_machine_is_found_unless_a_precision_is_asked_for(
    config, record, wanted, tmp_path, monkeypatch
):
    theirs = RunFolder(shutil.copytree(record, tmp_path / "published" / "theirs"))
    write_result(theirs, {**json.loads(theirs.result.read_text()), "precision": "bf16"})
    found = opened_by(config(max_steps=2, val_every=2, precision=wanted), theirs.path.parent, monkeypatch)
    assert (found == theirs.path) == (wanted != "fp32")


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


def found(folder: Path) -> dict:
    """What a run has come to, less the digests of its files."""
    return {name: value for name, value in read_result(RunFolder(folder)).items() if name not in (CHECKSUM, FILES)}


def test_a_run_is_published_when_it_ends_or_is_found_finished(config, tmp_path, monkeypatch, capsys):
    cfg = config(max_steps=2, val_every=2)
    cfg.data.further_tests, cfg.data.joined_tests = [str(Path(cfg.data.train[0]).with_name("sixteen"))], [3]
    (tmp_path / "kept").mkdir()
    cfg.sweep.published = str(tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    score = train(cfg)
    [run], [record] = (tmp_path / "outputs").iterdir(), (tmp_path / "kept").iterdir()
    assert f"published {record}" in capsys.readouterr().out.replace("\n", "")
    tests = {f"{name}.{kind}" for name in ("test", "sixteen", "test-joined-3") for kind in ("hyp", "counts")}
    assert {file.name for file in record.iterdir()} == tests | {"config.yaml", "metrics.jsonl", "result.json"}
    same = [file for file in record.iterdir() if file.name not in ("config.yaml", "result.json")]
    assert all(file.read_bytes() == (run / file.name).read_bytes() for file in same)
    settings = read_yaml(run / "config.yaml")
    settings["sweep"]["published"] = None  # a path of this machine
    assert read_yaml(record / "config.yaml") == settings
    assert found(record) == found(run)
    assert [*read_result(RunFolder(record))["further_tests"]] == ["sixteen", "test-joined-3"]
    shutil.rmtree(run)
    shutil.copytree(record, record.with_name(f".{record.name}.77"))  # left by a copy that was killed
    (record.with_name(f".{record.name}.77") / "result.json").write_text("{")
    assert train(cfg) == score
    assert not run.exists()

    cfg.sweep.published = None
    train(cfg)
    shutil.rmtree(record)
    cfg.sweep.published = str(tmp_path / "kept")
    train(cfg)  # which finds it finished
    assert found(record) == found(run)
    shutil.rmtree(record)
    run.rename(tmp_path / "elsewhere")
    cfg.sweep.published = "outputs"  # a run among the records is one
    train(cfg)
    assert [*(tmp_path / "outputs").iterdir()] == [run]
    assert not record.exists()


def test_a_run_that_lacks_a_file_is_not_published(config, tmp_path, monkeypatch):
    cfg = config(max_steps=2, val_every=2)
    monkeypatch.chdir(tmp_path)
    train(cfg)
    [run] = (tmp_path / "outputs").iterdir()
    (run / "metrics.jsonl").unlink()
    (tmp_path / "kept").mkdir()
    cfg.sweep.published = "kept"
    with pytest.raises(UserError, match=f"^outputs/{run.name} cannot be published, it has no metrics.jsonl any more: "):
        train(cfg)
    assert not [*(tmp_path / "kept").iterdir()]


def test_what_is_no_record_is_not_taken_for_one(config, tmp_path, monkeypatch, capsys):
    cfg = config(max_steps=2, val_every=2)
    monkeypatch.chdir(tmp_path)
    train(cfg)
    [run] = (tmp_path / "outputs").iterdir()
    (tmp_path / "kept" / run.name).mkdir(parents=True)
    (tmp_path / "kept" / run.name / "notes").write_text("of somebody")
    cfg.sweep.published = "kept"
    with pytest.raises(UserError, match=f"^sweep.published: kept/{run.name} is neither a record nor a run: choose "):
        train(cfg)
    assert "published kept" not in capsys.readouterr().out
    assert (tmp_path / "kept" / run.name / "notes").read_text() == "of somebody"


def test_a_damaged_record_or_none_at_all_is_one_line(config, record, tmp_path, monkeypatch):
    cfg = config(max_steps=2, val_every=2)
    with pytest.raises(UserError, match=r"^sweep.published: there is no folder .*nowhere$"):
        opened_by(cfg, tmp_path / "nowhere", monkeypatch)
    damaged = shutil.copytree(record, tmp_path / "published" / "damaged")
    (damaged / "result.json").write_text("[]")
    with pytest.raises(UserError, match=r"^sweep.published: .*damaged cannot be read: [^\n]+$"):
        opened_by(cfg, damaged.parent, monkeypatch)


def test_a_record_is_not_taken_for_another_run(config, record):
    with pytest.raises(UserError, match=rf"^{record} holds another run \(.*\): choose another folder"):
        train(config(max_steps=2, val_every=1), record)


def test_a_record_has_no_weights_to_read(record):
    with pytest.raises(UserError, match=rf"^{record} is a record, without weights: train the run"):
        checkpoint.load(record)
