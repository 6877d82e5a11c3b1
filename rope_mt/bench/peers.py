"""The systems that ours is measured against, with a model of the same shape.

`torch.nn.Transformer` is trained; transformers and CTranslate2 decode. No weights are trained beforehand, so decoders
translate nonsense. They work as much as with trained weights, since every hypothesis gets the length of its reference.
"""

import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from itertools import groupby
from multiprocessing import get_context
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
translator: Any  # in a process of CTranslate2


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
            sizes = (m.d_model, m.n_heads, m.n_layers, m.n_layers, m.d_ff, m.dropout)
            self.transformer = nn.Transformer(*sizes, batch_first=True, norm_first=m.norm == "pre")
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
    """A system that decodes in one precision, with one of each of its `choices`: batch sizes, numbers of threads."""

    size, on_cpu, on_gpu = "sentences", (16, 32, 64), (128, 512)

    def __init__(self, ckpt: Checkpoint, beam: int, device: torch.device, precision: str) -> None:
        self.beam, self.device, cpu = beam, device, device.type == "cpu"
        self.setting: Setting = {}
        sizes = [{self.size: n} for n in (self.on_cpu if cpu else self.on_gpu)]
        self.choices: list[list[Setting]] = [sizes, [{"threads": n} for n in (sorted({1, cores()}) if cpu else [1])]]

    def use(self, setting: Setting) -> None:
        """Decode from now on with this setting, which has one of each of `choices`."""
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
        sizes: dict[str, Any] = {"layers": m.n_layers, "attention_heads": m.n_heads, "ffn_dim": m.d_ff}
        cfg = MarianConfig(
            vocab_size=len(ckpt.tokenizer),
            d_model=m.d_model,
            **{f"{stack}_{name}": n for stack in ("encoder", "decoder") for name, n in sizes.items()},
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
                logits_processor=[partial(end_at, lengths.repeat_interleave(self.beam))],
            )
            for row, ids in zip(rows, out[:, 1:].tolist(), strict=True):
                n_tokens[row] = ids.index(EOS) + 1
        return n_tokens


def end_at(lengths: Tensor, input_ids: Tensor, scores: Tensor) -> Tensor:
    """The scores of a step in which each row ends if it has its length with this token, and else goes on."""
    now = input_ids.shape[1]  # counts the token of this step, but not the one at the start
    eos = torch.arange(scores.shape[1], device=scores.device) == EOS
    return scores.masked_fill(((lengths == now)[:, None] & ~eos) | ((lengths > now)[:, None] & eos), -torch.inf)


class CTranslate2(Decoder):
    """CTranslate2 with our own export, in a process of its own, since it reads its variables when it is loaded.

    Sentences of equal length go into one call; calls run side by side.
    """

    products = ((0, 0), (1, 0), (1, 1))  # CT2_USE_MKL and CT2_PACKED_GEMM, which is about MKL alone

    def __init__(self, ckpt: Checkpoint, beam: int, device: torch.device, precision: str) -> None:
        from rope_mt.translation import ctranslate2

        super().__init__(ckpt, beam, device, precision)
        cpu = device.type == "cpu"
        n = cores() if cpu else 1
        products = [{"CT2_USE_MKL": mkl, "CT2_PACKED_GEMM": packed} for mkl, packed in self.products]
        workers = [{"workers": workers, "threads": n // workers} for workers in sorted({1, n})]
        self.choices = [*([products] if cpu else []), self.choices[0], workers]
        with TemporaryDirectory() as folder:
            ctranslate2.specification(ckpt).save(folder)
            files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        self.pieces, _, _ = ckpt.tokenizer.pieces()
        compute_type = {"fp32": "float32", "fp16": "float16"}.get(precision, precision)
        self.model = {"files": files, "device": device.type, "compute_type": compute_type}
        self.process: Any = None

    def use(self, setting: Setting) -> None:
        if setting == self.setting:
            return
        if self.process:
            self.process.shutdown()
        variables = {name: str(value) for name, value in setting.items() if name.startswith("CT2_")}
        model = {**self.model, "inter_threads": setting["workers"], "intra_threads": setting["threads"]}
        self.process = ProcessPoolExecutor(1, get_context("spawn"), load_ctranslate2, (variables, model))
        self.process.submit(len, ()).result()  # when it is loaded
        self.setting = setting

    def decode(self, work: Work) -> list[int]:
        pieces = [([self.pieces[i] for i in source], length) for source, length in work]
        return self.process.submit(translate, pieces, self.beam, self.setting["sentences"]).result()


def load_ctranslate2(variables: dict[str, str], model: dict[str, Any]) -> None:
    """Load the model in a new process with these variables of the environment."""
    global translator
    os.environ.update(variables)
    import ctranslate2

    translator = ctranslate2.Translator("exported", **model)


def translate(work: list[tuple[list[str], int]], beam: int, size: int) -> list[int]:
    """What CTranslate2's process makes of the pieces of each source and the length of its translation."""
    order = sorted(range(len(work)), key=lambda row: (-work[row][1], len(work[row][0])))
    pending = []
    for length, rows in groupby(order, key=lambda row: work[row][1]):
        pending += translator.translate_batch(
            [work[row][0] for row in rows],
            beam_size=beam,
            length_penalty=ALPHA,
            min_decoding_length=length,
            max_decoding_length=length,
            max_batch_size=size,
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
        from rope_mt.translation import ctranslate2

        if device.type == "mps":
            raise UserError("ctranslate2 has no mps device: take device=cpu")
        ctranslate2.check(train)
