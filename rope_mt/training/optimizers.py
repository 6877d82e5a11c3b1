"""The optimizers, Adam, or Muon for the matrices of the layers and Adam for the rest, and their learning rate."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rope_mt.config.training import OptimizerConfig
from rope_mt.model.transformer import Transformer

PARTS = {"qkv": 3, "kv": 2}  # projections that are one weight: so many matrices, one below the other


def configured(model: Transformer, cfg: OptimizerConfig, max_steps: int, precision: str) -> dict[str, Any]:
    """The optimizer of the model's weights and its schedule, as Lightning wants them."""
    optimizer = muon_and_adam(model, cfg, precision) if cfg.name == "muon" else adam(list(model.parameters()), cfg)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, fraction_of_peak(cfg, max_steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def adam(weights: list[nn.Parameter], cfg: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101), which without weight decay is Adam to the last bit."""
    betas = (cfg.beta1, cfg.beta2)
    return torch.optim.AdamW(weights, cfg.lr, betas, cfg.eps, cfg.weight_decay, fused=True)


def muon_and_adam(model: Transformer, cfg: OptimizerConfig, precision: str) -> "Together":
    """Muon for the matrices of the layers and for the projections of the position schemes; Adam for the rest.

    Adam's are embeddings, of positions too, biases, norms, single numbers, and networks narrower than d_model.
    """
    matrices: dict[int, list[Tensor]] = {}  # by the number of their parts
    for stack in (model.encoder, model.decoder):
        for name, module in stack.named_modules():
            if not isinstance(module, nn.Linear):
                continue
            if name.startswith("layers.") or min(module.weight.shape) >= model.embedding.embedding_dim:
                matrices.setdefault(PARTS.get(name.split(".")[-1], 1), []).append(module.weight)
    in_muon = {id(weight) for weights in matrices.values() for weight in weights}
    others = [weight for weight in model.parameters() if id(weight) not in in_muon]
    muon = Muon(
        [{"params": weights, "parts": parts} for parts, weights in matrices.items()],
        lr=cfg.muon_lr or cfg.lr,
        momentum=cfg.momentum,
        weight_decay=cfg.weight_decay,
        dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
    )
    return Together(adam(others, cfg), muon)


def before_step(optimizer: torch.optim.Optimizer, divisor: Tensor, skip: Tensor) -> None:
    """Have the next step divide all gradients by `divisor`, and change nothing if `skip` is 1.0 and not 0.0.

    Both are numbers on the device of the weights. torch's GradScaler sets the same attributes of fused optimizers,
    which look at them there: nothing waits, and no pass over the gradients is made for it.
    """
    optimizer.grad_scale, optimizer.found_inf = divisor, skip  # pyright: ignore[reportAttributeAccessIssue]


class Muon(torch.optim.Optimizer):
    """Muon (Jordan 2024), which orthogonalises the momentum of each matrix, here of each part of a fused one.

    A group's `parts` is the number of matrices that lie one below the other in each of its weights. Each is updated as
    a weight of its own would be; momentum has the shape of the whole weight.

    torch.optim.Muon does the same, to a last digit of bf16, but with one matrix after the other, and always in bf16,
    which takes three times as long as fp32 on a processor that has to emulate it.
    """

    grad_scale: Tensor  # these two are from `before_step`
    found_inf: Tensor

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, momentum: float, weight_decay: float, dtype: torch.dtype
    ) -> None:
        """`dtype` is what the products are computed in; weights and momentum keep theirs."""
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all weights, as `before_step` has set."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault(weight.shape, []).append(weight)
            for weights in alike.values():
                self._update(weights, group)

    def _update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Update weights of one shape, whose matrices are orthogonalised together."""
        directions: list[Tensor] = []
        skip = self.found_inf.bool()
        for weight in weights:
            assert weight.grad is not None
            gradient = weight.grad / self.grad_scale
            if not self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(gradient)
            before: Tensor = self.state[weight]["momentum_buffer"]
            momentum = before.lerp(gradient, 1 - group["momentum"])
            directions += gradient.lerp(momentum, group["momentum"]).chunk(group["parts"])  # Nesterov's
            self.state[weight]["momentum_buffer"] = torch.where(skip, before, momentum)
        moves = orthogonal(torch.stack(directions), self.dtype)
        # moves a matrix about as far as Adam would: Liu et al., arXiv 2502.16982, section 2.2
        far = group["lr"] * 0.2 * max(moves.shape[1:]) ** 0.5
        for weight, move in zip(weights, moves.chunk(len(weights)), strict=True):
            moved = (weight * (1 - group["lr"] * group["weight_decay"])).add_(move.flatten(0, 1), alpha=-far)
            weight.copy_(torch.where(skip, weight, moved))


def orthogonal(
    matrices: Float[Tensor, "matrices rows columns"], dtype: torch.dtype
) -> Float[Tensor, "matrices rows columns"]:
    """Roughly u @ v of each matrix u @ diag(s) @ v, by five steps of a Newton-Schulz iteration (Jordan 2024).

    Singular values come out between 0.5 and 1.5, apart from very small ones. The matrices are computed together: on two
    cores small ones take a third (bf16) or 55 % (fp32) of the time that they take one after the other.
    """
    wide = matrices.to(dtype, copy=True)
    tall = wide.shape[-2] > wide.shape[-1]
    if tall:
        wide = wide.mT
    wide.div_(wide.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7))  # no singular value above 1
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(5):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if tall else wide


class Together(torch.optim.Optimizer):
    """Several optimizers, each of some of the weights, as the one that Lightning's loop and a schedule take.

    Groups and state are the same objects here and in each of them, so that a learning rate set here is theirs.
    """

    grad_scale, found_inf = torch.tensor(1.0), torch.tensor(0.0)  # until `before_step` sets others

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers
        super().__init__([group for each in optimizers for group in each.param_groups], {})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Called by `load_state_dict`, with new objects for groups and state."""
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
        for optimizer in self.optimizers:
            before_step(optimizer, self.grad_scale, self.found_inf)
            optimizer.step()
        return loss


def fraction_of_peak(cfg: OptimizerConfig, max_steps: int) -> Callable[[int], float]:
    """The fraction of the peak learning rate for update n of max_steps, as a function of n - 1.

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
