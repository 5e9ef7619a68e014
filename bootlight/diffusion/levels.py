"""How the noise levels of a step are drawn, for whoever must know them before there are images."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bootlight.diffusion.schedule import DiscreteSchedule, Schedule
from bootlight.diffusion.timesteps import TimestepSampler
from bootlight.errors import BootlightError

Usable = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DrawnLevels:
    """The levels of a model in training; see `data.eligible.Levels`.

    Args:
        timesteps: set up, on the CPU.
        own: of the objective: the ranges of sigma that images are trained at, of those that they may be trained at.
    """

    timesteps: TimestepSampler
    own: Usable

    @classmethod
    def of(cls, timesteps: TimestepSampler, usable: Usable) -> DrawnLevels:
        """A copy of what a model draws by.

        Raises:
            BootlightError: it learns from the losses on the way, which processes that read ahead cannot know.
        """
        if timesteps.observes:
            raise BootlightError(
                f"model.timesteps is {type(timesteps).__name__}, which learns from the losses; where images may be trained at "
                "some noise levels only, levels are drawn before the images, ahead of any loss: take "
                "bootlight.UniformTimesteps or bootlight.LogNormal"
            )
        return cls(deepcopy(timesteps).cpu(), usable)

    @property
    def schedule(self) -> Schedule:
        """Of the levels."""
        return self.timesteps.schedule

    def draw(self, u: Tensor, position: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `TimestepSampler.draw`."""
        return self.timesteps.draw(u, position)

    def sigma(self, t: Tensor) -> Tensor:
        """Noise over signal at `t`, (B,)."""
        return sigma_at(self.schedule, t)

    def usable(self, ranges: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Objective.usable`."""
        return self.own(torch.from_numpy(ranges)).numpy()

    def met(self) -> NDArray[np.float64]:
        """Levels that may be drawn: a table, rising, or the lowest and the highest."""
        if isinstance(self.schedule, DiscreteSchedule):
            return self.schedule.log_sigma.exp().numpy()
        return np.array(self.schedule.sigmas())

    @property
    def continuous(self) -> bool:
        """Whether what lies between them may be drawn too."""
        return True


def sigma_at(schedule: Schedule, t: Tensor) -> Tensor:
    """Noise over signal, (B,)."""
    level = schedule.level(t)
    return torch.as_tensor(level.noise / level.signal).flatten()
