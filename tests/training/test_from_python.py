"""The way in from Python does what the commands do."""

import pytest
import torch

import rope_mt
from rope_mt.cli.main import main
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result


def test_train_and_load_do_what_the_commands_do(small_run, here, capsys):
    words = [*small_run, "trainer.max_steps=4", "trainer.val_every=4"]
    path = rope_mt.train(words)
    assert path.parent.name == "outputs"
    assert main(["train", *words]) == 0
    assert f"{path} is finished" in capsys.readouterr().out
    run = RunFolder(path)
    src, ref, hyp = (file.read_text().splitlines() for file in (run.test_src, run.test_ref, run.test_hyp))
    model = rope_mt.load(path)
    assert model.translate(src) == hyp
    assert model.score(src, ref).bleu == read_result(run)["test"]["bleu"]
    one, two = model.encode(src[:2])
    assert one.shape == (len(model.tokenizer.encode(src[:1])[0]) + 1, checkpoint.load(path).config.model.d_model)
    torch.testing.assert_close(model.encode([src[1]])[0], two)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=1,2"], "seed=1,2 means several runs"),
        (["-m"], "takes the settings of one run, and no flags"),
        (["lr=1"], "did you mean optimizer.lr?"),
    ],
)
def test_mistakes_are_user_errors(words, message):
    with pytest.raises(UserError, match=message):
        rope_mt.train(words)
