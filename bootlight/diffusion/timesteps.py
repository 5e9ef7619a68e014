"""Which noise levels a training step sees."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError

if TYPE_CHECKING:
    from bootlight.diffusion.schedule import Schedule


class TimestepSampler(nn.Module, ABC):
    """Draws `t` for a step of training; what it has learned on the way is in its buffers, and with them in every checkpoint."""

    observes = False  # whether it wants to know the losses
    biased = False  # whether it draws from another measure than the schedule's on purpose, without weights that make up for it

    def setup(self, schedule: Schedule) -> None:
        """Know the schedule; buffers get their sizes here, before a checkpoint is loaded."""
        self.schedule = schedule

    @abstractmethod
    def draw(self, u: Tensor, position: Tensor) -> tuple[Tensor, Tensor | None]:
        """Times and weights of some images of an optimizer step.

        Args:
            u: (total,) uniform numbers in [0, 1), one for each image of the whole step, on all devices.
            position: int64 (B,), which of them these images are.

        Returns:
            `t` (B,), and weights (B,) of the losses, None = 1: the mean of weight * f(t) over draws is the mean of f over the
            schedule's own measure, unless a class says otherwise.
        """

    def observe(self, t: Tensor, loss: Tensor) -> None:
        """Learn from the losses (B,) of a step, without weights, of all devices; called where `observes` is set."""


class UniformTimesteps(TimestepSampler):
    """The schedule's own measure: every timestep of a table alike, log sigma uniformly where there is none."""

    def draw(self, u: Tensor, position: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `TimestepSampler`."""
        return self.schedule.drawn(u[position]), None


class LogNormal(TimestepSampler):
    """log sigma is normal (Karras et al. 2022, table 1): the levels at which most is learned, seen most often.

    Another measure than the schedule's on purpose: no weights make up for it. What lies beyond the schedule's levels is moved
    to the nearest.

    Args:
        mean: of log sigma.
        deviation: of log sigma.

    Raises:
        BootlightError: a deviation that is not above 0.
    """

    biased = True

    def __init__(self, mean: float = -1.2, deviation: float = 1.2) -> None:
        super().__init__()
        _check_normal(type(self).__name__, mean, deviation)
        self.mean = mean
        self.deviation = deviation

    def draw(self, u: Tensor, position: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `TimestepSampler`."""
        low, high = self.schedule.sigmas()
        sigma = (self.mean + self.deviation * _normal(u[position])).exp().clamp(low, high)
        return self.schedule.at(sigma).to(u.dtype), None


class LogitNormal(TimestepSampler):
    """The place in the schedule, from 0 to 1, is logit-normal: seldom an end (Esser et al. 2024, section 3.1).

    Theirs is a rectified flow, whose place is noise / (signal + noise): there it is the measure of `LogNormal`, since the logit
    of that is log sigma. Here the place is that in the schedule's own measure, t / T of a table. Another measure than that on
    purpose: no weights make up for it.

    Args:
        mean: of the logit; above 0 favors high noise.
        deviation: of the logit.

    Raises:
        BootlightError: a deviation that is not above 0.
    """

    biased = True

    def __init__(self, mean: float = 0.0, deviation: float = 1.0) -> None:
        super().__init__()
        _check_normal(type(self).__name__, mean, deviation)
        self.mean = mean
        self.deviation = deviation

    def draw(self, u: Tensor, position: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `TimestepSampler`."""
        place = torch.sigmoid(self.mean + self.deviation * _normal(u[position])).clamp(max=1 - 2.0**-24)
        return self.schedule.drawn(place), None


def _check_normal(name: str, mean: float, deviation: float) -> None:
    if not (math.isfinite(mean) and 0 < deviation < math.inf):
        raise BootlightError(f"{name} mean is {mean} and deviation {deviation}; they must be numbers, the second above 0")


def _normal(u: Tensor) -> Tensor:
    """Standard normal numbers of uniform ones, in float64."""
    return torch.special.ndtri(u.double().clamp(min=2.0**-25))
