"""What stands around a plug-in while it is tried: denoisers whose answers are known, and a small network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bootlight.checking.trials import noise
from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.schedule import Schedule


class Exact(Denoiser):
    """The denoiser of independent normal pixels: E[x0 | x_t] and E[noise | x_t] for N(mean, variance).

    Args:
        schedule: that it was trained on.
        mean: of the data.
        variance: of the data; 0 = all images are constant.
    """

    def __init__(self, schedule: Schedule, mean: float, variance: float) -> None:
        super().__init__(schedule)
        self.mean = mean
        self.variance = variance
        self.one = nn.Parameter(torch.ones(()))
        self.calls = 0

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """See `Denoiser`."""
        self.calls += 1
        level = self.schedule.level(t)
        total = level.signal**2 * self.variance + level.noise**2
        centred = self.one * (x_t - level.signal * self.mean) / total
        return Estimate(self.mean + level.signal * self.variance * centred, level.noise * centred)


class Blend(nn.Module):
    """A small network `(x, time, labels, **cond)` whose answer for an image depends on all of its pixels and on its time.

    Args:
        channels: of the images.
        outputs: channels of the answers.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, outputs, 3, padding=1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.3 * noise(*parameter.shape, name="weights"))

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None, **cond: Any) -> Tensor:
        """Answers (B, outputs, H, W)."""
        return torch.tanh(self.mix(x) + torch.sin(time / 100).view(-1, 1, 1, 1))


class Model:
    """A published diffusion model, for what refers to one.

    Args:
        schedule: of its training.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.own = Exact(schedule, -0.3, 0.2)

    def denoiser(self, ema: bool = True) -> Denoiser:
        """Its denoiser."""
        return self.own
