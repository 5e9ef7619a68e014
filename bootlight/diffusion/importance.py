"""Noise levels drawn by how large the losses there have been."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bootlight.diffusion.timesteps import TimestepSampler
from bootlight.errors import BootlightError

if TYPE_CHECKING:
    from bootlight.diffusion.schedule import Schedule

WITHOUT_TABLE = 100  # parts of a schedule that has no timesteps
RESOLUTION = 2**40  # of a probability: sums of whole numbers are the same on every device
INSIDE = 2.0**-30  # share of a part that its edges are left alone by


class LossSecondMoment(TimestepSampler):
    """Each level as often as the root of the mean of its last squared losses (Nichol and Dhariwal 2021, equation 18).

    The weight 1 / (n p) of a level of n, drawn with probability p, makes up for it. Until every level has a whole history,
    all are drawn alike. Losses that are not finite are not remembered.

    Args:
        history: losses that are remembered of each level.
        uniform: share of the draws that are of all levels alike.
        bins: equal parts of the schedule's own measure that have one history each, between 1 and the number of timesteps;
            None = one for each timestep, or 100 where there is no table. A history of T timesteps takes some 25 T images.

    Raises:
        BootlightError: numbers out of range, here or for the schedule.
    """

    observes = True

    def __init__(self, history: int = 10, uniform: float = 0.001, bins: int | None = None) -> None:
        super().__init__()
        if history < 1 or not 0 < uniform <= 1:
            raise BootlightError(
                f"LossSecondMoment history is {history} and uniform {uniform}; they must be at least 1, and in (0, 1]"
            )
        self.history = history
        self.uniform = uniform
        self.bins = bins

    def setup(self, schedule: Schedule) -> None:
        """See `TimestepSampler`."""
        super().setup(schedule)
        most = schedule.num_timesteps
        bins = (most or WITHOUT_TABLE) if self.bins is None else self.bins
        if bins < 1 or (most is not None and bins > most):
            raise BootlightError(
                f"LossSecondMoment bins is {bins}; it must be at least 1" + ("" if most is None else f", at most {most}")
            )
        u = torch.arange(1, bins, dtype=torch.float64) / bins
        self.register_buffer("edges", schedule.drawn(u + INSIDE / bins).double(), persistent=False)
        self.register_buffer("losses", torch.zeros(bins, self.history, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(bins, dtype=torch.int64))
        self.edges: Tensor
        self.losses: Tensor
        self.seen: Tensor

    def shares(self) -> Tensor:
        """How often each part is drawn, int64 (bins,): its probability times their sum."""
        size = self.losses.square().mean(1).sqrt()
        warm = (self.seen.min() >= self.history) & (size.sum() > 0)
        size = torch.where(warm, size, 1.0)
        alike = self.uniform / len(size)
        return (RESOLUTION * ((1 - self.uniform) * size / size.sum() + alike)).round().long().clamp(min=1)

    def draw(self, u: Tensor, position: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `TimestepSampler`."""
        shares = self.shares()
        ends = shares.cumsum(0)
        place = u[position].double() * ends[-1]
        which = torch.searchsorted(ends, place.long(), right=True)
        within = 1 - (ends[which] - place) / shares[which]
        t = self.schedule.drawn((which + within.clamp(INSIDE, 1 - INSIDE)) / len(shares))
        return t, (ends[-1] / (len(shares) * shares[which])).to(torch.float32)

    def observe(self, t: Tensor, loss: Tensor) -> None:
        """See `TimestepSampler`."""
        known = torch.isfinite(loss)
        which, order = torch.searchsorted(self.edges, t[known].double(), right=True).sort(stable=True)
        number = torch.bincount(which, minlength=len(self.seen))
        # The i-th of those of a part in this step; of more than are remembered the last ones.
        i = torch.arange(len(which), device=t.device) - (number.cumsum(0) - number)[which]
        last = i >= number[which] - self.history
        place = which[last], (self.seen[which] + i)[last] % self.history
        self.losses[place] = loss[known][order][last].double()
        self.seen += number
