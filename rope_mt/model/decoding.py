"""What a decoder keeps between steps."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from rope_mt.model.attention import KeyValues, Visible
from rope_mt.model.linear_attention import LinearState

ROOM = 16  # tokens by which the memory for keys and values grows: a shape that comes again has its kernels ready


@dataclass
class LayerState:
    """What one decoder layer keeps: keys and values of the source, and what it needs of the target so far."""

    source: KeyValues
    target: KeyValues | LinearState | None = None

    def select(self, rows: Int[Tensor, " hypotheses"], sentences: Int[Tensor, " sentences"] | None) -> "LayerState":
        source, target = self.source, self.target
        if isinstance(target, LinearState):
            target = target.select(rows)
        if sentences is not None:
            source = source.select(sentences)
            target = target.select(sentences) if isinstance(target, KeyValues) else target
        return LayerState(source, target)


@dataclass
class DecoderState:
    """What decoding keeps between steps. All sentences have the same number of hypotheses, which follow each other.

    The keys and values of a sentence stay in the slots where they were written, and a hypothesis sees those of its own
    tokens. So they are not copied where a hypothesis goes on in several ways.
    """

    layers: list[LayerState]
    source: Visible  # keys of the source, for every target token
    tgt_pos: Int[Tensor, "sentences tgt"] | None = None  # of as many tokens as will be read; None: consecutive
    length: int = 0  # tokens that each hypothesis has read
    slots: int = 0  # for keys of a sentence; the first ones are filled
    places: Int[Tensor, " keys"] | None = None  # in its hypothesis, of the token of each key
    own: Bool[Tensor, "hypotheses keys"] | None = None  # True where a key is of a token of this hypothesis; None: all

    def select(
        self, rows: Int[Tensor, " hypotheses"], sentences: Int[Tensor, " sentences"] | None = None
    ) -> "DecoderState":
        """Keep these hypotheses in this order, which may repeat or skip some, and these sentences (None: all)."""
        layers = [layer.select(rows, sentences) for layer in self.layers]
        source = self.source if sentences is None else self.source.select(sentences)
        tgt_pos = self.tgt_pos if sentences is None or self.tgt_pos is None else self.tgt_pos[sentences]
        own = None if self.own is None else self.own[rows]
        return DecoderState(layers, source, tgt_pos, self.length, self.slots, self.places, own)

    @property
    def src_tokens(self) -> Bool[Tensor, "sentences src"]:
        """True where the source has a token."""
        assert self.source.key_padding is not None
        return self.source.key_padding

    def read(
        self, hypotheses: int, tokens: int
    ) -> tuple[Int[Tensor, "*sentences tgt"], Int[Tensor, "*sentences slots"], Visible]:
        """Read so many tokens of each hypothesis.

        Returns:
            The positions of these tokens and of all keys, and which keys the tokens see. The tokens of all hypotheses
            of a sentence stand side by side.
        """
        sentences, device = len(self.src_tokens), self.src_tokens.device
        width = hypotheses // sentences
        places = torch.arange(self.length, self.length + tokens, device=device)
        if self.places is None:
            self.length, self.places = tokens, places
            pos = self._positions(places)
            return pos, pos, Visible(causal=True)
        places, past = places.repeat(width), len(self.places)
        own = torch.ones(hypotheses, past, dtype=torch.bool, device=device) if self.own is None else self.own
        same = torch.eye(width, dtype=torch.bool, device=device)[:, None, :, None]
        earlier = torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()[:, None, :]
        new = (same & earlier).flatten(2).repeat(sentences, 1, 1)
        seen = torch.cat((own[:, None].expand(-1, tokens, -1), new), dim=2)
        self.length, self.places, self.own = self.length + tokens, torch.cat((self.places, places)), seen[:, -1]
        self.slots = max(self.slots, -(-len(self.places) // (ROOM * width)) * ROOM * width)
        empty = self.slots - len(self.places)
        cached = F.pad(seen, (0, empty)).view(sentences, width * tokens, -1)
        visible = Visible(causal=True, cached=cached, past=past)
        return self._positions(places), self._positions(F.pad(self.places, (0, empty))), visible

    def _positions(self, places: Int[Tensor, " len"]) -> Int[Tensor, "*sentences len"]:
        return places if self.tgt_pos is None else self.tgt_pos[:, places]
