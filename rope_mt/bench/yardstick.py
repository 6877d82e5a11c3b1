"""What training is measured against: `torch.nn.Transformer` as torch's documentation has it, of the same shape."""

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from rope_mt.config.commands import TrainConfig
from rope_mt.data.batches import Batch
from rope_mt.data.tokenizer import PAD
from rope_mt.position.absolute import sinusoid


class Yardstick(nn.Module):
    """The same batches, vocabulary, sizes, loss, optimizer and clipping; the rest is torch's, and not compiled.

    Padding is computed and then masked, logits are made of all slots at once, and sinusoids are added to the embeddings
    whatever the position scheme is. As torch has it, dropout also acts on attention weights and inside the feed-forward
    sublayers, where ours has none, and each stack ends in a LayerNorm.

    Its methods are called as those of `TranslationModule`.
    """

    def __init__(self, cfg: TrainConfig, vocab_size: int) -> None:
        super().__init__()
        m = cfg.model
        self.cfg = cfg
        self.embedding = nn.Embedding(vocab_size, m.d_model)  # of source, target and output
        nn.init.normal_(self.embedding.weight, std=m.d_model**-0.5)
        longest = cfg.data.max_len + 1  # eos
        self.register_buffer("positions", sinusoid(torch.arange(longest), m.d_model), persistent=False)
        self.positions: Tensor
        self.dropout = nn.Dropout(m.dropout)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "enable_nested_tensor")  # about inference, where norm comes first
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
        """Adam with linear warm-up; what comes after that is further than any measurement goes."""
        cfg = self.cfg.optimizer
        adam = torch.optim.Adam(self.parameters(), lr=cfg.lr, betas=(cfg.beta1, cfg.beta2), eps=cfg.eps, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(adam, 1 / cfg.warmup_steps, total_iters=cfg.warmup_steps)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule}}
