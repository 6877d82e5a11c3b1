"""Systems that decode the same sentences to the same lengths: ours, and two that others use.

Each has settings to choose the fastest from. What they translate is nonsense, since no weights are trained: the work is
that of a trained model, as every hypothesis is made exactly as long as its reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, runtime_checkable

import torch

from rope_mt.config.commands import TrainConfig
from rope_mt.data.prepare import cores
from rope_mt.data.tokenizer import BOS, EOS, PAD
from rope_mt.errors import UserError
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.system.device import choose_precision
from rope_mt.translation.translator import Translator

ALPHA = 0.6  # length penalty; of hypotheses that are equally long it changes nothing


@dataclass(frozen=True)
class Work:
    """Source sentences, and how many tokens each of their translations has, its end counted."""

    sources: list[list[int]]  # ids without the end
    lengths: list[int]

    def part(self, rows: Sequence[int]) -> "Work":
        return Work([self.sources[row] for row in rows], [self.lengths[row] for row in rows])

    def middle(self, n: int) -> "Work":
        """n sentences of middling length, to choose settings with."""
        order = sorted(range(len(self.lengths)), key=lambda row: self.lengths[row])
        first = max(0, (len(order) - n) // 2)
        return self.part(order[first : first + n])


@runtime_checkable
class Decoder(Protocol):
    """A system in one precision, and what may be set."""

    def choices(self) -> list[list[dict[str, int]]]:
        """What may be chosen one apart from the other, batch sizes first; the last of each is the one to begin with."""
        ...

    def use(self, setting: dict[str, int]) -> None:
        """Take one of each."""
        ...

    def decode(self, work: Work) -> list[int]:
        """Decode all sentences; the number of tokens made of each."""
        ...


class Ours:
    """This project's own search."""

    def __init__(self, ckpt: Checkpoint, beam: int, device: torch.device, precision: str) -> None:
        search = replace(ckpt.config.search, beam=beam, length_penalty=ALPHA)
        self.translator = Translator.of(ckpt, search, device, precision)
        self.device = device

    def choices(self) -> list[list[dict[str, int]]]:
        sizes = (16_384, 4_096, 8_192) if self.device.type == "cpu" else (16_384, 65_536, 262_144)
        return [[{"batch_tokens": size} for size in sizes], _threads(self.device)]

    def use(self, setting: dict[str, int]) -> None:
        torch.set_num_threads(setting["threads"])
        self.translator.search = replace(self.translator.search, batch_tokens=setting["batch_tokens"])

    def decode(self, work: Work) -> list[int]:
        found = self.translator.hypotheses(work.sources, work.lengths, work.lengths)
        return [len(hypotheses[0].tokens) + 1 for hypotheses in found]


class Transformers:
    """`generate` of transformers' Marian, of the same shape; sinusoidal positions, as Marian has no others."""

    def __init__(self, ckpt: Checkpoint, beam: int, device: torch.device, precision: str) -> None:
        from transformers import MarianConfig, MarianMTModel

        m = ckpt.config.model
        each = {"layers": m.n_layers, "attention_heads": m.n_heads, "ffn_dim": m.d_ff}
        shape: dict[str, Any] = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in each.items()}
        special = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": BOS, "forced_eos_token_id": None}
        cfg = MarianConfig(
            vocab_size=len(ckpt.tokenizer),
            d_model=m.d_model,
            activation_function="relu",
            scale_embedding=True,
            max_position_embeddings=2048,
            **shape,
            **special,
        )
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        model: Any = MarianMTModel(cfg)  # whose methods have no types
        self.model = model.eval().to(device=device, dtype=dtype)
        self.beam, self.device, self.size = beam, device, 32

    def choices(self) -> list[list[dict[str, int]]]:
        sizes = (16, 32, 64, 128) if self.device.type == "cpu" else (128, 512)
        return [[{"sentences": size} for size in sizes], _threads(self.device)]

    def use(self, setting: dict[str, int]) -> None:
        torch.set_num_threads(setting["threads"])
        self.size = setting["sentences"]

    @torch.inference_mode()
    def decode(self, work: Work) -> list[int]:
        from torch.nn.utils.rnn import pad_sequence
        from transformers import LogitsProcessorList

        order = sorted(range(len(work.lengths)), key=lambda row: (work.lengths[row], len(work.sources[row])))
        made = [0] * len(order)
        for rows in (order[i : i + self.size] for i in range(0, len(order), self.size)):
            src = [torch.tensor([*work.sources[row], EOS]) for row in rows]
            batch = pad_sequence(src, batch_first=True, padding_value=PAD).to(self.device)
            lengths = torch.tensor([work.lengths[row] for row in rows], device=self.device)
            out = self.model.generate(
                batch,
                attention_mask=(batch != PAD).long(),
                num_beams=self.beam,
                do_sample=False,
                early_stopping=True,
                length_penalty=ALPHA,
                max_new_tokens=int(lengths.max()),
                logits_processor=LogitsProcessorList([_EndAt(lengths.repeat_interleave(self.beam))]),
            )
            for row, ids in zip(rows, out[:, 1:].tolist(), strict=True):
                made[row] = ids.index(EOS) + 1
        return made


class _EndAt:
    """Each row ends after as many tokens as it should, and not before."""

    def __init__(self, lengths: torch.Tensor) -> None:
        self.lengths = lengths

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        now = input_ids.shape[1]  # with this step's token, but without the one at the start
        ending = (self.lengths == now)[:, None]
        eos = torch.arange(scores.shape[1], device=scores.device) == EOS
        return scores.masked_fill((ending & ~eos) | ((self.lengths > now)[:, None] & eos), -torch.inf)


class CTranslate2:
    """CTranslate2 running our own export; sentences of equal length go in one call, calls side by side."""

    def __init__(self, ckpt: Checkpoint, beam: int, device: torch.device, precision: str) -> None:
        from rope_mt.export import ctranslate2

        with TemporaryDirectory() as folder:
            ctranslate2.specification(ckpt).save(folder)
            self.files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        self.pieces, _, _ = ckpt.tokenizer.pieces()
        self.beam, self.device = beam, device
        self.compute_type = {"fp32": "float32", "fp16": "float16"}.get(precision, precision)

    def choices(self) -> list[list[dict[str, int]]]:
        sizes = (16, 32, 64) if self.device.type == "cpu" else (128, 512)
        n = cores() if self.device.type == "cpu" else 1
        splits = [{"workers": workers, "threads": n // workers} for workers in sorted({1, n})]
        return [[{"sentences": size} for size in sizes], splits]

    def use(self, setting: dict[str, int]) -> None:
        import ctranslate2

        self.size = setting["sentences"]
        self.translator = ctranslate2.Translator(
            "exported",
            files=self.files,
            device=self.device.type,
            compute_type=self.compute_type,
            inter_threads=setting["workers"],
            intra_threads=setting["threads"],
        )

    def decode(self, work: Work) -> list[int]:
        order = sorted(range(len(work.lengths)), key=lambda row: (-work.lengths[row], len(work.sources[row])))
        waiting = []
        for length, alike in groupby(order, key=lambda row: work.lengths[row]):
            waiting += self.translator.translate_batch(
                [[self.pieces[i] for i in work.sources[row]] for row in alike],
                beam_size=self.beam,
                length_penalty=ALPHA,
                min_decoding_length=length,
                max_decoding_length=length,
                max_batch_size=self.size,
                max_input_length=0,
                asynchronous=True,
            )
        made = [0] * len(order)
        for row, found in zip(order, waiting, strict=True):
            made[row] = len(found.result().hypotheses[0])
        return made


def _threads(device: torch.device) -> list[dict[str, int]]:
    return [{"threads": n} for n in (sorted({1, cores()}) if device.type == "cpu" else [1])]


SYSTEMS: dict[str, type[Ours] | type[Transformers] | type[CTranslate2]] = {
    "rope-mt": Ours,
    "transformers": Transformers,
    "ctranslate2": CTranslate2,
}


def precisions(system: str, device: torch.device) -> list[str]:
    """What this machine computes natively: the first is exact, the others are faster."""
    low = [precision for precision in [choose_precision("auto", device)] if precision != "fp32"]
    if system == "ctranslate2":
        return ["fp32", "int8"] if device.type == "cpu" else ["fp32", "fp16"]
    return ["fp32", *low]


def missing(system: str, device: torch.device, train: TrainConfig) -> str | None:
    """Why a system cannot run the model here; None where it can."""
    if system != "rope-mt" and find_spec(system) is None:
        return f"{system} is not installed: pip install {system}"
    if system != "ctranslate2":
        return None
    if device.type == "mps":
        return "ctranslate2 has no mps device: take device=cpu"
    from rope_mt.export import ctranslate2

    try:
        ctranslate2.check(train)
    except UserError as error:
        return str(error)
    return None
