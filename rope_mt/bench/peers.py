"""The systems that ours is measured against, with a model of the same shape.

`torch.nn.Transformer` is trained; transformers and CTranslate2 decode. No weights are trained beforehand, so decoders
translate nonsense. They work as much as with trained weights, since every hypothesis gets the length of its reference.
"""

import warnings
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from rope_mt.config.commands import TrainConfig
from rope_mt.data.batches import Batch
from rope_mt.data.prepare import cores
from rope_mt.data.tokenizer import BOS, EOS, PAD
from rope_mt.errors import UserError
from rope_mt.position.absolute import sinusoid
from rope_mt.runs.checkpoint import Checkpoint

ALPHA = 0.6  # length penalty; hypotheses of equal length have the same order with any
Work = list[tuple[list[int], int]]  # ids of each source without eos, and the tokens of its translation with eos
Setting = dict[str, int]


class Baseline(nn.Module):
    """Training with `torch.nn.Transformer` as in torch's documentation. It has the methods of `TranslationModule`.

    Batches, vocabulary, sizes, loss, optimizer and clipping are ours; the rest is torch's, and not compiled. Padding is
    computed and then masked, logits are made of all slots at once, and sinusoids are added to the embeddings whatever
    the position scheme is. Dropout also acts on attention weights and inside the feed-forward sublayers, and each
    stack ends in a LayerNorm, which ours has not.
    """

    def __init__(self, cfg: TrainConfig, vocab_size: int) -> None:
        super().__init__()
        self.cfg, m = cfg, cfg.model
        self.embedding = nn.Embedding(vocab_size, m.d_model)  # of source, target and output
        nn.init.normal_(self.embedding.weight, std=m.d_model**-0.5)
        self.positions = nn.Buffer(sinusoid(torch.arange(cfg.data.max_len + 1), m.d_model), persistent=False)
        self.dropout = nn.Dropout(m.dropout)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "enable_nested_tensor")  # about inference with norm_first
            self.transformer = nn.Transformer(
                d_model=m.d_model,
                nhead=m.n_heads,
                num_encoder_layers=m.n_layers,
                num_decoder_layers=m.n_layers,
                dim_feedforward=m.d_ff,
                dropout=m.dropout,
                batch_first=True,
                norm_first=m.norm == "pre",
            )
        self.loss = nn.CrossEntropyLoss(ignore_index=PAD, label_smoothing=cfg.optimizer.label_smoothing)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Smoothed cross-entropy in nats per target token."""
        right = torch.full_like(batch.tgt_in, PAD).flatten().scatter(0, batch.where, batch.tgt_out)
        tgt_mask = self.transformer.generate_square_subsequent_mask(
            batch.tgt_in.shape[1], device=batch.tgt_in.device, dtype=torch.bool
        )
        out = self.transformer(
            self._embed(batch.src),
            self._embed(batch.tgt_in),
            tgt_mask=tgt_mask,
            tgt_is_causal=True,
            src_key_padding_mask=batch.src == PAD,
            tgt_key_padding_mask=batch.tgt_in == PAD,
            memory_key_padding_mask=batch.src == PAD,
        )
        return self.loss(F.linear(out, self.embedding.weight).flatten(0, 1), right)

    def _embed(self, ids: Int[Tensor, "batch len"]) -> Tensor:
        scaled = self.embedding(ids) * self.embedding.embedding_dim**0.5
        return self.dropout(scaled + self.positions[: ids.shape[1]])

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        nn.utils.clip_grad_norm_(self.parameters(), self.cfg.trainer.clip)

    def configure_optimizers(self) -> Any:
        """Adam with linear warm-up; no measurement is long enough to go beyond it."""
        cfg = self.cfg.optimizer
        adam = torch.optim.Adam(self.parameters(), lr=cfg.lr, betas=(cfg.beta1, cfg.beta2), eps=cfg.eps, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(adam, 1 / cfg.warmup_steps, total_iters=cfg.warmup_steps)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule}}


class Decoder:
    """A system that decodes in one precision, with the fastest of its `sizes` of batches and `threads`."""

    size, on_cpu, on_gpu = "sentences", (16, 32, 64), (128, 512)

    def __init__(self, ckpt: Checkpoint, beam: int, device: torch.device, precision: str) -> None:
        self.beam, self.device, cpu = beam, device, device.type == "cpu"
        self.sizes: list[Setting] = [{self.size: n} for n in (self.on_cpu if cpu else self.on_gpu)]
        self.threads: list[Setting] = [{"threads": n} for n in (sorted({1, cores()}) if cpu else [1])]

    def use(self, setting: Setting) -> None:
        """Decode from now on with one of `sizes` and one of `threads`."""
        torch.set_num_threads(setting["threads"])
        self.setting = setting

    def decode(self, work: Work) -> list[int]:
        """Decode all sentences; return the number of tokens made for each."""
        raise NotImplementedError


class Transformers(Decoder):
    """`generate` of Marian in transformers. Positions are sinusoidal, as Marian has no others."""

    on_cpu = (16, 32, 64, 128)

    def __init__(self, ckpt: Checkpoint, beam: int, device: torch.device, precision: str) -> None:
        from transformers import MarianConfig, MarianMTModel

        super().__init__(ckpt, beam, device, precision)
        m = ckpt.config.model
        cfg = MarianConfig(
            vocab_size=len(ckpt.tokenizer),
            d_model=m.d_model,
            encoder_layers=m.n_layers,
            decoder_layers=m.n_layers,
            encoder_attention_heads=m.n_heads,
            decoder_attention_heads=m.n_heads,
            encoder_ffn_dim=m.d_ff,
            decoder_ffn_dim=m.d_ff,
            activation_function="relu",
            scale_embedding=True,
            max_position_embeddings=2048,
            pad_token_id=PAD,
            eos_token_id=EOS,
            decoder_start_token_id=BOS,
            forced_eos_token_id=None,
        )
        model: Any = MarianMTModel(cfg)  # Any: its methods have no types
        self.model = model.eval().to(device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)

    @torch.inference_mode()
    def decode(self, work: Work) -> list[int]:
        from transformers import LogitsProcessorList

        order = sorted(range(len(work)), key=lambda row: (work[row][1], len(work[row][0])))
        n_tokens, size = [0] * len(work), self.setting["sentences"]
        for rows in (order[start : start + size] for start in range(0, len(order), size)):
            src = pad_sequence([torch.tensor([*work[row][0], EOS]) for row in rows], True, PAD).to(self.device)
            lengths = torch.tensor([work[row][1] for row in rows], device=self.device)
            out = self.model.generate(
                src,
                attention_mask=(src != PAD).long(),
                num_beams=self.beam,
                do_sample=False,
                early_stopping=True,
                length_penalty=ALPHA,
                max_new_tokens=int(lengths.max()),
                logits_processor=LogitsProcessorList([_EndAt(lengths.repeat_interleave(self.beam))]),
            )
            for row, ids in zip(rows, out[:, 1:].tolist(), strict=True):
                n_tokens[row] = ids.index(EOS) + 1
        return n_tokens


class _EndAt:
    """A logits processor that ends each row after a given number of tokens, and not before."""

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        now = input_ids.shape[1]  # counts the token of this step, but not the one at the start
        ending = (self.lengths == now)[:, None]
        eos = torch.arange(scores.shape[1], device=scores.device) == EOS
        return scores.masked_fill((ending & ~eos) | ((self.lengths > now)[:, None] & eos), -torch.inf)


class CTranslate2(Decoder):
    """CTranslate2 with our own export. Sentences of equal length go into one call; calls run side by side."""

    def __init__(self, ckpt: Checkpoint, beam: int, device: torch.device, precision: str) -> None:
        from rope_mt.export import ctranslate2

        super().__init__(ckpt, beam, device, precision)
        n = cores() if device.type == "cpu" else 1
        self.threads = [{"workers": workers, "threads": n // workers} for workers in sorted({1, n})]
        with TemporaryDirectory() as folder:
            ctranslate2.specification(ckpt).save(folder)
            self.files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        self.pieces, _, _ = ckpt.tokenizer.pieces()
        self.compute_type = {"fp32": "float32", "fp16": "float16"}.get(precision, precision)

    def use(self, setting: Setting) -> None:
        import ctranslate2

        self.setting = setting
        self.translator = ctranslate2.Translator(
            "exported",
            files=self.files,
            device=self.device.type,
            compute_type=self.compute_type,
            inter_threads=setting["workers"],
            intra_threads=setting["threads"],
        )

    def decode(self, work: Work) -> list[int]:
        order = sorted(range(len(work)), key=lambda row: (-work[row][1], len(work[row][0])))
        pending = []
        for length, rows in groupby(order, key=lambda row: work[row][1]):
            pending += self.translator.translate_batch(
                [[self.pieces[i] for i in work[row][0]] for row in rows],
                beam_size=self.beam,
                length_penalty=ALPHA,
                min_decoding_length=length,
                max_decoding_length=length,
                max_batch_size=self.setting["sentences"],
                max_input_length=0,
                asynchronous=True,
            )
        n_tokens = [0] * len(work)
        for row, translation in zip(order, pending, strict=True):
            n_tokens[row] = len(translation.result().hypotheses[0])
        return n_tokens


def check(system: str, device: torch.device, train: TrainConfig) -> None:
    """Raise a UserError that says why `transformers` or `ctranslate2` cannot decode with this model here."""
    if find_spec(system) is None:
        raise UserError(f"{system} is not installed: pip install {system}")
    if system == "ctranslate2":
        from rope_mt.export import ctranslate2

        if device.type == "mps":
            raise UserError("ctranslate2 has no mps device: take device=cpu")
        ctranslate2.check(train)
