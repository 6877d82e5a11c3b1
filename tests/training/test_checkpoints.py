"""What a run keeps, and which of it `rope-mt eval RUN checkpoints=...` takes and averages."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from rope_mt.config.commands import EvalConfig
from rope_mt.data import checks
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import select
from rope_mt.runs.folder import RunFolder
from rope_mt.training.callbacks import checkpoints
from rope_mt.training.module import TranslationModule
from rope_mt.training.train import train
from rope_mt.translation.evaluate import evaluate


@pytest.fixture(scope="module")
def run(config, tmp_path_factory) -> RunFolder:
    """Weights of steps 8, 10, 12 and 14."""
    folder = tmp_path_factory.mktemp("run")
    train(config(max_steps=14, val_every=2, average=4, val_sentences=2, precision="fp32"), folder)
    return RunFolder(folder)


def weights(run: RunFolder, step: int) -> Path:
    return run.checkpoints / f"weights-{step:07d}.ckpt"


def mean(files: list[Path]) -> dict[str, np.ndarray]:
    """By hand: in double, and then in float32."""
    read = [torch.load(file, weights_only=True)["state_dict"] for file in files]
    stacked = {name: np.stack([weights[name].numpy() for weights in read]) for name in read[0]}
    means = {name: (each.astype(np.float64).sum(0) / len(read)) for name, each in stacked.items()}
    return {name.removeprefix("model."): each.astype(np.float32) for name, each in means.items()}


def test_a_run_keeps_the_last_two_in_full_and_weights_of_the_best_and_to_average(run):
    names = {path.name for path in run.checkpoints.iterdir()}
    assert names == {
        *("average.ckpt", "best.ckpt", "step-0000012.ckpt", "step-0000014.ckpt"),
        *(f"weights-{step:07d}.ckpt" for step in (8, 10, 12, 14)),
    }
    assert [path.name for path in run.path.rglob("*") if path.name.startswith(".")] == [".lock"]


@pytest.mark.parametrize(
    ("which", "steps"),
    [
        ("average", (8, 10, 12, 14)),
        ("last1", (14,)),
        ("last3", (10, 12, 14)),
        ("last4", (8, 10, 12, 14)),
        (8, (8,)),
        ([8, 14], (8, 14)),
        (["weights-0000010.ckpt", 8, 14], (8, 10, 14)),
    ],
)
def test_an_average_is_the_mean_of_its_files_to_the_last_bit(run, which, steps):
    found, _ = select(run.path, which)
    expected = mean([weights(run, step) for step in steps])
    assert found.weights.keys() == expected.keys()
    for name, tensor in found.weights.items():
        assert np.array_equal(tensor.numpy(), expected[name]), name


def test_files_are_named_by_their_paths_too(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").symlink_to(run.checkpoints)
    found, said = select(run.path, ["elsewhere/step-0000012.ckpt", "elsewhere/weights-0000014.ckpt"])
    expected, _ = select(run.path, [12, 14])
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in expected.weights.items())
    assert said == "mean of 2: step-0000012.ckpt, weights-0000014.ckpt"


def test_where_weights_alone_are_gone_full_checkpoints_serve(run, tmp_path):
    other = RunFolder(tmp_path)
    other.checkpoints.mkdir()
    for step in (12, 14):
        (other.checkpoints / f"step-{step:07d}.ckpt").symlink_to(run.checkpoints / f"step-{step:07d}.ckpt")
    for which in ("last2", [12, 14]):
        found, _ = select(tmp_path, which)
        expected, _ = select(run.path, "last2")
        assert all(torch.equal(found.weights[name], tensor) for name, tensor in expected.weights.items())


def test_what_is_not_there_is_said_in_a_line(run, tmp_path):
    there = re.escape(str(run.checkpoints))
    for which, said in (
        ("last5", f"checkpoints=last5, and {there} has 4: a run keeps as many as trainer.average says"),
        (9, f"{there} has no checkpoint of step 9, only of 8, 10, 12, 14$"),
        ("nowhere.ckpt", "no such checkpoint: nowhere.ckpt"),
    ):
        with pytest.raises(UserError, match=said):
            select(run.path, which)
    with pytest.raises(UserError, match=r"checkpoints=last2 chooses among those of a run, and .*best.ckpt is no run"):
        select(run.best, "last2")
    (tmp_path / "checkpoints").mkdir()
    for which, said in (("best", "has no best.ckpt"), ("ema", "has no step-"), ("last1", "has 0"), (3, "only of none")):
        with pytest.raises(UserError, match=said):
            select(tmp_path, which)


@pytest.mark.parametrize("wrong", ["last0", "last", "last-1", "mean", "", 1.5, True, [], [8, "best"], None])
def test_other_words_are_refused_with_the_grammar(wrong):
    with pytest.raises(UserError, match="checkpoints must be average, best, ema, lastN as in last5, or a list of"):
        EvalConfig("run", wrong)


def altered(run: RunFolder, path: Path, change) -> Path:
    values = checkpoint.read(weights(run, 12))
    change(values)
    checkpoint.write(path, values)
    return path


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda values: values["rope_mt"]["config"].update(seed=4), "seed"),
        (lambda values: values["rope_mt"]["config"]["position"].update(theta=5.0), "position"),
        (lambda values: values["rope_mt"].update(tokenizer=b"another"), "the tokenizer"),
        (lambda values: values["state_dict"].popitem(), "the shapes of their weights"),
    ],
)
def test_checkpoints_of_different_runs_are_not_averaged(run, tmp_path, change, what):
    other = str(altered(run, tmp_path / "other.ckpt", change))
    with pytest.raises(UserError, match=f"weights-0000014.ckpt and .*other.ckpt cannot be averaged: .* in {what}$"):
        select(run.path, [14, other])


def test_settings_without_effect_may_differ_between_them(run, tmp_path):
    def change(values):
        values["rope_mt"]["config"]["trainer"]["log_every"] = 7

    found, _ = select(run.path, [14, str(altered(run, tmp_path / "other.ckpt", change))])
    expected = mean([weights(run, 12), weights(run, 14)])
    assert all(np.array_equal(tensor.numpy(), expected[name]) for name, tensor in found.weights.items())


@pytest.fixture
def validations(monkeypatch):
    """Makes the BLEU of each validation what it is told, in order of the steps 2, 4, 6."""

    def arrange(bleu: list[float]) -> None:
        honest = TranslationModule.on_validation_epoch_end

        def on_validation_epoch_end(self):
            honest(self)
            self.validation["bleu"] = bleu[self.global_step // 2 - 1]

        monkeypatch.setattr(TranslationModule, "on_validation_epoch_end", on_validation_epoch_end)

    return arrange


@pytest.mark.parametrize(("bleu", "step"), [([0.0, 0.0, 0.0], 2), ([1.0, 5.0, 5.0], 4), ([1.0, 5.0, 6.0], 6)])
def test_the_best_is_the_first_of_equals_even_where_all_are_0(config, tmp_path, validations, bleu, step):
    validations(bleu)
    train(config(max_steps=6, val_every=2, val_sentences=1), tmp_path)
    assert checkpoint.load(tmp_path / "checkpoints" / "best.ckpt").step == step


def test_a_run_that_dies_while_it_keeps_the_best_still_has_the_best_in_the_end(
    config, tmp_path, validations, monkeypatch
):
    validations([1.0, 5.0, 3.0])
    cfg = config(max_steps=6, val_every=2, val_sentences=1)

    def write(path, values):
        if path.name == "best.ckpt" and values["global_step"] == 4:
            raise InterruptedError
        checkpoint.write(path, values)

    with monkeypatch.context() as context:
        context.setattr(checkpoints, "write", write)
        with pytest.raises(InterruptedError):
            train(cfg, tmp_path)
    train(cfg, tmp_path)
    assert checkpoint.load(tmp_path / "checkpoints" / "best.ckpt").step == 4


def test_eval_says_what_it_scores_and_each_score_with_its_signature(run, capsys):
    bleu = evaluate(EvalConfig(str(run.path), "last2", device="cpu"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["test set  8 sentences", "weights   mean of 2: weights-0000012.ckpt, weights-0000014.ckpt"]
    assert lines[2].startswith("BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert f" = {bleu:.2f} " in lines[2]
    assert "BP = " in lines[2]
    assert [line for line in lines if line.startswith("chrF2|")]
    for name in ("BLEU-13a-lc", "BLEU-intl", "BLEU-tokens", "BLEU-split"):
        [at] = [n for n, line in enumerate(lines) if line.startswith(f"{name} ")]
        assert lines[at + 1].strip().startswith("nrefs:1|")


def test_eval_names_a_test_set_that_is_known_and_warns_on_standard_error(run, capsys, monkeypatch):
    ref = run.test_ref.read_text(encoding="utf-8").splitlines()
    monkeypatch.setitem(checks.KNOWN, checks.fingerprint(ref), "a set of old")
    monkeypatch.setattr("rope_mt.translation.evaluate.scoring_warnings", lambda *_: ["something is odd"])
    evaluate(EvalConfig(str(run.path), device="cpu"))
    said = capsys.readouterr()
    assert said.out.startswith("test set  a set of old\n")
    assert said.err == "something is odd\n"


def test_eval_refuses_references_that_no_score_should_be_made_with(run, tmp_path):
    for lines, said in ((["a@@ b."] * 12, "has the subword mark"), (["Ein Hund ."] * 12, "are tokenised")):
        for lang in ("en", "de"):
            (tmp_path / f"odd.{lang}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        cfg = EvalConfig(str(run.path), device="cpu")
        cfg.data.test = str(tmp_path / "odd")
        with pytest.raises(UserError, match=f"the references of .*odd.* {said}"):
            evaluate(cfg)
