"""A run whose record is published is not computed again; any other run is, and its record is published."""

import json
import shutil
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from rope_mt.config.commands import SweepConfig, TrainConfig
from rope_mt.config.files import read_yaml
from rope_mt.data.corpus import locate
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.published import find_record
from rope_mt.runs.result import read_result, write_result
from rope_mt.system.device import PRECISIONS
from rope_mt.system.manifest import CHECKSUM, FILES
from rope_mt.training.dry_run import dry_run
from rope_mt.training.train import train


@pytest.fixture
def record(finished_run, tmp_path) -> RunFolder:
    """The record of a run: the files that can be kept with a repository, without checkpoints."""
    record = RunFolder(tmp_path / "published" / "rope")
    record.path.mkdir(parents=True)
    for name in ("result.json", "config.yaml", "test.hyp"):
        shutil.copy(finished_run / name, record.path)
    return record


@pytest.fixture
def publishing(quick, tmp_path) -> TrainConfig:
    """A run that is published to the folder `kept`."""
    (tmp_path / "kept").mkdir()
    return replace(quick(), sweep=SweepConfig(published=str(tmp_path / "kept")))


def is_found(cfg: TrainConfig, record: RunFolder) -> bool:
    """Whether a run of these settings finds the record."""
    published = replace(cfg, sweep=SweepConfig(published=str(record.path.parent)))
    return find_record(published, locate(cfg.data).fingerprints, 1) == record


def test_a_published_run_is_found_and_nothing_is_written(quick, record, capsys):
    cfg = quick(log_every=7)
    cfg.sweep.published = str(record.path.parent)
    before = {file: file.stat().st_mtime_ns for file in record.path.iterdir()}
    opened = []
    score = train(cfg, opened=lambda *run_and_steps: opened.append(run_and_steps))
    assert score == read_result(record)["valid"]["bleu"]
    assert opened == [(record, cfg.trainer.max_steps)]
    assert {file: file.stat().st_mtime_ns for file in record.path.iterdir()} == before
    out = capsys.readouterr().out
    assert f"{record.path} is published: made on " in out.replace("\n", "")
    assert out.endswith(f"{record.path}: test.hyp, result.json\n")
    assert f"BLEU {read_result(record)['test']['bleu']:.2f}" in out


@pytest.mark.parametrize("wanted", ["auto", "fp32", "bf16"])
def test_a_record_of_another_machine_is_found_unless_a_precision_is_asked_for(quick, record, wanted):
    write_result(record, {**read_result(record), "precision": "bf16"})
    assert is_found(quick(precision=wanted), record) == (wanted != "fp32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_dry_run_says_in_which_precision_a_record_was_made(quick, record, precision, capsys):
    write_result(record, {**read_result(record), "precision": precision})
    dry_run(replace(quick(), sweep=SweepConfig(published=str(record.path.parent))))
    [device] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("device ")]
    assert device.endswith(f", {precision}")


@pytest.mark.parametrize("change", ["seed", "steps", "scheme", "precision", "text"])
def test_the_record_of_another_run_is_not_found(quick, record, change):
    cfg = quick(max_steps=3 if change == "steps" else 2, scheme="none" if change == "scheme" else "rope")
    if change == "seed":
        cfg.seed = 4
    if change == "text":
        cfg = replace(cfg, data=replace(cfg.data, test=cfg.data.train))
    if change == "precision":
        cfg.trainer.precision = "fp32" if read_result(record)["precision"] == "bf16" else "bf16"
    assert not is_found(cfg, record)


def test_a_record_from_before_a_setting_existed_is_found(quick, record):
    settings = OmegaConf.load(record.config)
    del settings["optimizer"]["momentum"], settings["model"]["norm"]
    OmegaConf.save(settings, record.config)
    write_result(record, json.loads(record.result.read_text()))
    assert is_found(quick(), record)


def without_checksums(run: RunFolder) -> dict:
    return {name: value for name, value in read_result(run).items() if name not in (CHECKSUM, FILES)}


def test_a_run_is_published_when_it_ends_or_is_found_finished(publishing, text, here, capsys):
    cfg = publishing
    cfg.data.further_tests, cfg.data.joined_tests = [str(text / "sixteen")], [3]
    score = train(cfg)
    [run], [record] = (here / "outputs").iterdir(), (here / "kept").iterdir()
    assert f"published {record}" in capsys.readouterr().out.replace("\n", "")
    tests = {f"{name}.{kind}" for name in ("test", "sixteen", "test-joined-3") for kind in ("hyp", "counts")}
    assert {file.name for file in record.iterdir()} == tests | {"config.yaml", "metrics.jsonl", "result.json"}
    same = [file for file in record.iterdir() if file.name not in ("config.yaml", "result.json")]
    assert all(file.read_bytes() == (run / file.name).read_bytes() for file in same)
    settings = read_yaml(run / "config.yaml")
    settings["sweep"]["published"] = None  # a path of this machine
    assert read_yaml(record / "config.yaml") == settings
    computed = without_checksums(RunFolder(run))
    assert without_checksums(RunFolder(record)) == computed
    assert [*computed["further_tests"]] == ["sixteen", "test-joined-3"]

    run.rename(here / "away")
    shutil.copytree(record, record.with_name(f".{record.name}.77"))  # left by a copy that was killed
    (record.with_name(f".{record.name}.77") / "result.json").write_text("{")
    assert train(cfg) == score
    assert not run.exists()

    (here / "away").rename(run)
    shutil.rmtree(record)
    train(cfg)  # which finds it finished
    assert without_checksums(RunFolder(record)) == computed
    shutil.rmtree(record)
    cfg.sweep.published = "outputs"  # a run among the records is one
    train(cfg)
    assert [*(here / "outputs").iterdir()] == [run]
    assert not record.exists()


def test_a_run_that_lacks_a_file_is_not_published(publishing, finished, tmp_path):
    (finished / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match=f"^{finished} cannot be published, it has no metrics.jsonl any more: "):
        train(publishing, finished)
    assert not [*(tmp_path / "kept").iterdir()]


def test_a_folder_that_is_no_record_is_left_alone(publishing, finished, tmp_path, capsys):
    notes = tmp_path / "kept" / f"files-test-rope-s3-{read_result(RunFolder(finished))['key']}" / "notes"
    notes.parent.mkdir(parents=True)
    notes.write_text("of somebody")
    with pytest.raises(UserError, match=f"^sweep.published: {notes.parent} is neither a record nor a run: choose "):
        train(publishing, finished)
    assert "published kept" not in capsys.readouterr().out
    assert notes.read_text() == "of somebody"


def test_refusals_are_one_line(quick, record):
    cfg = quick()
    cfg.overwrite = True
    with pytest.raises(UserError, match=f"{record.path} is published: leave out overwrite=true, or sweep.published"):
        is_found(cfg, record)
    with pytest.raises(UserError, match=rf"^{record.path} holds another run \(.*\): choose another folder"):
        train(quick(val_every=1), record.path)
    with pytest.raises(UserError, match=rf"^{record.path} is a record, without weights: train the run"):
        checkpoint.load(record.path)
    record.result.write_text("[]")
    with pytest.raises(UserError, match=r"^sweep.published: .*rope cannot be read: [^\n]+$"):
        is_found(quick(), record)
