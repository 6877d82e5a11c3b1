"""Signals in training: the step is finished and saved, and the run goes on from there as if nothing had been."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rope_mt.cli.main import main
from rope_mt.config.commands import TrainConfig
from rope_mt.config.training import SearchConfig
from rope_mt.errors import Interrupted, UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.training.callbacks.checkpoints import Checkpoints
from rope_mt.training.callbacks.interruption import SIGNALS, Interruption, hand_on
from rope_mt.training.module import TranslationModule
from rope_mt.training.processes import Processes
from rope_mt.training.train import train

STEPS, EVERY = 11, 4  # of two batches each; a validation each 4 steps


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As a program has them that has set none; what the block leaves behind would be another test's."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    plain: dict[int, Any] = dict.fromkeys(SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    for signum, handler in plain.items():
        signal.signal(signum, handler)
    yield
    left = {signum: signal.getsignal(signum) for signum in SIGNALS}
    for signum, handler in before.items():
        signal.signal(signum, handler)
    assert left == plain


@pytest.fixture
def signal_in(monkeypatch) -> Callable[..., None]:
    """Sends this process a signal in the first batch of the step of this number, counted from 1, so many times."""

    def arrange(step: int, signum: int, times: int = 1) -> None:
        honest = TranslationModule.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == step - 1 and not self.ends_update(batch_idx):
                for _ in range(times):
                    signal.raise_signal(signum)
            return honest(self, batch, batch_idx)

        monkeypatch.setattr(TranslationModule, "training_step", training_step)

    return arrange


def settings(config) -> TrainConfig:
    cfg = config(max_steps=STEPS, val_every=EVERY, log_every=3, precision="fp32", ema=0.9, accumulate=2)
    cfg.search = SearchConfig(beam=1, length_penalty=0.6, max_len_a=0.2, max_len_b=2)  # so little trained, none ends
    return cfg


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory) -> Path:
    """The folder of a run that is not disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    train(settings(config), folder)
    return folder


def saved(folder: Path, kind: str) -> list[int]:
    return sorted(int(file.stem.removeprefix(f"{kind}-")) for file in folder.glob(f"checkpoints/{kind}-*.ckpt"))


def rows(folder: Path) -> list[dict]:
    """The metrics of a run that do not depend on the machine."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    known = (
        "step",
        "epoch",
        "tokens",
        "train/loss",
        "train/lr",
        "train/gradient_norm",
        "train/gradient_norm_max",
        "train/padding",
    )
    return [{k: v for k, v in row.items() if k in known or k.startswith("valid/")} for row in lines]


def check_same(ours: Path, theirs: Path) -> None:
    """To the last bit: weights, moments, the average, what was averaged, translations, and scores."""
    assert saved(ours, "weights") == saved(theirs, "weights")
    for name in ("average.ckpt", "best.ckpt", f"step-{STEPS:07d}.ckpt"):
        found, expected = (checkpoint.read(run / "checkpoints" / name) for run in (ours, theirs))
        assert found["global_step"] == expected["global_step"]
        assert found["rope_mt"]["tokens_seen"] == expected["rope_mt"]["tokens_seen"]
        for kind in {"state_dict", "ema"} & expected.keys():
            for weight, values in expected[kind].items():
                assert torch.equal(found[kind][weight], values), (name, kind, weight)
    moments = [values["optimizer_states"][0]["state"] for values in (found, expected)]
    for index, expected_moments in moments[1].items():
        for name, values in expected_moments.items():
            assert torch.equal(moments[0][index][name], values), name
    assert (ours / "test.hyp").read_bytes() == (theirs / "test.hyp").read_bytes()
    found, expected = (json.loads((run / "result.json").read_text()) for run in (ours, theirs))
    for part in ("steps", "tokens_seen", "valid", "test"):
        assert found[part] == expected[part]
    assert rows(ours) == rows(theirs)


def end_of_epoch(run: Path) -> int:
    return max(row["step"] for row in rows(run) if row["epoch"] == 0)


@pytest.mark.parametrize(
    ("signum", "at", "kept"),
    [
        (signal.SIGTERM, 7, [4, 7]),
        (signal.SIGINT, 2, [2]),
        (signal.SIGUSR2, end_of_epoch, [4, 6]),
        (signal.SIGTERM, 8, [4, 8]),  # which is validated first
        (signal.SIGTERM, STEPS, [8, STEPS]),
    ],
    ids=["in a later epoch", "before the first validation", "at the end of an epoch", "validated", "the last"],
)
def test_a_run_that_a_signal_ends_saves_its_step_and_ends_as_if_nothing_had_been(
    config, tmp_path, signal_in, monkeypatch, straight, signum, at, kept
):
    step = at if isinstance(at, int) else at(straight)
    signal_in(step, signum)
    with pytest.raises(Interrupted) as left:
        train(settings(config), tmp_path)
    monkeypatch.undo()
    assert (left.value.signum, left.value.saved) == (signum, kept[-1])
    assert saved(tmp_path, "step") == kept
    assert saved(tmp_path, "weights") == [n for n in (4, 8, STEPS) if n <= step]
    train(settings(config), tmp_path)
    check_same(tmp_path, straight)


def test_a_second_interrupt_does_not_wait_for_the_step(config, tmp_path, signal_in, capfd):
    signal_in(6, signal.SIGINT, times=2)
    with pytest.raises(Interrupted) as left:
        train(settings(config), tmp_path)
    assert (left.value.signum, left.value.saved) == (signal.SIGINT, None)
    assert saved(tmp_path, "step") == [4]
    assert capfd.readouterr().err == "rope-mt: leaving after this step; Ctrl-C again leaves at once\n"


def test_a_signal_that_is_ignored_stays_ignored(config, tmp_path, signal_in):
    signal_in(2, signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cfg = settings(config)
    cfg.trainer.max_steps = 3
    try:
        train(cfg, tmp_path)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert saved(tmp_path, "step") == [3]


def test_where_a_launcher_ignores_sigterm_the_step_is_saved_and_the_run_goes_on(config, tmp_path, signal_in, straight):
    told = []
    signal_in(10, signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda signum, frame: told.append(signum))
    try:
        train(settings(config), tmp_path)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert told == [signal.SIGTERM]
    assert saved(tmp_path, "step") == [10, STEPS]  # and not 8
    check_same(tmp_path, straight)


def test_a_launcher_has_its_signal_when_the_run_is_left(config, tmp_path, signal_in):
    told = []
    signal_in(2, signal.SIGUSR2)
    signal.signal(signal.SIGUSR2, lambda signum, frame: told.append(signum))
    try:
        with pytest.raises(Interrupted) as left:
            train(settings(config), tmp_path)
        assert told == []
        hand_on(left.value)
    finally:
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    assert told == [signal.SIGUSR2]
    hand_on(left.value)  # to nobody
    hand_on(Interrupted(signal.SIGINT))


@pytest.mark.parametrize("signum", SIGNALS)
def test_one_of_several_processes_leaves_at_once(tmp_path, signum):
    one = Interruption(Checkpoints(RunFolder(tmp_path), average=1), Processes(1, 2, 2))
    with one.heeded(), pytest.raises(Interrupted) as left:
        signal.raise_signal(signum)
    assert left.value.signum == signum


@pytest.mark.parametrize(
    ("error", "told"), [(RuntimeError("a worker is gone"), Interrupted), (UserError("no space left"), UserError)]
)
def test_what_a_signal_breaks_is_not_told_but_what_the_user_must_mend_is(config, tmp_path, monkeypatch, error, told):
    def training_step(self, batch, batch_idx):
        signal.raise_signal(signal.SIGTERM)
        raise error

    monkeypatch.setattr(TranslationModule, "training_step", training_step)
    with pytest.raises(told):
        train(settings(config), tmp_path)


def test_a_signal_ends_a_whole_sweep_with_one_line_and_its_exit_code(
    text, tmp_path, signal_in, monkeypatch, capfd, small_run
):
    monkeypatch.chdir(tmp_path)
    signal_in(2, signal.SIGTERM)
    assert main(["train", "-m", "position=rope,none", *small_run, "trainer.accumulate=2"]) == 128 + signal.SIGTERM
    said = capfd.readouterr().err
    assert said.splitlines()[-1] == "rope-mt: interrupted; step 2 is saved, and the same command goes on from there"
    assert "Traceback" not in said
    [folder] = (tmp_path / "outputs").glob("files-*")
    assert saved(folder, "step") == [2]


def test_with_overwrite_the_same_command_is_not_said_to_go_on(config, tmp_path, signal_in, monkeypatch, capsys):
    signal_in(2, signal.SIGTERM)

    def command(words):
        cfg = settings(config)
        cfg.overwrite = True
        train(cfg, tmp_path)

    monkeypatch.setattr(cli, "_dispatch", command)
    assert main(["train"]) == 128 + signal.SIGTERM
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("step 2 is saved, and the same command without overwrite=true goes on from there")
