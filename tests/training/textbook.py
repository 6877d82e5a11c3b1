"""Training as the papers write it, with nothing done to make it fast: what the levers are compared with.

One sentence at a time, so there is no padding; a product for each projection; eq. 34 of RoFormer feature by feature;
softmax, loss and Adam as torch has them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rope_mt.data.batches import Batch
from rope_mt.data.tokenizer import PAD
from rope_mt.training.module import TranslationModule

FUSED = {"qkv": ("q", "k", "v"), "kv": ("k", "v")}


class Textbook:
    """A post-norm model with rope and without dropout, that begins with the same weights as `module`."""

    def __init__(self, module: TranslationModule) -> None:
        self.cfg = module.cfg
        self.weights: dict[str, Tensor] = {}
        for name, value in module.model.named_parameters():
            layer, _, kind = name.rpartition(".")
            parts = FUSED.get(layer.rpartition(".")[2])
            names = [f"{layer.rpartition('.')[0]}.{part}.{kind}" for part in parts] if parts else [name]
            for own, part in zip(names, value.detach().chunk(len(names)), strict=True):
                self.weights[own] = part.clone().requires_grad_()
        cfg = self.cfg.optimizer
        self.adam = torch.optim.Adam(self.weights.values(), betas=(cfg.beta1, cfg.beta2), eps=cfg.eps)
        self.steps = 0

    def step(self, batch: Batch) -> float:
        """One update; the loss before it, in nats a token."""
        optimizer = self.cfg.optimizer
        lengths = torch.bincount(batch.where // batch.tgt_in.shape[1]).tolist()
        loss = torch.zeros(())
        for src, tgt_in, tgt_out in zip(batch.src, batch.tgt_in, batch.tgt_out.split(lengths), strict=True):
            logits = self.logits(src[src != PAD], tgt_in[: len(tgt_out)])
            loss = loss + F.cross_entropy(logits, tgt_out, reduction="sum", label_smoothing=optimizer.label_smoothing)
        loss = loss / batch.n_tokens
        self.adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), self.cfg.trainer.clip)
        self.steps += 1
        warmup = optimizer.warmup_steps
        self.adam.param_groups[0]["lr"] = optimizer.lr * min(self.steps / warmup, math.sqrt(warmup / self.steps))
        self.adam.step()
        return loss.item()

    def logits(self, src: Tensor, tgt: Tensor) -> Tensor:
        memory = self.embed(src)
        for i in range(self.cfg.model.n_layers):
            memory = self.layer(f"encoder.layers.{i}", memory, None, causal=False)
        x = self.embed(tgt)
        for i in range(self.cfg.model.n_layers):
            x = self.layer(f"decoder.layers.{i}", x, memory, causal=True)
        return x @ self.weights["embedding.weight"].T

    def embed(self, ids: Tensor) -> Tensor:
        return self.weights["embedding.weight"][ids] * math.sqrt(self.cfg.model.d_model)

    def layer(self, name: str, x: Tensor, memory: Tensor | None, causal: bool) -> Tensor:
        x = self.norm(f"{name}.residuals.0", x + self.attention(f"{name}.attention", x, x, causal, turned=True))
        last = 1
        if memory is not None:
            across = self.attention(f"{name}.cross_attention", x, memory, causal=False, turned=False)
            x = self.norm(f"{name}.residuals.1", x + across)
            last = 2
        inner = self.linear(f"{name}.feed_forward.inner", x).clamp(min=0)
        return self.norm(f"{name}.residuals.{last}", x + self.linear(f"{name}.feed_forward.outer", inner))

    def attention(self, name: str, x: Tensor, to: Tensor, causal: bool, turned: bool) -> Tensor:
        q, k, v = self.linear(f"{name}.q", x), self.linear(f"{name}.k", to), self.linear(f"{name}.v", to)
        heads = []
        for q_h, k_h, v_h in zip(*(z.chunk(self.cfg.model.n_heads, dim=-1) for z in (q, k, v)), strict=True):
            if turned:
                q_h, k_h = turn(q_h), turn(k_h)
            scores = q_h @ k_h.T / math.sqrt(q_h.shape[-1])
            if causal:
                scores = scores + torch.full_like(scores, -math.inf).triu(1)
            heads.append(scores.softmax(dim=-1) @ v_h)
        return self.linear(f"{name}.out", torch.cat(heads, dim=-1))

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.weights[f"{name}.norm.weight"] + self.weights[f"{name}.norm.bias"]


def turn(x: Tensor) -> Tensor:
    """RoFormer eq. 34, for x of (len, d_head) at positions 0, 1, 2, ..."""
    length, d = x.shape
    theta = 10_000.0 ** (-torch.arange(0, d, 2) / d).repeat_interleave(2)
    angles = torch.arange(length)[:, None] * theta
    swapped = torch.stack((-x[:, 1::2], x[:, 0::2]), dim=-1).flatten(1)
    return x * angles.cos() + swapped * angles.sin()
