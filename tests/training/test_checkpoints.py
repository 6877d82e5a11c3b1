"""The checkpoints that a run keeps, and the weights that `rope-mt eval RUN checkpoints=...` takes from them."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rope_mt.config.commands import EvalConfig
from rope_mt.config.position import RopeConfig
from rope_mt.config.training import TrackingConfig
from rope_mt.data import checks
from rope_mt.data.tokenizer import Tokenizer, train_tokenizer
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import MANIFEST, TOKENIZER, TRAINING, WEIGHTS, Checkpoint, read, select
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result
from rope_mt.training.callbacks import checkpoints
from rope_mt.training.module import TranslationModule
from rope_mt.training.train import train
from rope_mt.translation.evaluate import evaluate

from ..small import flip_a_bit, write_pairs
from .killed_run import differences


@pytest.fixture(scope="module")
def run(config, tmp_path_factory) -> RunFolder:
    """A run with the weights of steps 4, 5, 6 and 7."""
    folder = tmp_path_factory.mktemp("run")
    train(config(max_steps=7, val_every=1, average=4, val_sentences=1, precision="fp32"), folder)
    return RunFolder(folder)


def step(run: RunFolder, number: int) -> Path:
    return run.checkpoints / f"step-{number:07d}"


def check_mean(ckpt: Checkpoint, folders: list[Path]) -> None:
    """The weights are the mean of others to the last bit: summed in float64, and then in float32."""
    files = [load_file(folder / WEIGHTS) for folder in folders]
    assert ckpt.weights.keys() == files[0].keys()
    for name, tensor in ckpt.weights.items():
        total = sum(weights[name].numpy().astype(np.float64) for weights in files)
        assert np.array_equal(tensor.numpy(), (total / len(files)).astype(np.float32)), name


def test_a_run_keeps_the_weights_to_average_the_best_and_two_checkpoints_to_resume_from(run):
    [best] = checkpoint.saved(run, "best")
    names = {"average", best.name, *(f"step-000000{n}" for n in (4, 5, 6, 7))}
    assert {folder.name for folder in run.checkpoints.iterdir()} == names
    for name in names:
        resumable = name in ("step-0000006", "step-0000007")
        files = {WEIGHTS, TOKENIZER, MANIFEST} | ({TRAINING} if resumable else set())
        assert {file.name for file in (run.checkpoints / name).iterdir()} == files
    assert checkpoint.latest(run) == step(run, 7)
    assert [path.name for path in run.path.rglob(".*")] == [".lock"]


def test_a_checkpoint_is_written_where_a_link_leads_and_read_under_a_name_that_is_not_utf_8(run, tmp_path):
    ckpt, training = read(step(run, 7)), checkpoint.read_training(step(run, 7), "")
    link, odd = tmp_path / "link", tmp_path / os.fsdecode(b"\xff")
    link.symlink_to(odd)
    for _ in range(2):
        checkpoint.write(link, ckpt, training)
    assert link.is_symlink()
    assert [*tmp_path.iterdir()] in ([link, odd], [odd, link])
    assert [*differences([read(odd).weights, checkpoint.read_training(odd, "")], [ckpt.weights, training])] == []


@pytest.mark.parametrize(
    ("which", "steps"),
    [
        ("average", (4, 5, 6, 7)),
        ("last1", (7,)),
        ("last3", (5, 6, 7)),
        (4, (4,)),
        ([4, 7], (4, 7)),
        (["step-0000005", 4, 7], (4, 5, 7)),
    ],
)
def test_an_average_is_the_mean_of_its_checkpoints_to_the_last_bit(run, which, steps):
    ckpt, _ = select(run.path, which)
    check_mean(ckpt, [step(run, number) for number in steps])


def test_checkpoints_are_named_by_their_paths_too(run, here):
    (here / "elsewhere").symlink_to(run.checkpoints)
    ckpt, words = select(run.path, ["elsewhere/step-0000005", "elsewhere/step-0000007"])
    check_mean(ckpt, [step(run, 5), step(run, 7)])
    assert words == "mean of 2: step-0000005, step-0000007"
    assert checkpoint.load(step(run, 5)).step == 5
    assert checkpoint.load(run.path).path == run.average


def test_a_checkpoint_that_a_run_has_not_is_told_in_a_line(run, tmp_path):
    folder = re.escape(str(run.checkpoints))
    no_run = tmp_path / "none"
    (no_run / "checkpoints").mkdir(parents=True)
    pruned = tmp_path / "pruned"
    shutil.copytree(run.average, pruned / "checkpoints" / "average")
    for path, which, words in (
        (run.path, "last5", f"checkpoints=last5, and {folder} has 4: a run keeps as many as trainer.average says"),
        (run.path, 9, f"{folder} has no checkpoint of step 9, only of 4, 5, 6, 7$"),
        (run.path, "nowhere", "^no such checkpoint: nowhere$"),
        (run.path, str(tmp_path), "is not a checkpoint of rope-mt: it has no checkpoint.json"),
        (run.average, "last2", "checkpoints=last2 chooses among those of a run, and .*average is not a run folder"),
        (pruned, "best", "checkpoints=best, and .* has only the averaged weights: take average"),
        (no_run, "best", "has no best checkpoint"),
        (no_run, "ema", "has no checkpoint that holds the moving average"),
        (no_run, "last1", "has 0"),
        (no_run, 3, "only of none"),
        (no_run, "average", "holds no finished run"),
    ):
        with pytest.raises(UserError, match=words):
            select(path, which)


@pytest.mark.parametrize("wrong", ["last0", "last", "last-1", "mean", "", 1.5, True, [], [8, "best"], None])
def test_other_words_are_refused_with_the_grammar(wrong):
    with pytest.raises(UserError, match="checkpoints must be average, best, ema, lastN as in last5, or a list of"):
        EvalConfig("run", wrong)


def other_tokenizer(ckpt: Checkpoint) -> Tokenizer:
    return Tokenizer(train_tokenizer(["of another text", "with other words"] * 30, 300, "bpe"))


ALTERED: dict[str, Callable[[Checkpoint], Checkpoint]] = {
    "seed": lambda ckpt: replace(ckpt, config=replace(ckpt.config, seed=4)),
    "position": lambda ckpt: replace(ckpt, config=replace(ckpt.config, position=RopeConfig(theta=5.0))),
    "the tokenizer": lambda ckpt: replace(ckpt, tokenizer=other_tokenizer(ckpt)),
    "the shapes of their weights": lambda ckpt: replace(ckpt, weights=dict([*ckpt.weights.items()][1:])),
    "": lambda ckpt: replace(ckpt, config=replace(ckpt.config, tracking=TrackingConfig())),
}


@pytest.mark.parametrize("change", ALTERED)
def test_checkpoints_are_averaged_unless_they_differ_in_what_changes_weights(run, tmp_path, change):
    checkpoint.write(tmp_path / "other", ALTERED[change](read(step(run, 5))))
    if not change:
        check_mean(select(run.path, [7, str(tmp_path / "other")])[0], [step(run, 5), step(run, 7)])
        return
    with pytest.raises(UserError, match=f"step-0000007 and .*other cannot be averaged: they differ in {change}$"):
        select(run.path, [7, str(tmp_path / "other")])


@pytest.mark.parametrize("lost", [False, True], ids=["damaged", "lost"])
@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER, MANIFEST, TRAINING])
def test_a_file_that_is_damaged_or_lost_is_named_with_the_remedy(run, tmp_path, name, lost):
    folder = Path(shutil.copytree(step(run, 7), tmp_path / "step-0000007"))
    (folder / name).unlink() if lost else flip_a_bit(folder / name)
    with pytest.raises(UserError) as refused:
        checkpoint.read_training(folder, "do this") if name == TRAINING else read(folder, "do this")
    message = str(refused.value)
    assert str(folder) in message
    assert "\n" not in message
    assert message.endswith("do this") or (lost and name == MANIFEST)


def test_weights_that_do_not_fit_or_are_not_finite_are_refused(run):
    ckpt = read(run.average)
    for value, words in (
        (torch.zeros(7, 64), "the weights do not fit its settings and vocabulary: size mismatch for embedding.weight"),
        (torch.full((450, 64), torch.nan), "embedding.weight is not finite; training has diverged"),
    ):
        with pytest.raises(UserError, match=words):
            checkpoint.model_of(replace(ckpt, weights={**ckpt.weights, "embedding.weight": value}))


@pytest.fixture
def validations(monkeypatch):
    """Gives the validations of the steps 1, 2, 3 these BLEU scores."""

    def arrange(bleu: list[float]) -> None:
        honest = TranslationModule.on_validation_epoch_end

        def on_validation_epoch_end(self):
            honest(self)
            self.validation["bleu"] = bleu[self.global_step - 1]

        monkeypatch.setattr(TranslationModule, "on_validation_epoch_end", on_validation_epoch_end)

    return arrange


@pytest.mark.parametrize(("bleu", "best"), [([0.0, 0.0, 0.0], 1), ([1.0, 5.0, 5.0], 2), ([1.0, 5.0, 6.0], 3)])
def test_the_best_is_the_first_of_equals_even_where_all_are_0(config, tmp_path, validations, bleu, best):
    validations(bleu)
    train(config(max_steps=3, val_every=1, val_sentences=1), tmp_path)
    assert [folder.name for folder in checkpoint.saved(RunFolder(tmp_path), "best")] == [f"best-000000{best}"]
    assert select(tmp_path, "best")[0].step == best


def test_a_run_that_dies_while_it_keeps_the_best_has_the_best_in_the_end(config, tmp_path, validations, monkeypatch):
    validations([1.0, 5.0, 3.0])
    cfg = config(max_steps=3, val_every=1, val_sentences=1)

    def write(folder, *rest):
        if folder.name == "best-0000002":
            raise InterruptedError
        checkpoint.write(folder, *rest)

    with monkeypatch.context() as context:
        context.setattr(checkpoints, "write", write)
        with pytest.raises(InterruptedError):
            train(cfg, tmp_path)
    train(cfg, tmp_path)
    assert [folder.name for folder in checkpoint.saved(RunFolder(tmp_path), "best")] == ["best-0000002"]


def test_eval_names_a_known_test_set_and_warns_on_standard_error(run, capsys, monkeypatch):
    ref = run.test_ref.read_text(encoding="utf-8").splitlines()
    monkeypatch.setitem(checks.KNOWN, checks.fingerprint(ref), "a set of old")
    monkeypatch.setattr("rope_mt.translation.evaluate.scoring_warnings", lambda *_: ["something is odd"])
    evaluate(EvalConfig(str(run.path), device="cpu"))
    captured = capsys.readouterr()
    assert captured.out.startswith("test set  a set of old\n")
    assert f"loss      {read_result(run)['test']['loss']:.4f} nats" in captured.out  # as trained
    assert captured.err == "something is odd\n"


def test_eval_refuses_references_that_are_not_raw_text(run, tmp_path):
    """In all forms: tests/translation/test_raw_text.py."""
    cfg = EvalConfig(str(run.path), device="cpu")
    cfg.data.test = write_pairs(tmp_path / "odd", [("a dog.", "ein a@@ b.")] * 12)
    with pytest.raises(UserError, match=r"the references of .*odd.* has the subword mark"):
        evaluate(cfg)


def test_the_run_of_a_checkpoint_is_found_from_inside_of_its_folder(finished, monkeypatch):
    best = checkpoint.saved(RunFolder(finished), "best")[-1]
    for inside in (best.parent, finished, best):
        monkeypatch.chdir(inside)
        assert checkpoint.run_of(Path(os.path.relpath(best))).path.resolve() == finished.resolve()
