"""Denoisers: anything that maps (x_t, t, labels) to an `Estimate`; compositions of denoisers are denoisers."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from bootlight.diffusion.prediction import Estimate, Prediction
from bootlight.diffusion.schedule import Schedule


class Denoiser(Protocol):
    """`t` are timesteps of the training schedule, int64 (B,); `labels` are int64 (B,) or None."""

    def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Estimate:
        """The estimate for noisy images (B, C, H, W)."""
        ...


@dataclass(frozen=True)
class NetworkDenoiser:
    """A network `(x_t, t * 1000 / T, labels) -> output` read through a prediction type.

    Timesteps times 1000 / T let every schedule span the same range of angles (`rescale_timesteps` of improved-diffusion).

    When the output has twice the channels of `x_t`, the second half is the variance: o in [-1, 1] stands for the fraction
    (o + 1) / 2 (Nichol and Dhariwal 2021, equation 15).
    """

    network: nn.Module
    prediction: Prediction
    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Estimate:
        """See `Denoiser`."""
        return self.read(self.network(x_t, t * (1000 / len(self.schedule)), labels).float(), x_t, t)

    def read(self, output: Tensor, x_t: Tensor, t: Tensor) -> Estimate:
        """Turn a network output into an estimate."""
        channels = x_t.shape[1]
        answer, variance = output[:, :channels], output[:, channels:]
        estimate = self.prediction.estimate(answer, x_t, self.schedule.level(t))
        fraction = (variance + 1) / 2 if variance.shape[1] else None
        return Estimate(estimate.x0, estimate.epsilon, fraction)


@dataclass(frozen=True)
class Guided:
    """Classifier-free guidance (Ho and Salimans 2022): unconditional + scale * (conditional - unconditional).

    Scale 1 is the conditional denoiser, 0 the unconditional one; the variance is that of the conditional one.
    The combination is the same in x0 and in epsilon, both being linear in each other at fixed x_t.
    """

    denoiser: Denoiser
    scale: float

    def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Estimate:
        """See `Denoiser`; without labels the unconditional estimate is returned."""
        if labels is None or self.scale == 1:
            return self.denoiser(x_t, t, labels)
        conditional, unconditional = self.denoiser(x_t, t, labels), self.denoiser(x_t, t, None)
        return Estimate(
            torch.lerp(unconditional.x0, conditional.x0, self.scale),
            torch.lerp(unconditional.epsilon, conditional.epsilon, self.scale),
            conditional.variance_fraction,
        )
