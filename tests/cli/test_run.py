"""The commands on the toy corpus, as a user types them: train, eval, translate, compare, prepare."""

import contextlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rope_mt.cli.main import main
from rope_mt.data import toy
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result
from rope_mt.system.device import processor

from ..small import write_pairs

SHORT = ["trainer.max_steps=20", "trainer.val_every=10", "trainer.val_sentences=10", "optimizer.warmup_steps=10"]
SHORT += ["search.beam=2", "search.max_len_a=0.7"]  # a model that is trained so little ends few sentences by itself
SHORT += ["data=toy", "data.valid=short", "data.test=short", "tracking=none", "trainer.log_every=10"]
SHORT += ["trainer.average=2"]


def rope_mt(*words: str, code: int = 0) -> str:
    """What the command prints on standard output, or on standard error where it fails."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main([*words]) == code, out.getvalue() + err.getvalue()
    return err.getvalue() if code else out.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, RunFolder, str]:
    """The folder in which the command was typed, the run, and the output of the command."""
    cwd = tmp_path_factory.mktemp("trained")
    text = toy.generate(n_train=1, n_valid=10, n_test=20)
    write_pairs(cwd / "short", text.test)
    write_pairs(cwd / "other", text.valid)
    with contextlib.chdir(cwd):
        out = rope_mt("train", *SHORT)
    [path] = (cwd / "outputs").iterdir()
    return cwd, RunFolder(path.relative_to(cwd)), out


@pytest.fixture
def run(trained, monkeypatch) -> Iterator[RunFolder]:
    """The trained run, in whose working folder the test is."""
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(trained[0])
    yield trained[1]
    GlobalHydra.instance().clear()


def test_the_first_screen_tells_what_will_be_trained_and_the_last_what_came_of_it(run, trained):
    out, detail = trained[2], read_result(run)["test"]["bleu_detail"]
    for word in ("rope", "tiny", "1,054,208 parameters", "20,000 pairs", "20 steps", processor(), str(run.path)):
        assert word in out
    assert "valid at 20" in out
    assert "hypothesis" in out
    assert detail in out
    assert re.search(r"^time +trained \d:\d\d:\d\d, validated \d:\d\d:\d\d \(\d+ %\), scored", out, re.MULTILINE)
    again = rope_mt("train", *SHORT)
    assert "is finished" in again
    assert again.splitlines()[-4:] == out.splitlines()[-4:]


def test_the_folder_is_named_after_the_run_and_holds_what_the_readme_tells(run):
    assert re.fullmatch(r"outputs/toy-tiny-rope-s1-\w{8}", str(run.path))
    names = {"config.yaml", "run.json", "metrics.jsonl", "result.json", "checkpoints", ".lock"}
    assert {path.name for path in run.path.iterdir()} == names | {"test.src", "test.ref", "test.hyp", "test.counts"}
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[1] < losses[0]
    assert [row["step"] for row in rows if "valid/bleu" in row] == [10, 20]
    result = read_result(run)
    assert result["seed"] == 1
    assert result["tokens_seen"] > 15_000
    assert result["versions"]["torch"]
    assert result["validation_seconds"] > 0
    assert result["test_set"] is None  # the toy's is not a well-known one
    variants = result["test"]["variants"]
    assert variants["BLEU-13a"]["value"] == result["test"]["bleu"]
    assert variants["BLEU-13a"]["signature"] == result["test"]["bleu_signature"]
    assert {"BLEU-tokens", "BLEU-split"} < variants.keys()
    assert all(variant["label"] and variant["signature"] for variant in variants.values())
    assert "variants" not in result["valid"]


def test_the_score_is_what_sacrebleu_itself_prints(run):
    command = [sys.executable, "-m", "sacrebleu", "test.ref", "-i", "test.hyp", "-m", "bleu", "chrf", "-w", "10"]
    bleu, chrf = json.loads(subprocess.run(command, cwd=run.path, capture_output=True, check=True).stdout)
    ours = read_result(run)["test"]
    assert ours["bleu"] == pytest.approx(bleu["score"], abs=1e-9)
    assert ours["bleu_signature"] == bleu["signature"]
    assert ours["chrf"] == pytest.approx(chrf["score"], abs=1e-9)


def test_eval_gives_the_score_of_training_to_the_last_digit_and_each_score_with_its_signature(run):
    for path in (run.path, run.average):
        lines = rope_mt("eval", str(path)).splitlines()
        assert lines[:2] == ["test set  20 sentences", f"weights   {run.average}, step 20"]
        scores = read_result(run)["test"]
        assert lines[2].startswith(f"loss      {scores['loss']:.4f} nats per target token")
        assert lines[3] == scores["bleu_detail"]
        signatures = [scores["chrf_signature"], *(variant["signature"] for variant in scores["variants"].values())]
        assert all(any(signature in line for line in lines) for signature in signatures)


def test_eval_takes_several_choices_of_checkpoints_another_search_and_another_test_set(run):
    words = [str(run.path), "checkpoints=last2,average,10", "search=greedy", "data.test=other"]
    out = rope_mt("eval", "-m", *words)
    scores = [line for line in out.splitlines() if line.startswith("BLEU|")]
    assert len(scores) == 3
    assert scores[0] == scores[1]  # the run's own is the mean of the same two
    assert f"weights   {run.checkpoints}/step-0000010, step 10" in out
    assert out.count("test set  10 sentences") == 3
    assert read_result(run)["test"]["bleu_detail"] not in scores
    sides = [Path(f"other.{lang}").read_text(encoding="utf-8").splitlines() for lang in ("de", "en")]
    Path("other.tsv").write_text("".join(f"1\t{de}\t{en}\n" for de, en in zip(*sides, strict=True)), encoding="utf-8")
    words = [str(run.path), "search=greedy", "data.test=other.tsv", "data.columns=[3,2]"]
    assert scores[0] in rope_mt("eval", *words)
    assert rope_mt("eval", *words[:1], "data.test=nowhere", code=2).startswith("rope-mt: no such text: nowhere")


def test_translate_keeps_lines_and_order(run):
    src, hyp = (path.read_bytes().split(b"\n")[:-1] for path in (run.test_src, run.test_hyp))
    Path("in").write_bytes(b"\n".join([src[0], b"", src[2], src[1]]) + b"\n")
    rope_mt("translate", str(run.path), "translate.input=in", "translate.output=out")
    assert Path("out").read_bytes().split(b"\n") == [hyp[0], b"", hyp[2], hyp[1], b""]


def test_a_sweep_ends_with_the_table_and_compare_warns_of_settings_that_should_be_equal(run):
    quick = ["search.beam=1", "search.max_len_a=0", "search.max_len_b=3", "trainer.max_steps=2"]
    out = rope_mt("train", "-m", *SHORT, *quick, "model.dropout=0.2", "position=sinusoidal-add,rope")
    table = out[out.index("Against sinusoidal-add") :]
    others = [RunFolder(path) for path in Path("outputs").glob("toy-*") if path != run.path]
    results = [read_result(other) for other in others]
    assert sorted(result["position"] for result in results) == ["rope", "sinusoidal-add"]
    for result in results:
        assert result["position"] in table
        assert f"{result['test']['bleu']:.2f}" in table
    assert "warning" not in table
    table = rope_mt("compare", "--runs", str(run.path), str(others[0].path))
    assert "warning: runs differ in model.dropout: 0.0 and 0.2" in table
    assert "warning: runs differ in trainer.max_steps: 20 and 2" in table
    assert "differ in seed" not in table


def test_paths_are_those_of_where_the_command_was_typed_though_hydra_is_asked_to_go_elsewhere(run):
    out = rope_mt("train", *SHORT, "hydra.job.chdir=true")
    assert f"{run.path} is finished" in out
