"""A Transformer of this project as a model of CTranslate2, a translator that needs no PyTorch."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from ctranslate2.specs import attention_spec, common_spec, transformer_spec
from torch import Tensor

from rope_mt.config.commands import TrainConfig
from rope_mt.config.position import RelativeConfig, RopeConfig, SinusoidalConfig
from rope_mt.data.tokenizer import BOS, EOS, UNK
from rope_mt.errors import UserError
from rope_mt.position.absolute import sinusoid
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.translation.translator import Translator

ABLE = (SinusoidalConfig, RelativeConfig, RopeConfig)
SHORTEST_TABLE = 2048  # tokens: CTranslate2 reads 1,024 of a source by default, and the target may be longer

# The options that make CTranslate2's search ours. Both count the end in the length penalty. It stops a sentence when
# beam_size * patience hypotheses have ended; ours goes on while the best that has not ended scores more, at its length,
# than the worst of `beam` that have, and has found no better ones than patience=2. Its hypotheses are cut off at the
# limit, where ours spend the last token on eos.
USAGE = """\
import sys, unicodedata, ctranslate2, sentencepiece

model = ctranslate2.Translator({folder!r}, compute_type="float32")  # or "int8"
pieces = sentencepiece.SentencePieceProcessor(model_file={tokenizer!r})
# rope-mt's own search; without patience=2 this one stops earlier
search = dict(beam_size={beam}, length_penalty={alpha}, patience=2, min_decoding_length=0, max_input_length=0)
for line in sys.stdin:
    src = pieces.encode(" ".join(unicodedata.normalize("NFC", line).split()), out_type=str)
    longest = int({a} * (len(src) + 1)) + {b}
    found = model.translate_batch([src], max_decoding_length=longest, **search)
    print(pieces.decode(found[0].hypotheses[0]))"""

Weights = dict[str, Tensor]


def check(cfg: TrainConfig) -> None:
    """Refuse what CTranslate2 cannot compute, or has not been shown to compute as we do.

    Raises:
        UserError: it names the setting.
    """
    position = cfg.position
    reason = None
    if cfg.model.attention != "softmax":
        reason = f"model.attention={cfg.model.attention}"
    elif not isinstance(position, ABLE):
        reason = f"position={position.name}"
    elif isinstance(position, RopeConfig) and position.cross_attention:
        reason = "position.cross_attention=true"
    if reason:
        able = ", ".join(scheme.name for scheme in ABLE)
        raise UserError(f"{reason} is not exported to CTranslate2; softmax attention is, with one of {able}")


def table_length(cfg: TrainConfig) -> int | None:
    """Positions that are written out, where the scheme adds a vector for each to the input; None: there is no limit."""
    return max(SHORTEST_TABLE, 4 * cfg.data.max_len) if isinstance(cfg.position, SinusoidalConfig) else None


def usage(cfg: TrainConfig, folder: Path) -> str:
    """A Python program that translates its standard input with the exported model, by the search of the run."""
    search, length = cfg.search, table_length(cfg)
    text = USAGE.format(
        folder=str(folder),
        tokenizer=str(folder / "sentencepiece.model"),
        beam=search.beam,
        alpha=search.length_penalty,
        a=search.max_len_a,
        b=search.max_len_b - 1,
    )
    if search.length_penalty_form != "fairseq":
        text += f"\n# the run's own search has {search.length_penalty_form}'s length penalty, so this one differs"
    if length:
        text += f"\n# positions end at {length:,} tokens, eos counted: a longer sentence is an error"
    return text


def specification(ckpt: Checkpoint) -> transformer_spec.TransformerSpec:
    """The model in float32, with its vocabulary: sources get eos at their end, targets begin with bos.

    Raises:
        UserError: see `check`; or the weights do not fit the configuration.
    """
    cfg = ckpt.config
    check(cfg)
    model, position = cfg.model, cfg.position
    weights = Translator.of(ckpt, cfg.search, torch.device("cpu"), "fp32").model.state_dict()
    shape: dict[str, Any] = {"num_layers": model.n_layers, "num_heads": model.n_heads, "pre_norm": model.norm == "pre"}
    shape["relative_position"] = isinstance(position, RelativeConfig)
    if isinstance(position, RopeConfig):
        turned = position.rotated_features(model.d_model // model.n_heads)
        interleaved = position.layout == "interleaved"
        shape |= {"rotary_dim": turned, "rotary_base": position.theta, "rotary_interleave": interleaved}
    encoder = transformer_spec.TransformerEncoderSpec(**shape)
    decoder = transformer_spec.TransformerDecoderSpec(**shape)

    for user in (encoder.embeddings[0], decoder.embeddings, decoder.projection):
        _set(user, weight=weights["embedding.weight"])
    if length := table_length(cfg):
        table = sinusoid(torch.arange(length), model.d_model)
        _set(encoder.position_encodings, encodings=table)
        _set(decoder.position_encodings, encodings=table)
    for name, stack in (("encoder", encoder), ("decoder", decoder)):
        for i, layer in enumerate(stack.layer):
            _layer(layer, weights, f"{name}.layers.{i}")
            if isinstance(position, RelativeConfig):
                _distances(layer.self_attention, weights, f"{name}.positions.{i}", 2 * position.clip + 1)
        if model.norm == "pre":
            _norm(stack.layer_norm, weights, f"{name}.norm")

    spec = transformer_spec.TransformerSpec(encoder, decoder)
    pieces, _, _ = ckpt.tokenizer.pieces()
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    special = {"unk_token": pieces[UNK], "bos_token": pieces[BOS], "eos_token": pieces[EOS]}
    special |= {"decoder_start_token": pieces[BOS], "add_source_eos": True}
    _set(spec.config, **special, layer_norm_epsilon=1e-5)  # torch.nn.LayerNorm's
    spec.validate()
    spec.optimize()  # finds weights that are the same, and writes them once
    return spec


def _layer(
    spec: transformer_spec.TransformerEncoderLayerSpec | transformer_spec.TransformerDecoderLayerSpec,
    weights: Weights,
    name: str,
) -> None:
    """A layer of either stack. Both sides keep queries, keys and values in one matrix, in this order."""
    sublayers = [spec.self_attention, spec.ffn]
    _linear(spec.self_attention.linear[0], weights, f"{name}.attention.qkv")
    _linear(spec.self_attention.linear[1], weights, f"{name}.attention.out")
    if isinstance(spec, transformer_spec.TransformerDecoderLayerSpec):
        sublayers.insert(1, spec.attention)
        for linear, part in zip(spec.attention.linear, ("q", "kv", "out"), strict=True):
            _linear(linear, weights, f"{name}.cross_attention.{part}")
    _linear(spec.ffn.linear_0, weights, f"{name}.feed_forward.inner")
    _linear(spec.ffn.linear_1, weights, f"{name}.feed_forward.outer")
    for i, sublayer in enumerate(sublayers):
        _norm(sublayer.layer_norm, weights, f"{name}.residuals.{i}.norm")


def _linear(spec: common_spec.LinearSpec, weights: Weights, name: str) -> None:
    _set(spec, weight=weights[f"{name}.weight"], bias=weights[f"{name}.bias"])


def _norm(spec: common_spec.LayerNormSpec, weights: Weights, name: str) -> None:
    _set(spec, gamma=weights[f"{name}.weight"], beta=weights[f"{name}.bias"])


def _distances(spec: attention_spec.MultiHeadAttentionSpec, weights: Weights, name: str, rows: int) -> None:
    """Both tables of a layer, filled up with zeros: for the future in a decoder, for values where there are none."""
    keys = weights[f"{name}.keys"]
    values = weights.get(f"{name}.values", torch.zeros_like(keys))
    tables = {"keys": keys, "values": values}
    _set(spec, **{f"relative_position_{k}": F.pad(table, (0, 0, 0, rows - len(table))) for k, table in tables.items()})


def _set(spec: object, **values: Any) -> None:
    """Fill in what a specification declares, and nothing that it does not: it then raises AttributeError."""
    for name, value in values.items():
        setattr(spec, name, value)
