"""Muon: momentum whose matrices are made orthogonal before they are applied (Keller Jordan, 2024).

Matrices of one shape are worked on together; the processes share the work.
"""

import torch
import torch.distributed as dist
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrices, [n, rows, columns]."""
    a, b, c = _COEFFICIENTS
    x = matrices
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For weights inside a network, not for embeddings or the head. Those of convolutions are
    matrices of one row per output."""

    def __init__(
        self, parameters: list[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.1
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})
        self.shapes = sorted({tuple(p.shape) for p in parameters})

    @torch.no_grad()
    def step(self) -> None:
        rank, world = 0, 1
        if dist.is_initialized():
            rank, world = dist.get_rank(), dist.get_world_size()
        for group in self.param_groups:
            updates = []
            for shape in self.shapes:
                alike = [p for p in group["params"] if tuple(p.shape) == shape]
                for p in alike:
                    state = self.state[p]
                    if not state:
                        state["velocity"] = torch.zeros_like(p)
                    state["velocity"].lerp_(p.grad, 1 - group["momentum"])
                looked_ahead = torch.stack(
                    [p.grad.lerp(self.state[p]["velocity"], group["momentum"]) for p in alike]
                ).flatten(2)
                update = torch.zeros_like(looked_ahead)
                update[rank::world] = orthogonalise(looked_ahead[rank::world])
                updates.append((alike, update))
            shared = torch.cat([update.flatten() for _, update in updates])
            if world > 1:
                dist.all_reduce(shared)
            start = 0
            for alike, update in updates:
                update = shared[start : start + update.numel()].view_as(update)
                start += update.numel()
                scale = group["lr"] * max(1, update.shape[1] / update.shape[2]) ** 0.5
                for p, change in zip(alike, update, strict=True):
                    p.mul_(1 - group["lr"] * group["decay"]).add_(change.view_as(p), alpha=-scale)


def small_state(optimizer: torch.optim.Optimizer) -> dict:
    """An optimizer's state with first moments in bfloat16; loading makes them float32 again."""
    state = optimizer.state_dict()
    rounded = {
        number: {
            name: value.bfloat16() if name in ("velocity", "exp_avg") else value
            for name, value in entries.items()
        }
        for number, entries in state["state"].items()
    }
    return {**state, "state": rounded}
