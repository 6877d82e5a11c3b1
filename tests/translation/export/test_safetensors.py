"""`rope-mt export --to safetensors` writes a checkpoint of its own, which other programs and `translate` read."""

import io
import os
import sys

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import load_file

from rope_mt.cli.main import main
from rope_mt.config.position import POSITION_CONFIGS, DebertaConfig, RopeConfig
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint

NAMES = ["checkpoint.json", "model.safetensors", "sentencepiece.model"]


@pytest.mark.parametrize("scheme", POSITION_CONFIGS.values(), ids=lambda scheme: scheme.name)
def test_a_checkpoint_that_is_written_and_read_is_the_same(scheme, untrained, tmp_path):
    ckpt = untrained(scheme())
    checkpoint.write(tmp_path, ckpt)
    again = checkpoint.load(tmp_path)
    assert again.weights.keys() == ckpt.weights.keys()
    for name, tensor in ckpt.weights.items():
        assert again.weights[name].dtype == tensor.dtype
        assert torch.equal(again.weights[name], tensor)
    assert (again.config, again.tokenizer.model, again.step) == (ckpt.config, ckpt.tokenizer.model, 7)


@pytest.mark.parametrize("part", ["", "checkpoints/average"])
def test_the_folder_of_a_run_holds_files_that_other_programs_read(part, untrained, saved, tmp_path, capsys):
    ckpt = untrained(DebertaConfig())
    run = saved(ckpt, tmp_path / "run")
    assert main(["export", str(run / part), "--to", "safetensors"]) == 0
    out = run / "export-safetensors"
    assert str(out) in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == NAMES
    weights = load_file(out / "model.safetensors")
    assert weights.keys() == ckpt.weights.keys()
    assert "encoder.layers.0.attention.qkv.weight" in weights


def test_translate_reads_the_folder_as_it_does_the_run(untrained, saved, pairs, here, monkeypatch, capsysbinary):
    run = saved(untrained(RopeConfig()), here / "run")
    assert main(["export", str(run), "--to", "safetensors"]) == 0
    lines = "".join(source + "\n" for source, _ in pairs[:5])
    outputs = []
    for folder in (run, run / "export-safetensors"):
        capsysbinary.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        assert main(["translate", str(folder), "search.max_len_a=0.5"]) == 0
        outputs.append(capsysbinary.readouterr().out)
    GlobalHydra.instance().clear()
    assert outputs[0] == outputs[1]
    assert len(set(outputs[0].split(b"\n"))) > 2


def test_weights_of_another_program_and_another_format_are_refused(untrained, tmp_path):
    with pytest.raises(UserError, match=rf"^no such checkpoint: {tmp_path / 'none'}$"):
        checkpoint.read(tmp_path / "none")
    (tmp_path / "model.safetensors").write_bytes(b"of another program")
    with pytest.raises(UserError, match=r"is not a checkpoint of rope-mt: it has no checkpoint\.json$"):
        checkpoint.read(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 4)
        checkpoint.write(tmp_path / "later", untrained(RopeConfig()))
    with pytest.raises(UserError, match="has format 4; this version of rope-mt reads format 3"):
        checkpoint.read(tmp_path / "later")


def test_a_folder_that_holds_something_is_left_alone(untrained, saved, tmp_path, capsys):
    run, taken = saved(untrained(RopeConfig()), tmp_path / "run"), tmp_path / "taken"
    taken.mkdir()
    words = ["export", str(run), "--to", "safetensors", "--out", str(taken)]
    assert main(words) == 0  # it was empty
    before = {path: path.read_bytes() for path in taken.iterdir()}
    assert main(words) == 2
    assert "exists: remove it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in taken.iterdir()} == before


@pytest.mark.parametrize("disk", ["played"], indirect=True)
def test_an_export_that_fails_leaves_nothing(untrained, saved, disk, capsys):
    run = saved(untrained(RopeConfig()), disk.path / "run")
    before = {*disk.path.rglob("*")}
    disk.leave(100_000)
    assert main(["export", str(run), "--to", "safetensors"]) == 2
    assert os.strerror(28) in capsys.readouterr().err
    assert {*disk.path.rglob("*")} == before
