"""Habits from other programs: one line that gives the spelling that works, before anything heavy is imported."""

import pytest

from rope_mt.cli.main import main
from rope_mt.runs.folder import RunFolder


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("train --position alibi", "there is no flag --position: write position=alibi"),
        ("train position=rope --seed=7", "there is no flag --seed=7: write seed=7"),
        ("train --learning-rate 0.1", "write optimizer.lr=0.1"),
        ("train --batch-tokens", "write data.batch_tokens=VALUE"),
        ("train --epochs 3", "write trainer.epochs=3"),
        ("train --gpus 2", "write trainer.devices=2"),
        ("train --continue", "the same command goes on with a run: leave out --continue"),
        ("translate --beam 5 run", "write search.beam=5"),
        ("train --dryrun", "there is no flag --dryrun; did you mean --dry-run?"),
        ("train --experimental-rerun foo", "there is no file foo"),
        ("-sc install=tcsh", "write -sc install=SHELL, with one of bash, fish, zsh"),
        ("train --hellp", "there is no flag --hellp; did you mean --help?"),
        ("train position t5", "write position=t5"),
        ("train small", "write model=small"),
        ("train data=my/text.tsv", "write data=files data.train=my/text.tsv"),
        ("train {run}", "{run} is a run: its own command goes on with it, and stands in {run}/run.json"),
        ("prepare {run}/run.json", "for text of your own write data=files data.train={run}/run.json"),
        ("train lr=0.1", "there is no setting lr; did you mean optimizer.lr?"),
        ("eval nowhere", "no such run or checkpoint: nowhere"),
        ("eval {run}/checkpoints", "holds the checkpoints of a run: name the run, {run}, or one of"),
        ("eval --dry-run {run}", "--dry-run is for train, not for eval"),
    ],
)
def test_a_habit_is_answered_with_the_right_spelling(tmp_path, capsys, typed, answer):
    run = RunFolder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    run.identity.touch()
    assert main(typed.format(run=run.path).split()) == 2
    error = capsys.readouterr().err
    assert answer.format(run=run.path) in error
    assert error.count("\n") == 1
