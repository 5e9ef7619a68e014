"""What stands around a plug-in while it is tried: denoisers whose answers are known, and a small network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bootlight.checking.trials import noise
from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.exact import GaussianDenoiser
from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.schedule import Schedule
from bootlight.networks.features import Change, Features


class Exact(GaussianDenoiser):
    """That of independent normal pixels, all alike, with calls that are counted and something to train.

    Args:
        schedule: that it was trained on.
        mean: of the data.
        variance: of the data; 0 = all images are constant.
    """

    def __init__(self, schedule: Schedule, mean: float, variance: float) -> None:
        numbers = torch.tensor([mean, variance], dtype=torch.float64)
        super().__init__(numbers[0], numbers[1], schedule, says_variance=False)
        self.one = nn.Parameter(torch.ones(()))
        self.calls = 0

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """See `Denoiser`."""
        self.calls += 1
        return super().forward(self.one * x_t, t, labels, **cond)


class Blend(nn.Module):
    """A small network `(x, time, labels, **cond)` whose answer for an image depends on all of its pixels and on its time.

    It takes images of any size.

    Args:
        channels: of the images.
        outputs: channels of the answers.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.any_size = True
        self.mix = nn.Conv2d(channels, outputs, 3, padding=1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.3 * noise(*parameter.shape, name="weights"))

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None, **cond: Any) -> Tensor:
        """Answers (B, outputs, H, W)."""
        return self.decode(self.encode(x, time))

    def encode(self, x: Tensor, time: Tensor, labels: Tensor | None = None, *, change: Change | None = None) -> Features:
        """See `networks.features.TakenApart`; the encoder is one layer."""
        seen = self.mix(x)
        seen = seen if change is None else change(seen)
        return Features(seen + torch.sin(time / 100).view(-1, 1, 1, 1), None)

    def decode(self, features: Features, *, change: Change | None = None) -> Tensor:
        """See `networks.features.TakenApart`; so is the decoder."""
        answer = torch.tanh(features.bottleneck)
        return answer if change is None else change(answer)


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
