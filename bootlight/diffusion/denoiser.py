"""Denoisers: anything that maps (x_t, t, labels) to an `Estimate`; compositions of denoisers are denoisers."""

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor, nn

from bootlight.diffusion.prediction import Estimate, Prediction
from bootlight.diffusion.schedule import Schedule


class Denoiser(nn.Module, ABC):
    """`t` (B,) is what the schedule has levels by; `labels` are int64 (B,), the number of classes for "no label", or None.

    Args:
        schedule: that it was trained on.
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """The estimate for noisy images (B, C, H, W); `cond` is whatever else the network takes, (B, ...)."""


class NetworkDenoiser(Denoiser):
    """A network `(x, time, labels, **cond) -> output` read through a prediction type.

    Args:
        network: trained, or in training.
        prediction: what its answers mean.
        schedule: that it was trained on.
    """

    def __init__(self, network: nn.Module, prediction: Prediction, schedule: Schedule) -> None:
        super().__init__(schedule)
        self.network = network
        self.prediction = prediction

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """See `Denoiser`."""
        return self.read(self.output(x_t, t, labels, **cond), x_t, t)

    def output(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Tensor:
        """What the network answers, at least in float32."""
        output: Tensor = self.network(*self.inputs(x_t, t), labels, **cond)
        return output.to(torch.promote_types(output.dtype, torch.float32))

    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees of noisy images (B, C, H, W) and of their times (B,)."""
        return self.prediction.inputs(x_t, self.schedule.level(t), self.schedule.seen(t).to(x_t.dtype))

    def read(self, output: Tensor, x_t: Tensor, t: Tensor) -> Estimate:
        """Turn a network output into an estimate."""
        return self.prediction.estimate(output, x_t, self.schedule.level(t))


class Guided(Denoiser):
    """Classifier-free guidance (Ho and Salimans 2022): unconditional + scale * (conditional - unconditional).

    Scale 1 is the conditional denoiser, 0 the unconditional one; the variance is that of the conditional one.
    The combination is the same in x0 and in epsilon, both being linear in each other at fixed x_t.

    Args:
        denoiser: knows labels.
        scale: of the guidance.
    """

    def __init__(self, denoiser: Denoiser, scale: float) -> None:
        super().__init__(denoiser.schedule)
        self.denoiser = denoiser
        self.scale = scale

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """See `Denoiser`; without labels the unconditional estimate is returned."""
        if labels is None or self.scale == 1:
            return self.denoiser(x_t, t, labels, **cond)  # type: ignore[no-any-return]
        conditional: Estimate = self.denoiser(x_t, t, labels, **cond)
        return mixed(self.denoiser(x_t, t, None, **cond), conditional, self.scale, variance=conditional)


def mixed(start: Estimate, end: Estimate, share: float, *, variance: Estimate) -> Estimate:
    """start + share * (end - start), in x0, in epsilon and, where one has it, in the direction; else that of `variance`."""
    direction = None
    if start.direction is not None or end.direction is not None:
        first, last = (one.epsilon if one.direction is None else one.direction for one in (start, end))
        direction = torch.lerp(first, last, share)
    x0, epsilon = torch.lerp(start.x0, end.x0, share), torch.lerp(start.epsilon, end.epsilon, share)
    return replace(variance, x0=x0, epsilon=epsilon, direction=direction)
