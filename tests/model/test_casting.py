"""Training in bf16: weights are cast once, all gradients arrive in float32, and are those of fp32 but for rounding."""

from dataclasses import replace

import pytest
import torch

from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.config.training import ModelConfig
from rope_mt.model import casting
from rope_mt.model.transformer import Transformer
from rope_mt.position import SCHEMES

MODEL = ModelConfig("test", d_model=24, d_ff=40, n_heads=3, n_layers=2, dropout=0.0)
LINEAR = replace(MODEL, attention="linear", norm="pre")
WITHOUT_SCORES = [name for name, scheme in SCHEMES.items() if not scheme.acts_on_scores()]
MODELS = [*((MODEL, name) for name in SCHEMES), *((LINEAR, name) for name in WITHOUT_SCORES)]


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(casting, "on_cpu", lambda x: False)


def gradients(model: Transformer, autocast: bool) -> dict[str, torch.Tensor]:
    src, tgt = torch.randint(4, 31, (2, 3, 9), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        hidden = model.decode(tgt, model.encode(src))
        loss = model.logits(hidden).float().logsumexp(-1).mean()
    model.zero_grad()
    loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(("cfg", "name"), MODELS, ids=lambda x: x if isinstance(x, str) else x.attention)
def test_gradients_are_those_of_fp32_but_for_rounding(cfg, name):
    torch.manual_seed(0)
    model = Transformer(cfg, POSITION_CONFIGS[name](), vocab_size=31, pad=0)
    exact, ours = gradients(model, autocast=False), gradients(model, autocast=True)
    assert ours.keys() == exact.keys() == dict(model.named_parameters()).keys()
    assert {gradient.dtype for gradient in ours.values()} == {torch.float32}
    both = [torch.cat([gradient.flatten() for gradient in of.values()]) for of in (ours, exact)]
    assert torch.nn.functional.cosine_similarity(*both, dim=0) > 0.999
    assert not torch.equal(*both)


def test_a_layer_is_cast_in_training_alone(monkeypatch):
    """Decoding in threads shares the layers, and must not exchange their weights."""
    model, calls = Transformer(MODEL, POSITION_CONFIGS["rope"](), vocab_size=31, pad=0), []
    cast = casting._Cast.apply
    monkeypatch.setattr(casting._Cast, "apply", lambda *args: calls.append(len(args)) or cast(*args))
    with torch.no_grad():
        src = torch.randint(4, 31, (1, 5))
        with torch.autocast("cpu", torch.bfloat16):
            model(src, src)
    assert not calls
    gradients(model, autocast=True)
    assert calls == [1 + 12, 1 + 12, 1 + 18, 1 + 18]
