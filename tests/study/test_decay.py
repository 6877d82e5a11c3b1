"""RoFormer's bound against its equation and published values, and attention weights by distance against softmax."""

import cmath
import math

import numpy as np
import pytest
import torch

from rope_mt.cli.main import main
from rope_mt.config.position import POSITION_CONFIGS, NoPositionConfig, RelativeConfig, RopeConfig
from rope_mt.config.training import ModelConfig
from rope_mt.data.tokenizer import BOS, EOS, PAD
from rope_mt.model.transformer import Transformer
from rope_mt.position import AttentionShape, build_position
from rope_mt.runs import checkpoint
from rope_mt.study.analyze.decay import AttentionByDistance, attention_by_distance, decay

from .made_runs import csv_rows


def test_bound_and_product_are_the_equations_written_out():
    d, theta = 10, 500.0
    angles = [theta ** (-2 * i / d) for i in range(d // 2)]
    for r in (0, 3, 41):
        partial = [abs(sum(cmath.exp(1j * r * angle) for angle in angles[:j])) for j in range(1, d // 2 + 1)]
        bound, product = decay(d, theta, np.array([r]))
        assert bound[0] == pytest.approx(sum(partial) / (d // 2))
        assert product[0] == pytest.approx(sum(2 * math.cos(r * angle) for angle in angles))


def model(position) -> Transformer:
    torch.manual_seed(0)
    cfg = ModelConfig("test", d_model=12, d_ff=20, n_heads=2, n_layers=2, dropout=0.0)
    return Transformer(cfg, position, vocab_size=31, pad=PAD).eval()


KEYS_ALONE = RelativeConfig(values=False)
SRC = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]
TGT = [[5, 6, 7], [8, 9, 10, 11], [12]]


def test_the_weights_of_a_query_sum_to_1_and_each_pair_counts_once():
    for name, stack in attention_by_distance(model(RopeConfig()), SRC, TGT, n_heads=2).items():
        sides = SRC if name == "encoder" else TGT
        queries = sum(len(ids) + 1 for ids in sides)  # with eos, or bos
        assert stack.sums.sum(dim=-1).numpy() == pytest.approx(queries)
        pairs = [(len(ids) + 1) ** 2 for ids in sides]
        if name == "decoder":
            pairs = [(len(ids) + 1) * (len(ids) + 2) // 2 for ids in sides]
            assert stack.distance[0] == 0
        assert int(stack.pairs.sum()) == sum(pairs)


def test_the_weights_are_those_of_softmax_written_out():
    """Of the encoder's first layer."""
    net = model(RopeConfig())
    attention, scheme = net.encoder.layers[0].attention, net.encoder.scheme(0)
    expected, pairs = np.zeros((2, 11)), np.zeros(11)
    with torch.inference_mode():
        for ids in SRC:
            x = net._embed(torch.tensor([[*ids, EOS]]))
            n = x.shape[1]
            q, k, _ = attention.qkv(x).unflatten(-1, (3, 2, 6)).permute(2, 0, 3, 1, 4)
            q, k = (scheme.rotate(t, scheme.turns(torch.arange(n)))[0].double() for t in (q, k))
            weights = (q @ k.transpose(1, 2) / math.sqrt(6)).softmax(-1).numpy()
            for m in range(n):
                for i in range(n):
                    expected[:, m - i + 5] += weights[:, m, i]
                    pairs[m - i + 5] += 1
    stack = attention_by_distance(net, SRC, TGT, n_heads=2)["encoder"]
    assert stack.sums[0] / stack.pairs == pytest.approx(expected / pairs, rel=1e-4)


def test_without_queries_and_keys_attention_is_uniform():
    """All scores 0: a decoder's query at place m gives each of its m + 1 keys the same, whatever the distance."""
    net = model(NoPositionConfig())
    for layer in (*net.encoder.layers, *net.decoder.layers):
        torch.nn.init.zeros_(layer.attention.qkv.weight)
    stacks = attention_by_distance(net, SRC, TGT, n_heads=2)
    places = [m for ids in TGT for m in range(len(ids) + 1)]
    uniform = [np.mean([1 / (m + 1) for m in places if m >= r]) for r in range(5)]
    assert stacks["decoder"].sums / stacks["decoder"].pairs == pytest.approx(np.broadcast_to(uniform, (2, 2, 5)))
    away = [abs(m - n) / (len(ids) + 1) for ids in SRC for m in range(len(ids) + 1) for n in range(len(ids) + 1)]
    assert stacks["encoder"].mean_distances() == pytest.approx(3 * [sum(away) / sum(len(ids) + 1 for ids in SRC)])
    for stack in stacks.values():
        assert stack.over_uniform() == pytest.approx(np.ones_like(stack.over_uniform()))
        assert stack.mean_distances() == pytest.approx([stack.mean_distances()[-1]] * 3)


def test_uniform_attention_is_the_same_for_every_model():
    other = attention_by_distance(model(NoPositionConfig()), SRC, TGT, n_heads=2)
    for name, stack in attention_by_distance(model(RopeConfig()), SRC, TGT, n_heads=2).items():
        assert torch.equal(stack.uniform, other[name].uniform)
        assert not np.allclose(stack.over_uniform(), 1)


@pytest.mark.parametrize("position", [*(scheme() for scheme in POSITION_CONFIGS.values()), KEYS_ALONE], ids=str)
def test_watching_changes_nothing(position):
    net, src, tgt = model(position), torch.tensor([[*SRC[0], EOS]]), torch.tensor([[BOS, *TGT[0]]])
    before = net(src, tgt)
    for stack, ids in ((net.encoder, src), (net.decoder, tgt)):
        watching = AttentionByDistance(stack, n_heads=2, longest=ids.shape[1] - 1)
    torch.testing.assert_close(net(src, tgt), before)
    assert watching.sums[-1].sum().item() == pytest.approx(2 * tgt.shape[1])


def test_the_command_writes_the_figure_and_its_numbers(tmp_path, capsys):
    assert main(["analyze", "decay", "--longest", "100", "--out", str(tmp_path / "new" / "fall")]) == 0
    assert "d = 128, theta = 10000" in capsys.readouterr().out
    assert (tmp_path / "new" / "fall.png").read_bytes().startswith(b"\x89PNG")
    numbers = csv_rows(tmp_path / "new" / "fall.csv")
    assert len(numbers) == 101
    for distance, bound in {0: 32.5, 1: 31.5, 4: 22.6, 8: 19.8, 16: 15.8, 32: 13.4, 64: 10.1}.items():  # of figure 2
        assert float(numbers[distance]["relative bound"]) == pytest.approx(bound, abs=0.05)
    assert float(numbers[0]["inner product"]) == 128


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.01])
def test_the_bound_is_that_of_the_rotated_features(fraction):
    position = RopeConfig(fraction=fraction)
    rope = build_position(position, AttentionShape(32, 2, causal=False))
    rotated = rope.rotate(torch.ones(1, 1, 1, 16), rope.turns(torch.tensor([50_000])))
    assert int((rotated != 1).sum()) == position.rotated_features(d_head=16)


def test_a_run_brings_its_head_and_its_attention(runs, tmp_path, capsys):
    assert main(["analyze", "decay", str(runs["rope"]), "--out", str(tmp_path / "fall")]) == 0
    printed = capsys.readouterr().out
    assert "d = 16, theta = 10000" in printed
    assert "17 sentences" in printed
    numbers = csv_rows(tmp_path / "fall-attention.csv")
    assert {(row["stack"], row["layer"], row["head"]) for row in numbers} == {
        (stack, layer, head) for stack in ("encoder", "decoder") for layer in "12" for head in "12"
    }
    assert (tmp_path / "fall-attention.png").stat().st_size > 10_000


def test_linear_attention_has_no_weights_to_show(runs, tmp_path, capsys):
    ckpt = checkpoint.load(runs["rope"])
    ckpt.config.model.attention = "linear"
    checkpoint.write(tmp_path / "linear", ckpt)
    assert main(["analyze", "decay", str(tmp_path / "linear"), "--out", str(tmp_path / "fall")]) == 2
    assert "linear attention, which makes no weights" in capsys.readouterr().err
