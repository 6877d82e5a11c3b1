"""Rehearsals for a GPU without one: updates and searches on torch's device `meta`, whose tensors have no numbers.

Whatever asks for a value, or computes with a tensor that was left on the CPU, fails there. Autocast does not know this
device, so bf16 is rehearsed with fake tensors, which give no values either.
"""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn.utils import clip_grad
from torch.optim import adam
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rope_mt.bench.count import step_of
from rope_mt.config.commands import TrainConfig
from rope_mt.config.position import POSITION_CONFIGS, RopeConfig
from rope_mt.data.batches import Batch
from rope_mt.data.tokenizer import PAD, Tokenizer
from rope_mt.model import search
from rope_mt.model.transformer import Transformer
from rope_mt.position import SCHEMES
from rope_mt.position.rotary import RotaryPosition
from rope_mt.runs.folder import RunFolder
from rope_mt.system.device import computing_in
from rope_mt.training import module as training
from rope_mt.training.callbacks.moving_average import MovingAverage
from rope_mt.training.callbacks.report import Report
from rope_mt.training.callbacks.skipping import Skipping
from rope_mt.training.module import TranslationModule
from rope_mt.translation import translator

from ..small import small_config

VOCAB = 96
SOFTMAX = [(name, "softmax") for name in SCHEMES]
LINEAR = [(name, "linear") for name, scheme in SCHEMES.items() if not scheme.acts_on_scores()]


class Words(Tokenizer):
    """Only their number."""

    def __init__(self) -> None: ...

    def __len__(self) -> int:
        return VOCAB


class RefusedError(Exception):
    pass


class Rehearsal(TorchDispatchMode):
    """Refuses more than so many questions for a value, which it answers with 0, and ops on tensors of both devices.

    meta itself lets some of these pass, as matrix products, and copies, which wait. A GPU takes one number of the CPU.
    """

    def __init__(self, questions: int = 0) -> None:
        super().__init__()
        self.questions = questions

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.questions -= 1
            if self.questions < 0:
                raise RefusedError("the device is asked for a value")
            return 0
        made = func(*args, **kwargs or {})
        tensors = [x for x in tree_leaves((args, kwargs, made)) if isinstance(x, Tensor)]
        if any(x.is_meta for x in tensors) and any(x.ndim and not x.is_meta for x in tensors):
            raise RefusedError(f"{func} waits for the CPU, or for the device")
        return made


@pytest.fixture(autouse=True)
def meta(monkeypatch):
    """Without autocast, which does not know the device, and with the kernels that torch keeps for a GPU."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    monkeypatch.setattr(clip_grad, "_device_has_foreach_support", lambda *_: True)
    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda *_: None)


def config(position: str, attention: str = "softmax", **trainer: Any) -> TrainConfig:
    cfg = small_config(["a", "a", "a"], "a", POSITION_CONFIGS[position](), log_every=50, val_every=50, **trainer)
    cfg.model.attention = attention
    return cfg


def batch(device: str) -> Batch:
    ids, where = torch.ones(3, 7, dtype=torch.int64, device=device), torch.arange(15, device=device)
    return Batch(ids, ids, where, where)


def update(cfg: TrainConfig, device: str = "meta", precision: str = "fp32", watched: Any = None) -> None:
    """Two updates with all that a run computes between two reports; the first also makes the optimizer's state."""
    data: Any = SimpleNamespace(tokenizer=Words())
    module = TranslationModule(cfg, data, precision).to(device)
    tracker: Any = None
    run = RunFolder(Path("run"))
    callbacks = [Report(run, module, tracker), Skipping(run, module)]
    if cfg.trainer.ema:
        average = MovingAverage(module, cfg.trainer.ema)
        average.model.to(device)
        callbacks.append(average)
    configured, moved = module.configure_optimizers(), batch(device)
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    with watched or Rehearsal():
        for step in (1, 2):
            for number in range(cfg.trainer.accumulate):
                with computing_in(precision, torch.device(device)):
                    loss = module.training_step(moved, number)
                loss.backward()
                if module.ends_update(number):
                    module.on_before_optimizer_step(optimizer)
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad()
                trainer: Any = SimpleNamespace(global_step=step if module.ends_update(number) else step - 1)
                for callback in callbacks:
                    callback.on_train_batch_end(trainer, module, None, moved, number)


def update_in_bf16(cfg: TrainConfig) -> None:
    """Two updates with fake tensors, which take a GPU's code paths."""
    with FakeTensorMode():
        step, _ = step_of(Transformer(cfg.model, cfg.position, VOCAB, PAD), cfg, batch("cpu"))
        step()
        step()


def tokens_of(cfg: TrainConfig, monkeypatch, lengths: list[int] | None = None) -> int:
    """The tokens that a search reads until it has asked the device for ten values and wants another one."""
    read, decode = [], Transformer.decode

    def decode_and_count(self, tgt, state):
        read.append(state.length)
        return decode(self, tgt, state)

    def search_rehearsed(*args: Any, **kwargs: Any) -> Any:
        with Rehearsal(questions=10):
            return search.beam_search(*args, **kwargs)

    monkeypatch.setattr(Transformer, "decode", decode_and_count)
    monkeypatch.setattr(translator, "beam_search", search_rehearsed)
    cfg.search.max_len_b = 100
    model = Transformer(cfg.model, cfg.position, VOCAB, PAD).to("meta").eval()
    with pytest.raises(RefusedError, match="asked"):
        translator.Translator(model, Words(), cfg.search, "fp32").hypotheses([[5, 6, 7], [8, 9]], lengths)
    assert read == [*range(len(read))]
    return len(read)


@pytest.mark.parametrize(("position", "attention"), SOFTMAX + LINEAR)
def test_an_update_asks_for_no_value_and_leaves_nothing_on_the_cpu(position, attention):
    update(config(position, attention))


@pytest.mark.parametrize("setting", ["pre", "muon", "ema", "accumulate", "favor", "cross", "yarn", "linear schedule"])
def test_nor_does_it_with_any_other_setting(setting):
    accumulate = 2 if setting == "accumulate" else 1
    attention = "linear" if setting == "favor" else "softmax"
    cfg = config("rope", attention, accumulate=accumulate, ema=0.9 if setting == "ema" else None)
    cfg.model.norm = "pre" if setting == "pre" else "post"
    cfg.model.feature_map = "favor" if setting == "favor" else "elu"
    cfg.optimizer.name = "muon" if setting == "muon" else "adam"
    cfg.optimizer.schedule = "linear" if setting == "linear schedule" else "inverse-sqrt"
    scaling = {"scaling": "yarn", "factor": 2.0, "trained": 64} if setting == "yarn" else {}
    update(replace(cfg, position=RopeConfig(cross_attention=setting == "cross", **scaling)))


@pytest.mark.parametrize("position", SCHEMES)
def test_nor_does_it_in_bf16(position, monkeypatch):
    monkeypatch.undo()  # with autocast
    update_in_bf16(config(position))


@pytest.mark.parametrize(("position", "attention"), SOFTMAX + LINEAR)
def test_search_asks_twice_a_token_whether_a_hypothesis_ends_and_how_many_sentences(position, attention, monkeypatch):
    cfg = config(position, attention)
    cfg.search.beam = 4
    assert tokens_of(cfg, monkeypatch) == 6


@pytest.mark.parametrize("lengths", [None, [3, 100]])
def test_greedy_search_and_given_lengths_ask_no_more(lengths, monkeypatch):
    assert tokens_of(config("rope"), monkeypatch, lengths) == 6


ROTATE, TABLE = RotaryPosition.rotate, torch.eye(8)
MUTANTS = {  # how a scheme rotates that is not ready for a GPU, and what is said of it
    "with a table on the CPU": (lambda rope, x, turns: ROTATE(rope, x, turns) @ TABLE, "waits"),
    "with a table that it copies": (lambda rope, x, turns: ROTATE(rope, x, turns) @ TABLE.to(x.device), "waits"),
    "if there is an angle": (lambda rope, x, turns: ROTATE(rope, x, turns) if (turns != 0).any() else x, "asked"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_scheme_that_is_not_ready_for_a_gpu_is_noticed(mutant, monkeypatch):
    rotate, said = MUTANTS[mutant]
    monkeypatch.setattr(RotaryPosition, "rotate", rotate)
    with pytest.raises(RefusedError, match=said):
        update(config("rope"))


def test_a_scheme_that_looks_at_values_is_noticed_in_bf16(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(RotaryPosition, "rotate", MUTANTS["if there is an angle"][0])
    with pytest.raises(DataDependentOutputException):
        update_in_bf16(config("rope"))


def test_an_update_that_looks_at_its_gradient_is_noticed(monkeypatch):
    honest = training.norm_of
    monkeypatch.setattr(training, "norm_of", lambda *args: torch.tensor(honest(*args).item()))
    with pytest.raises(RefusedError, match="asked"):
        update(config("rope"))


def test_a_search_that_looks_at_its_scores_is_noticed(monkeypatch):
    honest = search.largest
    monkeypatch.setattr(search, "largest", lambda x, k: honest(x, k + int(x.isnan().any())))
    assert tokens_of(config("rope"), monkeypatch) < 6


def test_a_search_that_keeps_a_tensor_on_the_cpu_is_noticed(monkeypatch):
    honest, weights = search.largest, torch.ones(VOCAB)
    monkeypatch.setattr(search, "largest", lambda x, k: honest(x * weights, k))
    with pytest.raises(RuntimeError, match="not on the expected device"):
        tokens_of(config("rope"), monkeypatch)
