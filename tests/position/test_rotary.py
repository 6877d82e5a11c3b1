"""RoPE: the forms that RoFormer writes it in, and what follows from them."""

import math

import pytest
import torch

from rope_mt.config.position import RopeConfig
from rope_mt.position import AttentionShape, rotary
from rope_mt.position.rotary import RotaryPosition


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rope(d_head: int, theta: float = 10_000.0) -> RotaryPosition:
    return RotaryPosition(RopeConfig(theta=theta), AttentionShape(d_model=d_head, n_heads=1, causal=False))


@pytest.fixture(autouse=True, params=["complex", "real"])
def form(request, monkeypatch):
    """Of the products: that of a CPU and that of a GPU."""
    monkeypatch.setattr(rotary, "on_cpu", lambda x: request.param == "complex")


def turn(scheme: RotaryPosition, x: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
    return scheme.rotate(x, scheme.turns(pos))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 5e-3), (torch.bfloat16, 0.25)])
@pytest.mark.parametrize("shift", [1, 300, 4000])
def test_rope_scores_depend_only_on_the_distance(shift, dtype, atol):
    q, k = random(2, 1, 1, 7, 64).to(dtype)
    m = torch.arange(7)

    def scores(by: int) -> torch.Tensor:
        return (turn(rope(64), q, m + by).float() * turn(rope(64), k, m + 3 + by).float()).sum(-1)

    torch.testing.assert_close(scores(shift), scores(0), atol=atol, rtol=0)


def dense_rotation(m: int, d_head: int, theta: float) -> torch.Tensor:
    """R_m of eq. 15 written out, block by block, in float64."""
    matrix = torch.zeros(d_head, d_head, dtype=torch.float64)
    for i in range(d_head // 2):
        angle = m * theta ** (-2 * i / d_head)
        block = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        matrix[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor(block, dtype=torch.float64)
    return matrix


@pytest.mark.parametrize("theta", [10_000.0, 500.0])
@pytest.mark.parametrize("m", [0, 1, 3, 17, 40, 500])
def test_rope_equals_the_dense_matrix_of_eq_15(m, theta):
    """The other forms of the paper, eq. 12 and 16, and that norms are kept follow from it."""
    x = random(1, 1, 1, 10)
    expected = dense_rotation(m, 10, theta) @ x[0, 0, 0].double()
    turned = turn(rope(10, theta), x, torch.tensor([m]))[0, 0, 0].double()
    torch.testing.assert_close(turned, expected, atol=1e-4, rtol=0)


def test_rope_takes_a_position_for_each_sentence_and_leaves_position_0_alone():
    x = random(2, 3, 5, 8)
    pos = torch.tensor([[0, 1, 2, 3, 4], [7, 8, 0, 1, 2]])
    turned = turn(rope(8), x, pos)
    for row in range(2):
        assert torch.equal(turned[row : row + 1], turn(rope(8), x[row : row + 1], pos[row]))
    assert torch.equal(turned[0, :, 0], x[0, :, 0])


def test_rope_angles_are_float32_even_under_bf16():
    """bfloat16 cannot tell position 4001 from 4000; float32 angles can."""
    x = torch.ones(1, 1, 1, 2, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        a, b = (turn(rope(2), x, torch.tensor([m])) for m in (4000, 4001))
    assert (a - b).abs().max() > 0.1


def test_rope_refuses_an_odd_head():
    with pytest.raises(ValueError, match="even"):
        rope(7)


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_the_two_layouts_are_one_model_under_a_permutation_of_the_head(fraction):
    """Queries and keys whose features are permuted get the same scores in the other layout."""
    shape = AttentionShape(d_model=12, n_heads=1, causal=False)
    adjacent, halves = (RotaryPosition(RopeConfig(layout=x, fraction=fraction), shape) for x in ("interleaved", "half"))
    turned = 2 * round(fraction * 6)
    order = [*range(0, turned, 2), *range(1, turned, 2), *range(turned, 12)]
    x, pos = random(2, 3, 5, 12), torch.tensor([0, 1, 7, 40, 3])
    torch.testing.assert_close(turn(halves, x[..., order], pos), turn(adjacent, x, pos)[..., order])
    assert not torch.allclose(turn(halves, x, pos), turn(adjacent, x, pos))


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_a_fraction_turns_the_first_features_as_a_smaller_head_and_leaves_the_others(layout):
    shape = AttentionShape(d_model=12, n_heads=1, causal=False)
    x, pos = random(2, 3, 5, 12), torch.arange(5)
    part = turn(RotaryPosition(RopeConfig(fraction=1 / 3, layout=layout), shape), x, pos)
    whole = turn(RotaryPosition(RopeConfig(layout=layout), AttentionShape(4, 1, causal=False)), x[..., :4], pos)
    assert torch.equal(part[..., :4], whole)
    assert torch.equal(part[..., 4:], x[..., 4:])


def test_the_pairs_that_are_kept_have_the_frequencies_of_the_whole_head():
    """By hand: of the angles 1 and 0.1 the second is set to 0, and 1 rotates (1, 1) to (cos - sin, cos + sin)."""
    scheme = RotaryPosition(RopeConfig(theta=100, kept=0.5, layout="half"), AttentionShape(4, 1, causal=False))
    [[[row]]] = turn(scheme, torch.ones(1, 1, 1, 4), torch.tensor([1])).tolist()
    assert row == pytest.approx([-0.30117, 1, 1.38177, 1], abs=1e-5)
