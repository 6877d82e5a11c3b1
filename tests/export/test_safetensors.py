"""A model that is exported as safetensors and read again is the model."""

import errno
import io
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import load_file, save_file

from rope_mt.cli.main import main
from rope_mt.config.position import POSITION_CONFIGS, DebertaConfig, RopeConfig
from rope_mt.data.tokenizer import train_tokenizer
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint


def export(run: Path, *words: str) -> int:
    return main(["export", str(run), "--to", "safetensors", *words])


@pytest.mark.parametrize("scheme", POSITION_CONFIGS.values(), ids=lambda scheme: scheme.name)
def test_nothing_is_lost(scheme, untrained, tmp_path):
    ckpt = untrained(scheme())
    checkpoint.write(tmp_path, ckpt)
    again = checkpoint.load(tmp_path)
    assert {name: tensor.dtype for name, tensor in again.weights.items()} == {
        name: tensor.dtype for name, tensor in ckpt.weights.items()
    }
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in ckpt.weights.items())
    assert (again.config, again.tokenizer.model, again.step) == (ckpt.config, ckpt.tokenizer.model, 7)


def test_the_file_is_what_other_programs_read(untrained, saved, tmp_path):
    ckpt = untrained(DebertaConfig())
    assert export(saved(ckpt, tmp_path), "--out", str(tmp_path / "out")) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        (checkpoint.WEIGHTS, checkpoint.TOKENIZER, checkpoint.MANIFEST)
    )
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert weights.keys() == ckpt.weights.keys()
    assert "encoder.layers.0.attention.qkv.weight" in weights


def test_translate_reads_the_folder_as_it_does_the_run(untrained, saved, pairs, tmp_path, monkeypatch, capsysbinary):
    run = saved(untrained(RopeConfig()), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert export(run) == 0
    lines = "".join(source + "\n" for source, _ in pairs[:5])
    said = []
    for folder in (run, run / "export-safetensors"):
        capsysbinary.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        assert main(["translate", str(folder), "search.max_len_a=0.5"]) == 0
        said.append(capsysbinary.readouterr().out)
    GlobalHydra.instance().clear()
    assert said[0] == said[1]
    assert len(set(said[0].split(b"\n"))) > 2


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.TOKENIZER, checkpoint.MANIFEST])
def test_a_missing_or_damaged_file_is_named(name, untrained, tmp_path):
    checkpoint.write(tmp_path, untrained(RopeConfig()))
    path = tmp_path / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\n: [")
    with pytest.raises(UserError, match=str(tmp_path)):
        checkpoint.load(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        checkpoint.load(tmp_path)


def test_weights_of_others_are_refused(untrained, tmp_path):
    ckpt = untrained(RopeConfig())
    checkpoint.write(tmp_path, ckpt)
    save_file({"embedding.weight": torch.zeros(2, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="not written by rope-mt"):
        checkpoint.load(tmp_path)
    save_file({"embedding.weight": torch.zeros(2, 3)}, tmp_path / "model.safetensors", {"rope_mt_format": "3"})
    with pytest.raises(UserError, match="format 3; this version of rope-mt reads its own format 2"):
        checkpoint.load(tmp_path)


def test_the_vocabulary_of_another_model_is_refused(untrained, tmp_path, pairs):
    checkpoint.write(tmp_path, untrained(RopeConfig()))
    other = train_tokenizer([line for pair in pairs[:40] for line in pair], 420, "bpe")
    (tmp_path / "sentencepiece.model").write_bytes(other)
    with pytest.raises(UserError, match="or that of another model"):
        checkpoint.load(tmp_path)


def test_one_checkpoint_of_a_run_goes_to_the_folder_of_the_run(untrained, saved, tmp_path, capsys):
    run = saved(untrained(RopeConfig()), tmp_path / "run")
    assert export(run / "checkpoints" / "average.ckpt") == 0
    assert str(run / "export-safetensors") in capsys.readouterr().out
    assert checkpoint.load(run / "export-safetensors").step == 7


def test_a_folder_that_holds_something_is_left_alone(untrained, saved, tmp_path, capsys):
    run = saved(untrained(RopeConfig()), tmp_path / "run")
    taken = tmp_path / "taken"
    taken.mkdir()
    assert export(run, "--out", str(taken)) == 0  # it was empty
    before = {path: path.read_bytes() for path in taken.iterdir()}
    capsys.readouterr()
    assert export(run, "--out", str(taken)) == 2
    assert "is there already: remove it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in taken.iterdir()} == before


def test_an_export_that_fails_leaves_nothing(untrained, saved, tmp_path, monkeypatch, capsys):
    run = saved(untrained(RopeConfig()), tmp_path / "run")
    honest = exported.write_whole

    def full(path: Path, data: bytes | str) -> None:
        if path.name == "sentencepiece.model":
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(path, data)

    monkeypatch.setattr(exported, "write_whole", full)
    before = {*tmp_path.rglob("*")}
    assert export(run) == 2
    assert "No space left" in capsys.readouterr().err
    assert {*tmp_path.rglob("*")} == before
