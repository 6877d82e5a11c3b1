"""The real command line on the toy corpus: train, eval, translate, compare, as a user types them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rope_mt.data import toy
from rope_mt.system.device import processor

from . import warm

ENV = {"WANDB_MODE": "offline", "COLUMNS": "120"}
SHORT = ["trainer.max_steps=120", "trainer.val_every=60", "trainer.val_sentences=40", "optimizer.warmup_steps=60"]
SHORT += ["search.beam=2", "search.max_len_a=0.7"]  # so little trained, a model ends few sentences by itself
SHORT += ["data=toy", "data.valid=short", "data.test=short"]
QUICK = ["search.beam=1", "search.max_len_a=0", "search.max_len_b=3"]  # for tests that do not look at the translations


def rope_mt(*words: str, cwd: Path, stdin: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own and check its exit code."""
    done = subprocess.run(
        [warm.command(), *words],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env={**os.environ, **ENV},
        timeout=300,
    )
    assert done.returncode == code, done.stdout.decode() + done.stderr.decode()
    return done


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> tuple[Path, Path, str]:
    """The folder a run was typed in, the run's own folder, and what the command said."""
    cwd = tmp_path_factory.mktemp("trained")
    text = toy.generate(n_train=1, n_valid=50, n_test=100)
    for name, pairs in (("short", text.test), ("other", text.valid)):
        for side, lang in enumerate(("en", "de")):
            (cwd / f"{name}.{lang}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    said = rope_mt("train", *SHORT, cwd=cwd).stdout.decode()
    [folder] = [path for path in (cwd / "outputs").iterdir() if (path / "result.json").is_file()]
    return cwd, folder, said


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def test_the_first_screen_says_what_will_be_trained(trained):
    _, folder, said = trained
    for word in ("rope", "tiny", "1,053,696 parameters", "20,000 pairs", "120 steps", processor(), folder.name):
        assert word in said


def test_training_learns_and_says_so(trained):
    _, folder, said = trained
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < losses[0] - 2
    assert [row["step"] for row in rows if "valid/bleu" in row] == [60, 120]
    assert "valid at 120" in said
    assert "hypothesis" in said


def test_the_folder_is_named_after_the_run_and_holds_what_the_readme_says(trained):
    _, folder, _ = trained
    assert folder.name.startswith("toy-tiny-rope-s1-")
    names = {path.name for path in folder.iterdir()}
    expected = {"config.yaml", "run.json", "metrics.jsonl", "result.json", "checkpoints", ".lock"}
    assert names == expected | {"test.src", "test.ref", "test.hyp", "test.counts"}
    found = result(folder)
    assert found["seed"] == 1
    assert found["tokens_seen"] > 100_000
    assert found["versions"]["torch"]
    assert found["validation_seconds"] > 0
    assert found["test_set"] is None  # the toy's is no well-known one
    variants = found["test"]["variants"]
    assert variants["BLEU-13a"]["value"] == found["test"]["bleu"]
    assert variants["BLEU-13a"]["signature"] == found["test"]["bleu_signature"]
    assert {"BLEU-tokens", "BLEU-split"} < variants.keys()
    assert all(each["label"] and each["signature"] for each in variants.values())
    assert "variants" not in found["valid"]


def test_the_score_is_what_sacrebleu_itself_prints(trained):
    _, folder, said = trained
    command = [sys.executable, "-m", "sacrebleu", "test.ref", "-i", "test.hyp", "-m", "bleu", "chrf", "-w", "10"]
    theirs = json.loads(subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout)
    ours = result(folder)["test"]
    assert ours["bleu"] == pytest.approx(theirs[0]["score"], abs=1e-9)
    assert ours["bleu_signature"] == theirs[0]["signature"]
    assert ours["chrf"] == pytest.approx(theirs[1]["score"], abs=1e-9)
    assert ours["bleu_signature"] in said
    assert re.search(r"^time +trained \d:\d\d:\d\d, validated \d:\d\d:\d\d \(\d+ %\), scored", said, re.MULTILINE)


def test_eval_gives_the_score_of_training_to_the_last_digit(trained):
    cwd, folder, _ = trained
    for target in (folder, folder / "checkpoints" / "average.ckpt"):
        said = rope_mt("eval", str(target.relative_to(cwd)), cwd=cwd).stdout.decode()
        assert said.splitlines()[:2] == [
            "test set  100 sentences",
            f"weights   {(folder / 'checkpoints' / 'average.ckpt').relative_to(cwd)}, step 120",
        ]
        assert said.splitlines()[2] == result(folder)["test"]["bleu_detail"]


def test_a_sweep_of_eval_scores_one_choice_of_checkpoints_after_the_other(trained):
    cwd, folder, _ = trained
    words = [str(folder), "checkpoints=last2,average,60", "search=greedy"]
    said = rope_mt("eval", "-m", *words, cwd=cwd).stdout.decode()
    scores = [line for line in said.splitlines() if line.startswith("BLEU|")]
    assert len(scores) == 3
    assert scores[0] == scores[1] != scores[2]  # the run's own is the mean of the same two
    assert f"weights   {folder}/checkpoints/weights-0000060.ckpt, step 60" in said


def test_eval_takes_another_search_and_another_test_set(trained):
    cwd, folder, _ = trained
    greedy = rope_mt("eval", str(folder), "search=greedy", "data.test=other", cwd=cwd).stdout.decode()
    assert greedy.splitlines()[0] == "test set  50 sentences"
    assert greedy.splitlines()[2].startswith("BLEU|")
    assert greedy.splitlines()[2] != result(folder)["test"]["bleu_detail"]


def test_translate_keeps_lines_and_order(trained):
    cwd, folder, _ = trained
    src, hyp = ((folder / name).read_bytes().split(b"\n")[:-1] for name in ("test.src", "test.hyp"))
    out = rope_mt("translate", str(folder), cwd=cwd, stdin=b"\n".join([src[0], b"", src[2], src[1]])).stdout
    lines = out.split(b"\n")
    assert len(lines) == 5
    assert lines[1] == lines[4] == b""
    assert (lines[0], lines[3], lines[2]) == (hyp[0], hyp[1], hyp[2])


def test_the_same_command_again_prints_the_result_at_once(trained):
    cwd, folder, said = trained
    before = (folder / "result.json").stat().st_mtime_ns
    again = rope_mt("train", *SHORT, cwd=cwd).stdout.decode()
    assert "is finished" in again
    assert again.splitlines()[-4:] == said.splitlines()[-4:]
    assert (folder / "result.json").stat().st_mtime_ns == before


def test_a_sweep_ends_with_the_table_and_each_job_is_a_run_of_its_own(trained):
    cwd, _, _ = trained
    words = ["train", "-m", "position=sinusoidal-add,rope", "trainer.max_steps=10", "trainer.val_sentences=5"]
    words += ["data=toy", "data.valid=short", "data.test=short"]
    said = rope_mt(*words, *QUICK, cwd=cwd).stdout.decode()
    folders = [path for path in (cwd / "outputs").glob("toy-*") if result(path)["steps"] == 10]
    assert sorted(result(path)["position"] for path in folders) == ["rope", "sinusoidal-add"]
    table = said[said.index("tokens seen") :]
    for path in folders:
        assert result(path)["position"] in table
        assert f"{result(path)['test']['bleu']:.2f}" in table
    assert "warning" not in table
    runs = {result(path)["key"] for path in folders}
    assert len(runs) == 2
    ids = [json.loads((path / "run.json").read_text())["wandb"]["id"] for path in folders]
    for id in ids:
        assert len(list((cwd / "outputs" / "wandb").glob(f"offline-run-*-{id}"))) == 1


def test_compare_warns_of_what_should_be_equal(trained):
    cwd, folder, _ = trained
    said = rope_mt("train", *SHORT, *QUICK, "trainer.max_steps=4", "model.dropout=0.2", cwd=cwd).stdout.decode()
    other = next(line.split()[1].rstrip(":") for line in said.splitlines() if line.startswith("files"))
    table = rope_mt("compare", "--runs", str(folder), other, cwd=cwd).stdout.decode()
    assert "warning: runs differ in model.dropout: 0.0 and 0.2" in table
    assert "warning: runs differ in trainer.max_steps: 120 and 4" in table
    assert "differ in seed" not in table


def test_prepare_says_what_it_made(trained):
    cwd, _, _ = trained
    said = rope_mt("prepare", cwd=cwd).stdout.decode()
    assert "20,000 pairs read, 20,000 kept" in said


def test_an_interrupt_ends_a_run_with_one_line_and_leaves_its_checkpoints(trained, tmp_path):
    words = ["train", f"data.dir={trained[0] / 'data'}", "trainer.val_every=10", "trainer.val_sentences=4"]
    command = [sys.executable, "-u", "-m", "rope_mt", *words, "trainer.log_every=1", "trainer.max_steps=1000"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may ignore it
    try:
        training = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, **ENV},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with training:
        assert training.stdout
        assert training.stderr
        next(line for line in training.stdout if line.startswith("step 12 "))
        training.send_signal(signal.SIGINT)
        training.stdout.read()
        said = training.stderr.read()
    assert training.returncode == 130
    told = re.fullmatch(
        r"rope-mt: interrupted; step (\d+) is saved, and the same command goes on from there", said.splitlines()[-1]
    )
    assert told
    assert "Traceback" not in said
    [folder] = (tmp_path / "outputs").glob("toy-*")
    steps = sorted(path.name for path in folder.glob("checkpoints/step-*.ckpt"))
    assert steps == ["step-0000010.ckpt", f"step-{int(told[1]):07d}.ckpt"]
    assert (folder / ".lock").read_text() == ""


# ---- what a user gets wrong -----------------------------------------------------------------------------------------


def refused(*words: str, cwd: Path) -> str:
    done = rope_mt(*words, cwd=cwd, code=2)
    error = done.stderr.decode()
    assert error.startswith("rope-mt: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error + done.stdout.decode()
    return error


def test_a_checkpoint_that_is_missing_or_not_one(trained, tmp_path):
    cwd, _, _ = trained
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    (tmp_path / "empty").mkdir()
    assert "no such checkpoint" in refused("eval", "nowhere/a=b.ckpt", cwd=cwd)
    assert "not a checkpoint" in refused("eval", str(tmp_path / "text.ckpt"), cwd=cwd)
    assert "holds no finished run" in refused("translate", str(tmp_path / "empty"), cwd=cwd)


def test_a_checkpoint_for_another_vocabulary(trained, tmp_path):
    import torch

    from rope_mt.runs import checkpoint

    cwd, folder, _ = trained
    values = checkpoint.read(folder / "checkpoints" / "average.ckpt")
    values["state_dict"]["model.embedding.weight"] = torch.zeros(7, 128)
    checkpoint.write(tmp_path / "other.ckpt", values)
    assert "do not fit its configuration and vocabulary" in refused("eval", str(tmp_path / "other.ckpt"), cwd=cwd)


def test_missing_and_unequal_files(trained, tmp_path):
    cwd, folder, _ = trained
    (tmp_path / "a.en").write_text("one\ntwo\n")
    (tmp_path / "a.de").write_text("eins\n")
    prefix = str(tmp_path / "a")
    files = ["data=files", f"data.train={prefix}", f"data.valid={prefix}", f"data.test={prefix}"]
    assert "has 2 lines" in refused("train", *files, cwd=cwd)
    assert "no such text" in refused("eval", str(folder), "data.test=nowhere", cwd=cwd)
    assert "has 2: a run keeps" in refused("eval", str(folder), "checkpoints=last3", cwd=cwd)
    assert "checkpoints must be average, best" in refused("eval", str(folder), "checkpoints=lst3", cwd=cwd)
    assert "no such text: nowhere.en" in refused("prepare", *files, "data.train=nowhere", cwd=cwd)


def test_an_output_folder_that_cannot_be_written(trained, tmp_path):
    (tmp_path / "outputs").write_text("a file where the folder should be")
    assert "outputs" in refused("train", f"data.dir={trained[0] / 'data'}", cwd=tmp_path)
