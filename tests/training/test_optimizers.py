"""Adam and Muon do what their authors say, each to its own weights, and skip an update where they are told to."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rope_mt.config.position import DebertaConfig, FireConfig, RopeConfig, TransformerXLConfig, TupeConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig
from rope_mt.model.transformer import Transformer
from rope_mt.training.optimizers import before_step, configured, fraction_of_peak, orthogonal

MODEL = ModelConfig("test", d_model=16, d_ff=40, n_heads=2, n_layers=2, dropout=0.0)
CONFIG = OptimizerConfig(lr=1e-2, warmup_steps=3)
MUON = replace(CONFIG, name="muon", schedule="linear", weight_decay=0.1, muon_lr=2e-2)
STEPS = 7


def transformer(position=None) -> Transformer:
    torch.manual_seed(0)
    return Transformer(MODEL, position or RopeConfig(), vocab_size=31, pad=0)


def learn(model: Transformer, seed: int) -> None:
    """Give all weights the gradients of one batch."""
    model.zero_grad()
    src, tgt = torch.randint(4, 31, (2, 3, 5), generator=torch.Generator().manual_seed(seed))
    F.cross_entropy(model(src, tgt).flatten(0, 1), tgt.flatten()).backward()


def trained(model: Transformer, cfg: OptimizerConfig) -> Transformer:
    made = configured(model, cfg, STEPS, "fp32")
    for step in range(STEPS):
        learn(model, step)
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return model


@pytest.mark.parametrize(("decay", "kind"), [(0.0, torch.optim.Adam), (0.1, torch.optim.AdamW)])
def test_adam_is_that_of_torch_to_the_last_bit(decay, kind):
    by_hand, cfg = transformer(), replace(CONFIG, weight_decay=decay)
    optimizer = kind(by_hand.parameters(), betas=(0.9, 0.98), eps=1e-9, weight_decay=decay, fused=True)
    for step in range(STEPS):
        learn(by_hand, step)
        optimizer.param_groups[0]["lr"] = 1e-2 * min((step + 1) / 3, (3 / (step + 1)) ** 0.5)
        optimizer.step()
    for ours, theirs in zip(trained(transformer(), cfg).parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("position", "projections"),
    [
        (RopeConfig(), []),
        (TransformerXLConfig(), [f"{layer}.project" for layer in (0, 1)]),
        (DebertaConfig(clip=MODEL.d_model), [f"{layer}.{name}" for layer in (0, 1) for name in ("keys", "queries")]),
        (TupeConfig(), ["0.keys", "0.queries"]),
        (FireConfig(), []),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_muon_has_the_matrices_of_layers_and_schemes_and_adam_has_all_other_weights(position, projections):
    model = transformer(position)
    adam, *muon = configured(model, MUON, STEPS, "fp32")["optimizer"].param_groups
    names = {id(weight): name for name, weight in model.named_parameters()}
    matrices = [names.pop(id(weight)) for group in muon for weight in group["params"]]
    others = [names.pop(id(weight)) for weight in adam["params"]]
    assert not names
    # of each layer of the encoder: qkv, out, inner, outer; of the decoder's also q, kv and out of cross-attention
    of_schemes = {name for name in matrices if ".positions." in name}
    stacks = ("encoder", "decoder")
    assert of_schemes == {f"{stack}.positions.{name}.weight" for stack in stacks for name in projections}
    assert len(matrices) == MODEL.n_layers * (4 + 7) + len(of_schemes)
    assert all(name.endswith(".weight") for name in matrices)
    assert all(".layers." not in name or ".norm." in name or name.endswith(".bias") for name in others)
    assert {name.split(".")[0] for name in others} == {"embedding", "encoder", "decoder"}


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_an_update_of_muon_is_orthogonal_in_each_fused_part_however_small_its_gradient(precision):
    model = transformer()
    optimizer = configured(model, replace(MUON, weight_decay=0.0, warmup_steps=1), STEPS, precision)["optimizer"]
    layer = model.decoder.layers[1]
    parts = {layer.attention.qkv: 3, layer.cross_attention.kv: 2, layer.cross_attention.q: 1, layer.attention.out: 1}
    parts |= {layer.feed_forward.inner: 1, layer.feed_forward.outer: 1}
    before = {linear: linear.weight.detach().clone() for linear in parts}
    generator = torch.Generator().manual_seed(0)
    for linear, n in parts.items():
        gradients = []
        for part in range(n):
            u, s, v = torch.linalg.svd(torch.randn(linear.weight.chunk(n)[0].shape, generator=generator), False)
            gradients.append(100.0**-part * u @ torch.diag(torch.linspace(0.1, 1.0, len(s))) @ v)
        linear.weight.grad = torch.cat(gradients)
    optimizer.step()
    for linear, n in parts.items():
        for update in (before[linear] - linear.weight.detach()).chunk(n):
            values = torch.linalg.svdvals(update) / (2e-2 * 0.2 * max(update.shape) ** 0.5)
            assert values.min() > 0.5
            assert values.max() < 1.5


@pytest.mark.parametrize("shape", [(12, 12), (30, 12), (12, 30)])
def test_in_fp32_muon_changes_singular_values_by_its_polynomial(shape):
    u, s, v = torch.linalg.svd(torch.randn(shape, generator=torch.Generator().manual_seed(0)).double(), False)
    moved = s / s.norm()
    for _ in range(5):
        moved = 3.4445 * moved - 4.7750 * moved**3 + 2.0315 * moved**5
    [made] = orthogonal((u @ torch.diag(s) @ v).float()[None], torch.float32)
    torch.testing.assert_close(made, (u @ torch.diag(moved) @ v).float(), rtol=0, atol=1e-5)


def test_muon_trains_fused_parts_as_if_each_were_a_weight_of_its_own():
    """To a last digit of bf16, in which torch multiplies matrices one by one, and Muon here several together.

    Adam trains the others as if it were alone, to the last bit. Over several steps with decay.
    """
    model = transformer()
    copied = copy.deepcopy(model)
    alone = []  # a weight in training beside the model's, where it lies in the model, and its gradient
    for (name, weight), start in zip(model.named_parameters(), copied.parameters(), strict=True):
        n = {"qkv": 3, "kv": 2}.get(name.split(".")[-2], 1)
        matrix = ".layers." in name and weight.ndim == 2
        for part, begin in enumerate(start.detach().chunk(n)):
            alone.append((begin.clone().requires_grad_(), weight, n, part, matrix))
    muon = torch.optim.Muon([own for own, *_, m in alone if m], 2e-2, 0.1, 0.95, adjust_lr_fn="match_rms_adamw")
    others = [own for own, *_, m in alone if not m]
    adam = torch.optim.AdamW(others, 1e-2, (0.9, 0.98), 1e-9, weight_decay=0.1, fused=True)
    made = configured(model, MUON, STEPS, "bf16")  # as torch's always is
    for step in range(STEPS):
        learn(model, step)
        for own, weight, n, part, _ in alone:
            own.grad = weight.grad.chunk(n)[part].clone()
        for optimizer, peak in ((muon, 2e-2), (adam, 1e-2)):
            optimizer.param_groups[0]["lr"] = peak * fraction_of_peak(MUON, STEPS)(step)
            optimizer.step()
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
        for own, weight, n, part, matrix in alone:
            torch.testing.assert_close(weight.chunk(n)[part], own, rtol=0, atol=1e-4 if matrix else 0)
    made["optimizer"].zero_grad()
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({}, {1: 1 / 20, 20: 1.0, 80: 0.5, 100: 0.2**0.5}),
        ({"schedule": "linear"}, {1: 1 / 20, 10: 0.5, 20: 1.0, 21: 80 / 81, 100: 1 / 81, 101: 0.0, 150: 0.0}),
        ({"schedule": "linear", "cooldown": 0.4}, {10: 0.5, 20: 1.0, 60: 1.0, 61: 40 / 41, 100: 1 / 41, 101: 0.0}),
        ({"schedule": "linear", "cooldown": 0.0}, {20: 1.0, 100: 1.0}),
        ({"schedule": "linear", "warmup_steps": 200}, {1: 1 / 200, 100: 0.5}),
    ],
    ids=["inverse-sqrt", "linear", "constant, then linear", "constant", "warm-up beyond the end"],
)
def test_the_learning_rate_is_at_each_update_what_the_formula_says(settings, shares):
    share = fraction_of_peak(replace(CONFIG, **{"warmup_steps": 20, **settings}), max_steps=100)
    assert {n: share(n - 1) for n in shares} == pytest.approx(shares)


@pytest.mark.parametrize("cfg", [CONFIG, MUON], ids=["adam", "muon"])
def test_a_skipped_step_changes_nothing(cfg):
    """This holds for the first step too. The other steps are to the last bit those of training without it."""
    expected, model = trained(transformer(), cfg), transformer()
    made = configured(model, cfg, STEPS, "fp32")
    optimizer = made["optimizer"]
    for step in range(STEPS):
        if step in (0, 3):
            learn(model, step)
            for weight in model.parameters():
                weight.grad.fill_(torch.nan)
            before = copy.deepcopy([model.state_dict(), optimizer.state_dict()])
            before_step(optimizer, torch.tensor(1.0), skip=torch.tensor(1.0))
            optimizer.step()
            assert all(weight.equal(before[0][name]) for name, weight in model.state_dict().items())
            for weight, state in before[1]["state"].items():
                assert all(value.equal(optimizer.state_dict()["state"][weight][name]) for name, value in state.items())
        learn(model, step)
        before_step(optimizer, torch.tensor(1.0), skip=torch.tensor(0.0))
        optimizer.step()
        made["lr_scheduler"]["scheduler"].step()
    assert all(weight.equal(expected.state_dict()[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("cfg", [CONFIG, MUON], ids=["adam", "muon"])
def test_gradients_are_divided_as_the_next_step_is_told(cfg):
    expected, model = trained(transformer(), cfg), transformer()
    made = configured(model, cfg, STEPS, "fp32")
    for step in range(STEPS):
        learn(model, step)
        for weight in model.parameters():
            weight.grad.mul_(8)  # which rounds nothing
        before_step(made["optimizer"], torch.tensor(8.0), skip=torch.tensor(0.0))
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert all(weight.equal(expected.state_dict()[name]) for name, weight in model.state_dict().items())
