"""What updates the weights: Adam, or Muon for the layers' matrices and Adam for the rest; and its learning rate."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from rope_mt.config.training import OptimizerConfig
from rope_mt.model.transformer import Transformer

PARTS = {"qkv": 3, "kv": 2}  # linear maps that are several in one weight, one below the other


def configured(model: Transformer, cfg: OptimizerConfig, max_steps: int) -> dict[str, Any]:
    """The optimizer of the model's weights and its schedule, as Lightning wants them."""
    optimizer = muon_and_adam(model, cfg) if cfg.name == "muon" else adam(list(model.parameters()), cfg)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_peak(cfg, max_steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def adam(weights: list[nn.Parameter], cfg: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101), which without weight decay is Adam to the last bit."""
    betas = (cfg.beta1, cfg.beta2)
    return torch.optim.AdamW(weights, cfg.lr, betas, cfg.eps, cfg.weight_decay, fused=True)


def muon_and_adam(model: Transformer, cfg: OptimizerConfig) -> "Together":
    """Muon for the matrices of encoder and decoder layers; Adam for embedding, biases, norms and position schemes."""
    matrices: dict[int, list[nn.Parameter]] = {}  # by how many parts each is made of
    for layers in (model.encoder.layers, model.decoder.layers):
        for name, weight in layers.named_parameters():
            if weight.ndim == 2:
                matrices.setdefault(PARTS.get(name.split(".")[-2], 1), []).append(weight)
    found = {id(weight) for weights in matrices.values() for weight in weights}
    others = [weight for weight in model.parameters() if id(weight) not in found]
    muon = PartwiseMuon(
        [{"params": weights, "parts": parts} for parts, weights in matrices.items()],
        lr=cfg.muon_lr or cfg.lr,
        momentum=cfg.momentum,
        weight_decay=cfg.weight_decay,
        adjust_lr_fn="match_rms_adamw",  # moves matrices about as far as Adam would: arXiv 2502.16982, section 2.2
    )
    return Together(adam(others, cfg), muon)


def leave_out(optimizer: torch.optim.Optimizer, update: Tensor) -> None:
    """Make the next step change nothing where `update` is 1.0, and be as ever where it is 0.0.

    Args:
        update: on the device of the weights, in the attribute in which torch's GradScaler tells its fused optimizers
            the same: they look at it on the device, and nothing waits for that.
    """
    optimizer.found_inf = update  # pyright: ignore[reportAttributeAccessIssue]


class PartwiseMuon(torch.optim.Muon):
    """Muon (Jordan 2024), which orthogonalises the momentum of each matrix, here of each part of a fused one.

    A group's `parts` says how many matrices lie one below the other in each of its weights. They are updated exactly
    as they would be if each were a weight of its own; momentum is kept, and saved, in the shape of the whole.
    """

    def _init_group(
        self, group: Any, params_with_grad: list[Tensor], grads: list[Tensor], muon_momentum_bufs: list[Tensor]
    ) -> bool:
        """Collect what a step works on: torch's own method, and views of its parts in the place of each weight."""
        has_complex = super()._init_group(group, params_with_grad, grads, muon_momentum_bufs)
        for collected in (params_with_grad, grads, muon_momentum_bufs):
            collected[:] = [part for whole in collected for part in whole.chunk(group["parts"])]
        return has_complex

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all weights, unless `leave_out` says no, which torch's own method does not ask."""
        left_out: Tensor | None = getattr(self, "found_inf", None)
        if left_out is None:
            return super().step(closure)
        if left_out.is_cpu:
            return None if left_out else super().step(closure)
        return self.step_or_undo(left_out.bool())

    @torch.no_grad()
    def step_or_undo(self, undo: Tensor) -> None:
        """The same without asking the device: the step is made, and undone where `undo` is true."""
        weights = [weight for group in self.param_groups for weight in group["params"] if weight.grad is not None]
        for weight in weights:
            if "momentum_buffer" not in self.state[weight]:  # as the first step will make it
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight.grad)
        kept = [tensor for weight in weights for tensor in (weight, self.state[weight]["momentum_buffer"])]
        before = [tensor.clone() for tensor in kept]
        super().step()
        for now, was in zip(kept, before, strict=True):
            now.copy_(torch.where(undo, was, now))


class Together(torch.optim.Optimizer):
    """Several optimizers as the one that Lightning's loop and a schedule want, each with its own share of the weights.

    Groups and state are here and in each of them the same objects, so that a learning rate set here is theirs, and
    what is saved here is all that they know.
    """

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers
        super().__init__([group for each in optimizers for group in each.param_groups], {})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Called by `load_state_dict`, with groups and state that are new objects."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        groups = iter(self.param_groups)
        for each in self.optimizers:
            each.state, each.param_groups = self.state, list(islice(groups, len(each.param_groups)))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all weights; the closure is called once, before, and its result returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        left_out: Tensor | None = getattr(self, "found_inf", None)
        for each in self.optimizers:
            if left_out is not None:
                leave_out(each, left_out)
            each.step()
        return loss


def share_of_peak(cfg: OptimizerConfig, max_steps: int) -> Callable[[int], float]:
    """The factor of the learning rate after so many updates, that is, for update n = steps + 1 of max_steps.

    Both schedules begin with n / warmup_steps, up to 1 at n = warmup_steps. Then

    - inverse-sqrt: sqrt(warmup_steps / n), Vaswani et al. 2017, eq. 3;
    - linear: (max_steps + 1 - n) / (max_steps + 1 - b), but at most 1, where b, after which it falls, is
      (1 - cooldown) * max_steps, but at least warmup_steps. The last update's factor is 1 / (max_steps + 1 - b), not 0.
    """
    warmup = cfg.warmup_steps
    begin = max(warmup, max_steps - int(cfg.cooldown * max_steps))

    def inverse_sqrt(steps: int) -> float:
        return min((steps + 1) / warmup, (warmup / (steps + 1)) ** 0.5)

    def linear(steps: int) -> float:
        falling = max(0, max_steps - steps) / max(1, max_steps + 1 - begin)
        return min((steps + 1) / warmup, 1.0, falling)

    return linear if cfg.schedule == "linear" else inverse_sqrt
