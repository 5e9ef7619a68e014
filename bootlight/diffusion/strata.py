"""Noise levels of a step that are spread on purpose: strata and antithetic pairs, around any other sampler."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bootlight.diffusion.timesteps import TimestepSampler, UniformTimesteps

if TYPE_CHECKING:
    from bootlight.diffusion.schedule import Schedule

HALF = 2.0**-25  # to the middle of what one uniform number of float32 stands for: never on an edge between two timesteps
GOLDEN = (math.sqrt(5) - 1) / 2


class Around(TimestepSampler):
    """A sampler that is given other uniform numbers, each of which is still uniform.

    Weights, state, and what the other one does not make up for are its own.

    Args:
        inner: the other one; UniformTimesteps if left out.
    """

    def __init__(self, inner: TimestepSampler | None = None) -> None:
        super().__init__()
        self.inner = inner or UniformTimesteps()
        self.observes = self.inner.observes
        self.biased = self.inner.biased

    def setup(self, schedule: Schedule) -> None:
        """See `TimestepSampler`."""
        super().setup(schedule)
        self.inner.setup(schedule)

    def draw(self, u: Tensor, position: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `TimestepSampler`."""
        return self.inner.draw(self.spread(u.double() + HALF), position)

    @abstractmethod
    def spread(self, u: Tensor) -> Tensor:
        """Other numbers for the images of a whole step.

        Args:
            u: float64 (total,), in (0, 1).

        Returns:
            As many in (0, 1), each of them uniform.
        """

    def observe(self, t: Tensor, loss: Tensor) -> None:
        """See `TimestepSampler`."""
        self.inner.observe(t, loss)


class Stratified(Around):
    """One time from each of as many equal parts as the optimizer step has images: t = floor(T (i + u_i) / B).

    Each part has a number of its own (Cochran 1977, chapter 5); one for all of them would be systematic sampling, which varies
    more here. The parts are those of the whole step: on B images of all devices and of all batches that gradients are
    accumulated over. Which image gets which part follows the golden ratio, so that every batch of a few images in a row, a
    device's share among them, has levels from everywhere.

    Args:
        inner: sampler whose uniform numbers are spread; UniformTimesteps if left out.
    """

    def spread(self, u: Tensor) -> Tensor:
        """See `Around`."""
        i = torch.arange(len(u), dtype=torch.float64, device=u.device)
        return ((GOLDEN * i % 1).argsort().argsort() + u) / len(u)


class Antithetic(Around):
    """Pairs of images at mirrored times, t and T - 1 - t (Hammersley and Morton 1956); a last one without a partner as it is.

    Args:
        inner: sampler whose uniform numbers are mirrored; UniformTimesteps if left out.
    """

    def spread(self, u: Tensor) -> Tensor:
        """See `Around`."""
        i = torch.arange(len(u), device=u.device)
        first = u[i - i % 2]
        return torch.where(i % 2 == 0, first, 1 - first)
