"""A Transformer of this project as a model of CTranslate2, a translator that needs no PyTorch."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from ctranslate2.specs import attention_spec, common_spec, transformer_spec
from ctranslate2.specs.transformer_spec import TransformerDecoderLayerSpec as DecoderLayer
from ctranslate2.specs.transformer_spec import TransformerEncoderLayerSpec as EncoderLayer
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

# With these options CTranslate2 searches as we do. Both count eos in the length penalty. CTranslate2 stops a sentence
# when beam_size * patience hypotheses have ended; our rule (see `beam_search`) found no better ones than patience=2.
# At the limit of length CTranslate2 cuts a hypothesis off, and ours ends with eos.
USAGE = """\
import sys, unicodedata, ctranslate2, sentencepiece

model = ctranslate2.Translator({folder!r}, compute_type="float32")  # or "int8"
pieces = sentencepiece.SentencePieceProcessor(model_file={tokenizer!r})
# rope-mt's own search; without patience=2 this one stops earlier
search = dict(beam_size={beam}, length_penalty={alpha}, patience=2, min_decoding_length=0, max_input_length=0)
for line in sys.stdin:
    src = pieces.encode(" ".join(unicodedata.normalize("NFC", line).split()), out_type=str)
    longest = int({a} * (len(src) + 1)) + {b}
    best = model.translate_batch([src], max_decoding_length=longest, **search)[0].hypotheses[0]
    print(pieces.decode(best))"""

Weights = dict[str, Tensor]


def check(cfg: TrainConfig) -> None:
    """Raise a UserError for a model that CTranslate2 cannot compute, or has not been shown to compute as we do."""
    position = cfg.position
    if cfg.model.attention != "softmax":
        setting = f"model.attention={cfg.model.attention}"
    elif not isinstance(position, ABLE):
        setting = f"position={position.name}"
    elif cfg.positions.eval != "consecutive":
        setting = f"positions.eval={cfg.positions.eval}"
    elif isinstance(position, RopeConfig) and position.cross_attention:
        setting = "position.cross_attention=true"
    elif isinstance(position, RopeConfig) and position.kept < 1:
        setting = f"position.kept={position.kept}"
    elif isinstance(position, RopeConfig) and position.scaling != "none":
        setting = f"position.scaling={position.scaling}"
    else:
        return
    able = ", ".join(scheme.name for scheme in ABLE)
    raise UserError(f"{setting} is not exported to CTranslate2; softmax attention is, with one of {able}")


def table_length(cfg: TrainConfig) -> int | None:
    """The number of position vectors that are exported, if the scheme adds them to the input; None: no limit."""
    return max(SHORTEST_TABLE, 4 * cfg.data.max_len) if isinstance(cfg.position, SinusoidalConfig) else None


def usage(cfg: TrainConfig, folder: Path) -> str:
    """A Python program that translates its standard input with the exported model and the search of the run."""
    search = cfg.search
    of_search = {"beam": search.beam, "alpha": search.length_penalty, "a": search.max_len_a, "b": search.max_len_b - 1}
    text = USAGE.format(folder=str(folder), tokenizer=str(folder / "sentencepiece.model"), **of_search)
    if search.length_penalty_form != "fairseq":
        text += f"\n# the run's own search has {search.length_penalty_form}'s length penalty, so this one differs"
    if length := table_length(cfg):
        text += f"\n# positions end at {length:,} tokens, eos counted: a longer sentence is an error"
    return text


def specification(ckpt: Checkpoint) -> transformer_spec.TransformerSpec:
    """The model in float32, with its vocabulary: sources end with eos, targets begin with bos.

    Raises:
        UserError: see `check`; or the weights do not fit the configuration.
    """
    cfg, model, position = ckpt.config, ckpt.config.model, ckpt.config.position
    check(cfg)
    weights = Translator.of(ckpt, cfg.search, torch.device("cpu"), "fp32").model.state_dict()
    shape: dict[str, Any] = {"num_layers": model.n_layers, "num_heads": model.n_heads, "pre_norm": model.norm == "pre"}
    shape["relative_position"] = isinstance(position, RelativeConfig)
    if isinstance(position, RopeConfig):
        shape["rotary_dim"] = position.rotated_features(model.d_model // model.n_heads)
        shape["rotary_base"] = position.theta
        shape["rotary_interleave"] = position.layout == "interleaved"
    encoder = transformer_spec.TransformerEncoderSpec(**shape)
    decoder = transformer_spec.TransformerDecoderSpec(**shape)

    for part in (encoder.embeddings[0], decoder.embeddings, decoder.projection):
        _set(part, weight=weights["embedding.weight"])
    for name, stack in (("encoder", encoder), ("decoder", decoder)):
        if length := table_length(cfg):
            _set(stack.position_encodings, encodings=sinusoid(torch.arange(length), model.d_model))
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
    spec.optimize()  # weights that are the same are written once
    return spec


def _layer(spec: EncoderLayer | DecoderLayer, weights: Weights, name: str) -> None:
    """Fill in a layer of either stack. CTranslate2 keeps queries, keys and values in one matrix, in our order."""
    sublayers = [spec.self_attention, spec.ffn]
    _linear(spec.self_attention.linear[0], weights, f"{name}.attention.qkv")
    _linear(spec.self_attention.linear[1], weights, f"{name}.attention.out")
    if isinstance(spec, DecoderLayer):
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
    """Fill in the tables of a layer. Zeros stand for the future in a decoder, and for values if there are none."""
    keys = weights[f"{name}.keys"]
    values = weights.get(f"{name}.values", torch.zeros_like(keys))
    future = (0, 0, 0, rows - len(keys))
    _set(spec, relative_position_keys=F.pad(keys, future), relative_position_values=F.pad(values, future))


def _set(spec: object, **values: Any) -> None:
    """Fill in attributes. A specification raises AttributeError for one that it does not declare."""
    for name, value in values.items():
        setattr(spec, name, value)
