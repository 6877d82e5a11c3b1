"""The encoder-decoder Transformer (Vaswani et al. 2017): token ids to logits. No position scheme is named here."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from rope_mt.config.position import PositionConfig
from rope_mt.config.training import ModelConfig
from rope_mt.errors import UserError
from rope_mt.model.attention import CrossAttention, SelfAttention, Visible, source_keys_values
from rope_mt.model.casting import call_layer
from rope_mt.model.decoding import DecoderState, LayerState
from rope_mt.model.dropout import Dropout
from rope_mt.model.linear_attention import LinearAttention
from rope_mt.position import AttentionShape, Placed, PositionScheme, build_position, refuse_linear_attention


class FeedForward(nn.Module):
    """max(0, x W_1 + b_1) W_2 + b_2: Vaswani et al. 2017, eq. 2."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, d_ff)
        self.outer = nn.Linear(d_ff, d_model)
        for linear in (self.inner, self.outer):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Float[Tensor, "batch len d_model"]) -> Float[Tensor, "batch len d_model"]:
        return self.outer(self.inner(x).relu())


class Residual(nn.Module):
    """x + dropout(sublayer(x)), normalised after the sum (post) or before the sublayer (pre)."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(cfg.d_model)
        self.dropout = Dropout(cfg.dropout)
        self.pre = cfg.norm == "pre"

    def forward(
        self, x: Float[Tensor, "batch len d_model"], sublayer: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "batch len d_model"]:
        if self.pre:
            return x + self.dropout(sublayer(self.norm(x)))
        return self.norm(x + self.dropout(sublayer(x)))


class Stack(nn.Module):
    """The parts that encoder and decoder share.

    Attributes:
        positions: the position scheme of self-attention: one for all layers, or one per layer, as the scheme wants it.
    """

    def __init__(self, cfg: ModelConfig, position: PositionConfig, causal: bool) -> None:
        super().__init__()
        refuse_linear_attention(position, cfg)
        mapped = cfg.attention == "linear" and cfg.feature_map == "favor"
        shape = AttentionShape(cfg.d_model, cfg.n_heads, causal, cfg.n_features if mapped else None)
        first = build_position(position, shape)
        others = [build_position(position, shape) for _ in range(0 if first.shared else cfg.n_layers - 1)]
        for scheme in others:
            scheme.share(first)
        self.positions = nn.ModuleList([first, *others])
        self.norm = nn.LayerNorm(cfg.d_model) if cfg.norm == "pre" else nn.Identity()
        self.dropout = Dropout(cfg.dropout)

    def scheme(self, layer: int) -> PositionScheme:
        scheme = self.positions[layer % len(self.positions)]
        assert isinstance(scheme, PositionScheme)
        return scheme


def self_attention(cfg: ModelConfig) -> SelfAttention | LinearAttention:
    """The kind of attention that `model.attention` names."""
    if cfg.attention == "linear":
        return LinearAttention(cfg.d_model, cfg.n_heads, cfg.feature_map, cfg.n_features)
    return SelfAttention(cfg.d_model, cfg.n_heads)


class EncoderLayer(nn.Module):
    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.attention = self_attention(cfg)
        self.feed_forward = FeedForward(cfg.d_model, cfg.d_ff)
        self.residuals = nn.ModuleList(Residual(cfg) for _ in range(2))

    def forward(
        self,
        x: Float[Tensor, "batch src d_model"],
        position: PositionScheme,
        placed: Placed,
        visible: Visible,
    ) -> Float[Tensor, "batch src d_model"]:
        x = self.residuals[0](x, lambda h: self.attention(h, position, placed, visible)[0])
        return self.residuals[1](x, self.feed_forward)


class Encoder(Stack):
    def __init__(self, cfg: ModelConfig, position: PositionConfig) -> None:
        super().__init__(cfg, position, causal=False)
        self.layers = nn.ModuleList(EncoderLayer(cfg) for _ in range(cfg.n_layers))

    def forward(
        self, x: Float[Tensor, "batch src d_model"], pos: Int[Tensor, "*batch src"], visible: Visible
    ) -> Float[Tensor, "batch src d_model"]:
        placed = self.scheme(0).place(pos, pos)
        x = self.dropout(self.scheme(0).embed(x, pos))
        for i, layer in enumerate(self.layers):
            x = call_layer(layer, x, self.scheme(i), placed, visible)
        return self.norm(x)


class DecoderLayer(nn.Module):
    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.attention = self_attention(cfg)
        self.cross_attention = CrossAttention(cfg.d_model, cfg.n_heads)
        self.feed_forward = FeedForward(cfg.d_model, cfg.d_ff)
        self.residuals = nn.ModuleList(Residual(cfg) for _ in range(3))

    def forward(
        self,
        x: Float[Tensor, "batch tgt d_model"],
        position: PositionScheme,
        placed: Placed,
        visible: Visible,
        kept: LayerState,
        source_visible: Visible,
    ) -> Float[Tensor, "batch tgt d_model"]:
        def attend_to_target(h: Tensor) -> Tensor:
            out, kept.target = self.attention(h, position, placed, visible, kept.target)
            return out

        x = self.residuals[0](x, attend_to_target)
        turns = placed.turns if position.rotates_cross else None
        x = self.residuals[1](x, lambda h: self.cross_attention(h, position, turns, kept.source, source_visible))
        return self.residuals[2](x, self.feed_forward)


class Decoder(Stack):
    def __init__(self, cfg: ModelConfig, position: PositionConfig) -> None:
        super().__init__(cfg, position, causal=True)
        self.layers = nn.ModuleList(DecoderLayer(cfg) for _ in range(cfg.n_layers))

    def start(self, memory: Float[Tensor, "batch src d_model"], pos: Int[Tensor, "*batch src"]) -> list[LayerState]:
        """The state of each layer before the first target token, with the keys and values of the source."""
        cross = [layer.cross_attention for layer in self.layers if isinstance(layer, DecoderLayer)]
        schemes = [self.scheme(i) for i in range(len(cross))]
        turns = schemes[0].turns(pos) if schemes[0].rotates_cross else None
        return [LayerState(source) for source in source_keys_values(cross, memory, schemes, turns)]

    def forward(
        self, x: Float[Tensor, "hypotheses tgt d_model"], state: DecoderState
    ) -> Float[Tensor, "hypotheses tgt d_model"]:
        """Decode one or many tokens after those that `state` has read; then `state` has read these, too."""
        q_pos, k_pos, target = state.read(*x.shape[:2])
        placed = self.scheme(0).place(q_pos, k_pos)
        side_by_side = x.reshape(len(state.src_tokens), -1, x.shape[-1])  # the hypotheses of a sentence
        h = self.dropout(self.scheme(0).embed(side_by_side, q_pos))
        for i, (layer, kept) in enumerate(zip(self.layers, state.layers, strict=True)):
            h = call_layer(layer, h, self.scheme(i), placed, target, kept, state.source)
        return self.norm(h).view(x.shape)


class Transformer(nn.Module):
    """Source, target and output share one embedding matrix, which is scaled by sqrt(d_model) at both inputs."""

    def __init__(self, cfg: ModelConfig, position: PositionConfig, vocab_size: int, pad: int) -> None:
        super().__init__()
        self.pad = pad
        self.embedding = nn.Embedding(vocab_size, cfg.d_model)
        nn.init.normal_(self.embedding.weight, std=cfg.d_model**-0.5)
        self.encoder = Encoder(cfg, position)
        self.decoder = Decoder(cfg, position)
        self.max_len = self.encoder.scheme(0).max_len  # tokens of the longest sentence that the scheme allows, or None

    def encode(
        self,
        src: Int[Tensor, "batch src"],
        src_pos: Int[Tensor, "batch src"] | None = None,
        tgt_pos: Int[Tensor, "batch tgt"] | None = None,
    ) -> DecoderState:
        """Read source sentences; return a state to decode from.

        Args:
            src_pos, tgt_pos: positions of the source, and of all target tokens that will be read; None: 0, 1, 2, ...

        Raises:
            UserError: a sentence is longer than the position scheme allows.
        """
        memory, pos, source = self._read(src, src_pos)
        return DecoderState(self.decoder.start(memory, pos), source, tgt_pos)

    def memory(
        self, src: Int[Tensor, "batch src"], pos: Int[Tensor, "*batch src"] | None = None
    ) -> Float[Tensor, "batch src d_model"]:
        """The encoder's output; raises as `encode` does."""
        return self._read(src, pos)[0]

    def decode(self, tgt: Int[Tensor, "batch tgt"], state: DecoderState) -> Float[Tensor, "batch tgt d_model"]:
        """Read target tokens after those that `state` has read; `logits` of each row predict its next token.

        Raises:
            UserError: a sentence is longer than the position scheme allows.
        """
        self.check_length(state.length + tgt.shape[1] - 1)
        return self.decoder(self._embed(tgt), state)

    def logits(self, hidden: Float[Tensor, "*tokens d_model"]) -> Float[Tensor, "*tokens vocab"]:
        return F.linear(hidden, self.embedding.weight)

    def forward(self, src: Int[Tensor, "batch src"], tgt: Int[Tensor, "batch tgt"]) -> Float[Tensor, "batch tgt vocab"]:
        """Logits of the token after each of tgt, given the tokens up to it and the source (teacher forcing)."""
        return self.logits(self.decode(tgt, self.encode(src)))

    def _read(
        self, src: Int[Tensor, "batch src"], pos: Int[Tensor, "*batch src"] | None
    ) -> tuple[Tensor, Tensor, Visible]:
        """The encoder's output (batch, src, d_model), the positions of the source, and its tokens, which are seen."""
        if pos is None:
            self.check_length(src.shape[1] - 1)
            pos = torch.arange(src.shape[1], device=src.device)
        source = Visible(key_padding=src != self.pad)
        return self.encoder(self._embed(src), pos, source), pos, source

    def _embed(self, ids: Int[Tensor, "batch len"]) -> Float[Tensor, "batch len d_model"]:
        return self.embedding(ids) * self.embedding.embedding_dim**0.5

    def check_length(self, tokens: int) -> None:
        """Refuse a sentence of so many tokens, eos not counted, if the position scheme does not reach that far.

        Raises:
            UserError: it does not.
        """
        if self.max_len is not None and tokens > self.max_len:
            raise UserError(
                f"a sentence of {tokens:,} tokens, and this model's positions end at {self.max_len:,}: "
                "train one with a larger position.max_len, or take a scheme without a table"
            )
