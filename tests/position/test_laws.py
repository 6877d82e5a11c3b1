"""The laws that every position scheme obeys: they find new schemes through SCHEMES."""

from dataclasses import replace

import pytest
import torch

from rope_mt.config.position import POSITION_CONFIGS, AlibiConfig, PositionConfig, RelativeConfig, RopeConfig
from rope_mt.config.training import ModelConfig
from rope_mt.errors import UserError
from rope_mt.model.attention import SelfAttention, Visible
from rope_mt.model.transformer import Transformer
from rope_mt.position import SCHEMES, AttentionShape, build_position

from . import readme_example

PAD = 0
MODEL = ModelConfig("test", d_model=24, d_ff=40, n_heads=3, n_layers=2, dropout=0.0)
LINEAR = replace(MODEL, attention="linear")
FAVOR = replace(LINEAR, feature_map="favor", n_features=16)


def scheme_config(cls: type[PositionConfig]) -> PositionConfig:
    """The defaults, with a table that is long enough for the shifts tried here, and a threshold that they pass."""
    settings = {"max_len": 5000, "threshold": 1}
    return cls(**{name: value for name, value in settings.items() if hasattr(cls, name)})


CLASSES = {**SCHEMES, readme_example.NAME: readme_example.SCHEME}
CONFIGS = {**POSITION_CONFIGS, readme_example.NAME: readme_example.CONFIG}
DEFAULTS = {name: scheme_config(cls) for name, cls in CONFIGS.items()}
VARIANTS = {
    "alibi, heads that look to one side": AlibiConfig(sides="split"),
    "rope, half": RopeConfig(layout="half"),
    "rope, half of the head": RopeConfig(fraction=0.5),
    "rope, half of the head in halves": RopeConfig(fraction=0.5, layout="half"),
    "rope, linear": RopeConfig(scaling="linear", factor=2),
    "rope, ntk": RopeConfig(scaling="ntk", factor=4),
    "rope, yarn": RopeConfig(scaling="yarn", factor=4, trained=40),
    "rope, dynamic": RopeConfig(scaling="dynamic", factor=4, trained=3),
    "rope, low frequencies set to 0": RopeConfig(kept=0.5),
    "rope, cross-attention": RopeConfig(cross_attention=True),
    "relative, keys alone": RelativeConfig(values=False),
}
SOFTMAX = {name: (MODEL, cfg) for name, cfg in {**DEFAULTS, **VARIANTS}.items()}
PRE_NORM = {f"{name}, pre-norm": (replace(MODEL, norm="pre"), cfg) for name, cfg in DEFAULTS.items()}
WITHOUT_SCORES = {name: cfg for name, cfg in DEFAULTS.items() if not CLASSES[name].acts_on_scores()}
SUMS = {f"{name}, linear": (LINEAR, cfg) for name, cfg in WITHOUT_SCORES.items()}
SUMS |= {"rope, favor": (FAVOR, RopeConfig()), "none, favor": (FAVOR, DEFAULTS["none"])}

every_scheme = pytest.mark.parametrize("name", sorted(CLASSES))
every_model = pytest.mark.parametrize("name", sorted({**SOFTMAX, **SUMS}))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def transformer(name: str) -> Transformer:
    """A model whose positions count: some of their parameters begin at 0, and here all are drawn."""
    torch.manual_seed(0)
    model = Transformer(*{**SOFTMAX, **SUMS, **PRE_NORM}[name], vocab_size=31, pad=PAD).eval()
    for stack in (model.encoder, model.decoder):
        for weight in stack.positions.parameters():
            torch.nn.init.normal_(weight)
    return model


def sentences(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(4, 31, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_every_scheme_has_a_configuration_of_its_name():
    assert SCHEMES.keys() == POSITION_CONFIGS.keys() == DEFAULTS.keys()


@every_scheme
def test_linear_attention_refuses_the_schemes_that_act_on_scores_and_no_other(name):
    scheme = build_position(DEFAULTS[name], AttentionShape(24, 3, causal=False))
    x, pos = random(1, 3, 4, 8), torch.arange(4)
    terms = (scheme.position_bias(pos, pos), scheme.content_bias(x, x, pos, pos))
    acts = scheme.has_value_term or scheme.n_terms != 1 or any(term is not None for term in terms)
    assert acts == CLASSES[name].acts_on_scores()
    if acts:
        with pytest.raises(UserError, match=f"^position={name} acts on scores"):
            Transformer(LINEAR, DEFAULTS[name], vocab_size=31, pad=PAD)


@pytest.mark.parametrize("name", sorted({**DEFAULTS, **VARIANTS}))
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shift", [1, 300, 4000])
def test_scores_ignore_a_shift_of_all_positions_exactly_where_the_scheme_says_so(name, causal, shift):
    torch.manual_seed(0)
    attention = SelfAttention(d_model=24, n_heads=3)
    scheme = build_position(SOFTMAX[name][1], AttentionShape(24, 3, causal))
    for weights in scheme.parameters():
        torch.nn.init.normal_(weights)  # some begin at 0
    x = random(2, 7, 24)

    def output(by: int) -> torch.Tensor:
        pos = torch.arange(7) + by
        return attention(scheme.embed(x, pos), scheme, scheme.place(pos, pos), Visible(causal))[0]

    difference = (output(shift) - output(0)).abs().max().item()
    if scheme.relative:
        assert difference < 3e-4
    else:
        assert difference > 1e-2


@pytest.mark.parametrize("name", sorted({**SOFTMAX, **SUMS, **PRE_NORM}))
def test_cached_decoding_equals_the_full_pass(name):
    model = transformer(name)
    src, tgt = sentences(3, 7), sentences(3, 5, seed=1)
    src[1, 4:] = PAD
    full = model(src, tgt)
    state = model.encode(src)
    step_by_step = [model.logits(model.decode(tgt[:, t : t + 1], state)) for t in range(5)]
    torch.testing.assert_close(torch.cat(step_by_step, dim=1), full, atol=2e-5, rtol=0)


@every_model
def test_selected_rows_go_on_with_several_tokens_at_once_as_if_they_had_been_alone(name):
    model = transformer(name)
    src, tgt = sentences(3, 7), sentences(3, 5, seed=1)
    src[1, 4:] = PAD
    rows = torch.tensor([2, 0, 2, 1])
    state = model.encode(src)
    model.decode(tgt[:, :3], state)
    state = state.select(rows, rows)
    selected = model.logits(model.decode(tgt[rows, 3:], state))
    torch.testing.assert_close(selected, model(src, tgt)[rows, 3:], atol=2e-5, rtol=0)


@every_model
def test_hypotheses_of_a_sentence_share_its_source(name):
    """A row a sentence at first, then three a sentence, then the last sentence alone; beyond the room made at first."""
    model = transformer(name)
    src, tgt = sentences(3, 7), sentences(6, 20, seed=1)
    src[2, 4:] = PAD
    tgt[:, 0] = 1
    state = model.encode(src)
    model.decode(tgt[:3, :1], state)
    state = state.select(torch.arange(3).repeat_interleave(3))
    nine = tgt[torch.tensor([0, 1, 2, 3, 4, 5, 5, 0, 1])]
    for t in range(1, 19):
        model.decode(nine[:, t : t + 1], state)
    state = state.select(torch.tensor([8, 6]), torch.tensor([2]))
    two = nine[torch.tensor([8, 6])]
    last = model.logits(model.decode(two[:, 19:], state))
    torch.testing.assert_close(last, model(src[[2, 2]], two)[:, 19:], atol=2e-5, rtol=0)


@every_model
def test_each_sentence_has_the_positions_that_the_caller_gives_it(name):
    model = transformer(name)
    src, tgt = sentences(2, 5), sentences(2, 4, seed=1)
    src_pos = torch.tensor([[0, 3, 4, 9, 60], [100, 101, 102, 103, 104]])
    tgt_pos = torch.tensor([[2, 5, 30, 31, 33], [0, 1, 2, 3, 4]])
    together = model.logits(model.decode(tgt, model.encode(src, src_pos, tgt_pos)))
    for row in ([0], [1]):
        alone = model.encode(src[row], src_pos[row], tgt_pos[row])
        steps = [model.logits(model.decode(tgt[row, t : t + 1], alone)) for t in range(4)]
        torch.testing.assert_close(torch.cat(steps, dim=1), together[row], atol=2e-5, rtol=0)
    given = [torch.arange(n).expand(2, n) for n in (5, 4)]
    given = model.logits(model.decode(tgt, model.encode(src, *given)))
    torch.testing.assert_close(given, model(src, tgt), atol=2e-5, rtol=0)
    assert torch.allclose(given, together, atol=1e-4) == name.startswith("none")


@every_model
def test_padding_changes_nothing(name):
    model = transformer(name)
    src, tgt = sentences(2, 5), sentences(2, 3, seed=1)
    padded_src = torch.nn.functional.pad(src, (0, 4), value=PAD)
    padded_tgt = torch.nn.functional.pad(tgt, (0, 2), value=PAD)
    torch.testing.assert_close(model(padded_src, padded_tgt)[:, :3], model(src, tgt), atol=2e-5, rtol=0)


@every_model
def test_the_decoder_sees_no_future(name):
    model = transformer(name)
    src, tgt = sentences(2, 5), sentences(2, 6, seed=1)
    changed = tgt.clone()
    changed[:, 4:] = sentences(2, 2, seed=2)
    assert torch.equal(model(src, changed)[:, :4], model(src, tgt)[:, :4])


@every_model
def test_gradients_reach_every_parameter(name):
    model = transformer(name).train()
    model(sentences(2, 40), sentences(2, 40, seed=1)).square().mean().backward()
    idle = [p for p, w in model.named_parameters() if w.grad is None or not w.grad.abs().sum() > 0]
    assert not idle


def test_every_embedding_of_a_clipped_distance_is_used():
    model = transformer("relative").train()
    model(sentences(2, 40), sentences(2, 40, seed=1)).square().mean().backward()  # longer than the clip
    for stack in (model.encoder, model.decoder):
        for scheme in stack.positions:
            for table in (scheme.keys, scheme.values):
                assert (table.grad.abs().sum(1) > 0).all()


@every_model
def test_order_matters_to_the_encoder_unless_the_scheme_says_nothing(name):
    model = transformer(name)
    src, tgt = sentences(1, 6), sentences(1, 3, seed=1)
    otherwise = src[:, [2, 0, 1, 5, 3, 4]]  # not backwards, which a symmetric bias cannot tell from forwards
    same = torch.allclose(model(src, tgt), model(otherwise, tgt), atol=1e-5)
    assert same == name.startswith("none")


@pytest.mark.parametrize("name", [name for name, cfg in DEFAULTS.items() if hasattr(cfg, "max_len")])
def test_a_table_that_ends_says_so(name):
    model = Transformer(MODEL, type(DEFAULTS[name])(max_len=6), vocab_size=31, pad=PAD)
    assert model.max_len == 6
    longest, too_long = sentences(1, 7), sentences(1, 8)
    assert model(longest, longest).shape[1] == 7
    with pytest.raises(UserError, match=r"7 tokens.*end at 6.*position.max_len"):
        model(too_long, longest)
    with pytest.raises(UserError, match=r"position.max_len"):
        model(longest, too_long)


def test_cross_attention_is_turned_only_when_asked():
    src, tgt = sentences(2, 6), sentences(2, 5, seed=1)
    plain, crossing = (transformer(name) for name in ("rope", "rope, cross-attention"))
    state = [model.encode(src).layers[0].source for model in (plain, crossing)]
    assert torch.equal(state[0].v, state[1].v)
    assert torch.equal(state[0].k[:, :, 0], state[1].k[:, :, 0])
    assert not torch.allclose(state[0].k, state[1].k)
    assert not torch.allclose(plain(src, tgt), crossing(src, tgt))


def test_the_learned_table_of_one_position_is_one_row():
    scheme = build_position(POSITION_CONFIGS["learned"](max_len=9), AttentionShape(6, 1, causal=False))
    pos = torch.tensor([[0, 1, 2], [5, 0, 9]])
    added = scheme.embed(torch.zeros(2, 3, 6), pos)
    assert torch.equal(added, scheme.vectors[pos])


def test_deberta_keeps_one_table_for_all_layers_of_a_stack():
    model = transformer("deberta")
    first, second = model.encoder.positions
    assert first.vectors is second.vectors
    assert first.keys.weight is not second.keys.weight
    assert first.vectors is not model.decoder.positions[0].vectors
