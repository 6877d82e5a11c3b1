"""On a GPU: what a CPU computes, in fp32 and bf16, without waiting for the device, and through an interruption."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rope_mt.bench.count import batch_of, count, step_of
from rope_mt.bench.steps import as_trained
from rope_mt.config.commands import BenchTrainConfig, BenchTrainSettings, TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.config.training import ModelConfig
from rope_mt.data.batches import Batch
from rope_mt.data.tokenizer import PAD
from rope_mt.errors import UserError
from rope_mt.model.transformer import Transformer
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.system.device import computing_in
from rope_mt.training.module import TranslationModule, loss_of
from rope_mt.training.train import train
from rope_mt.translation.translator import Translator

from ..small import rows, small_config, write_corpus
from ..training.killed_run import killed_at
from ..training.test_rehearsal import LINEAR, SOFTMAX, VOCAB, Words, config, update

GPU = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
of_all_schemes = pytest.mark.parametrize(("position", "attention"), SOFTMAX + LINEAR)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(1)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whatever waits for the GPU raises."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def loss_and_gradients(model: Transformer, device: str, precision: str = "fp32") -> tuple[float, Tensor]:
    """Of 24 pairs of up to 40 tokens, without dropout; all gradients one after the other."""
    model = model.to(device).eval()
    model.zero_grad()
    torch.manual_seed(2)
    src, tgt = torch.randint(PAD + 1, VOCAB, (2, 24, 40))
    src[torch.arange(40) > torch.randint(5, 40, (24, 1))] = PAD
    where = (torch.arange(40) <= torch.randint(5, 40, (24, 1))).flatten().nonzero().flatten()
    batch = Batch(*(part.to(device) for part in (src, tgt, tgt.flatten()[where], where)))
    with computing_in(precision, torch.device(device)):
        loss = loss_of(model, batch, 0.1)
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None])


@of_all_schemes
def test_loss_and_gradients_are_those_of_a_cpu_in_fp32_and_near_in_bf16(position, attention):
    cfg = config(position, attention)
    model = Transformer(cfg.model, cfg.position, VOCAB, PAD)
    loss, gradients = loss_and_gradients(model, "cpu")
    found, of_gpu = loss_and_gradients(model, GPU)
    assert found == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(of_gpu, gradients, rtol=1e-3, atol=1e-4 * float(gradients.abs().max()))
    rounded, in_bf16 = loss_and_gradients(model, GPU, "bf16")
    assert rounded == pytest.approx(loss, rel=0.01)
    assert torch.cosine_similarity(in_bf16, gradients, dim=0) > 0.99


@of_all_schemes
def test_a_beam_scores_what_it_does_on_a_cpu(position, attention):
    cfg = config(position, attention)
    cfg.search.beam = 4
    model = Transformer(cfg.model, cfg.position, VOCAB, PAD).eval()
    sources = torch.randint(PAD + 1, VOCAB, (12, 20)).tolist()
    sources = [source[: 3 + number] for number, source in enumerate(sources)]
    search = partial(Translator, tokenizer=Words(), search=cfg.search, precision="fp32")
    scores = [
        [best[0].score for best in search(model.to(device)).hypotheses(sources, [20] * 12)] for device in ("cpu", GPU)
    ]
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)


@of_all_schemes
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_update_does_not_wait(position, attention, precision):
    update(config(position, attention), GPU, precision, no_waiting())


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_nor_does_it_with_accumulation_and_a_moving_average(optimizer):
    cfg = config("rope", accumulate=2, ema=0.9)
    cfg.optimizer.name, cfg.model.norm = optimizer, "pre"
    update(cfg, GPU, "bf16", no_waiting())


def test_waiting_is_noticed():
    with pytest.raises(RuntimeError), no_waiting():
        torch.ones(3, device=GPU).sum().item()


@pytest.fixture
def cfg(tmp_path) -> TrainConfig:
    """Eight steps, with a validation and a checkpoint after four."""
    trainer = {"max_steps": 8, "val_every": 4, "log_every": 4, "precision": "bf16", "ema": 0.9, "devices": 1}
    made = small_config(write_corpus(tmp_path / "text"), tmp_path / "data", **trainer)
    made.trainer.device = GPU
    return made


def test_a_whole_run_waits_only_when_it_reports(cfg, tmp_path, monkeypatch):
    begin, watched = TranslationModule.on_train_batch_start, []

    def on_train_batch_start(self, batch, batch_idx):
        step = self.global_step + 1
        mode = "error" if step % 4 in (2, 3) else "default"  # step 1 begins, 4 reports, 5 comes after a validation
        watched.append(mode)
        torch.cuda.set_sync_debug_mode(mode)
        begin(self, batch, batch_idx)

    monkeypatch.setattr(TranslationModule, "on_train_batch_start", on_train_batch_start)
    train(cfg, tmp_path / "run")
    assert watched.count("error") == 4


def test_a_run_that_died_goes_on_as_if_it_had_not(cfg, tmp_path):
    train(cfg, tmp_path / "whole")
    with killed_at(6):
        train(cfg, tmp_path / "died")
    train(cfg, tmp_path / "died")
    runs = [RunFolder(tmp_path / name) for name in ("whole", "died")]
    losses = [[row["train/loss"] for row in rows(run) if "train/loss" in row] for run in runs]
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    weights = [checkpoint.load(run.path).weights for run in runs]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=0, atol=1e-3)


@pytest.mark.parametrize("position", ["sinusoidal-add", "rope", "relative"])
def test_a_step_takes_the_memory_that_was_counted(position):
    model = ModelConfig("small", d_model=256, d_ff=1024, n_heads=4, n_layers=3, dropout=0.1)
    data, settings = DataConfig("wmt14", "a", "a", "a", batch_tokens=25_000), BenchTrainSettings(count=True)
    cfg = BenchTrainConfig(data=data, bench=settings, model=model, position=POSITION_CONFIGS[position]())
    counted = 1e9 * count(cfg)["peak memory, GB"]
    gc.collect()
    before = torch.cuda.memory_allocated()
    transformer = Transformer(model, cfg.position, data.vocab_size, PAD).to(GPU)
    step, _ = step_of(transformer, as_trained(cfg, cfg.position), batch_of(cfg, GPU))
    step()
    torch.cuda.reset_peak_memory_stats()
    step()
    assert torch.cuda.max_memory_allocated() - before == pytest.approx(counted, rel=0.1)


def test_compiled_training_has_the_losses_of_eager_training():
    soak = Path(__file__).parents[1] / "soak" / "compiled.py"
    subprocess.run([sys.executable, soak, "inductor", GPU, "sinusoidal-add", "rope", "t5"], check=True)


def test_more_processes_than_gpus_are_refused(cfg, tmp_path):
    cfg.trainer.devices = torch.cuda.device_count() + 1
    with pytest.raises(UserError, match="GPUs"):
        train(cfg, tmp_path / "run")
