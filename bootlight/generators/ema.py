"""Exponential moving average of a network's weights."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError


class EMA(nn.Module):
    """A second copy of a network that follows it, in float32.

    The decay warms up, min(decay, (1 + n) / (10 + n)) at update n, so that a short training is not dominated by its start.

    Args:
        network: the network to follow.
        decay: in [0, 1); 0.9999 in improved DDPM.

    Raises:
        BootlightError: a decay out of range.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise BootlightError(f"model.ema_decay is {decay}; it must be at least 0 and below 1")
        self.decay = decay
        self.num_updates = 0
        self.network = deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move one step towards `network`; integer buffers (batch-norm counters) are copied."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        averaged = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        torch._foreach_lerp_(
            [mine for mine, _ in averaged], [theirs.detach().to(mine.dtype) for mine, theirs in averaged], 1 - decay
        )
        for mine, theirs in pairs:
            if not mine.is_floating_point():
                mine.copy_(theirs)

    def train(self, mode: bool = True) -> "EMA":
        """Stay in eval mode: an average is for drawing, never for training."""
        return super().train(False)

    def get_extra_state(self) -> dict[str, Any]:
        """The number of updates, on which the warm-up depends."""
        return {"num_updates": self.num_updates}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the number of updates."""
        self.num_updates = int(state["num_updates"])


def _tensors(network: nn.Module) -> Iterable[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
