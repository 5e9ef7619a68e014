"""From an image back to the noise that a sampler makes it of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bootlight.diffusion.prediction import Estimate

if TYPE_CHECKING:
    from bootlight.diffusion.grid import Grid
    from bootlight.diffusion.sampler import Ask, MarkovSampler, Noise


class Recorded:
    """The noise of an inversion: in the place of fresh noise it leads back to the image.

    Args:
        draws: of each step that takes noise, in order, (B, C, H, W).
        residual: what is left at the end, where no noise is added; the sampler adds it.
        rows: int64 (n,), the images of the inversion that are led back to, an image as often as it stands there; all of them,
            once each, if left out. A draw is repeated when it is asked for, so that a record stays as large as it is.
    """

    def __init__(self, draws: Sequence[Tensor], residual: Tensor, rows: Tensor | None = None) -> None:
        self.draws = list(draws)
        self.residual = residual if rows is None else residual[rows]
        self._inverted = residual
        self._rows = rows
        self._used = 0

    def normal(self, *shape: int) -> Tensor:
        """The next recorded draw, (B, *shape).

        Raises:
            ValueError: there is none, or of another shape: the sampler is another one than in the inversion.
        """
        if self._used == len(self.draws) or tuple(self.draws[self._used].shape[1:]) != shape:
            raise ValueError(f"the inversion has recorded {len(self.draws)} draws of noise, but another one is asked for")
        self._used += 1
        draw = self.draws[self._used - 1]
        return draw if self._rows is None else draw[self._rows]

    def again(self, rows: Tensor | None = None) -> Recorded:
        """The same from its beginning; with `rows`, for these images of the inversion."""
        return Recorded(self.draws, self._inverted, self._rows if rows is None else rows)


def cycle(sampler: MarkovSampler, ask: Ask, grid: Grid, x0: Tensor, noise: Noise) -> tuple[Tensor, Recorded]:
    """A forward trajectory of the image, and the noise by which the sampler follows it (Wu and De la Torre 2023, algorithm 1).

    For any denoiser the recorded noise leads back to the image, to rounding.

    Args:
        sampler: that adds noise at all steps but the last.
        ask: its denoiser.
        grid: its levels.
        x0: images (B, C, H, W).
        noise: of the trajectory.

    Returns:
        x at the first level of the grid, and the record.
    """
    start = x = grid.level(0).noisy(x0, noise.normal(*x0.shape[1:]))
    draws = []
    for i in range(grid.num_steps - 1):
        level = grid.level(i)
        true = Estimate(x0, (x - level.signal * x0) / level.noise)
        mean, deviation = sampler.step(grid, i, x, true)
        following = mean + deviation * noise.normal(*x0.shape[1:])
        mean, deviation = sampler.step(grid, i, x, ask(x, i))
        draws.append((following - mean) / deviation)
        x = following
    mean, _ = sampler.step(grid, grid.num_steps - 1, x, ask(x, grid.num_steps - 1))
    return start, Recorded(draws, x0 - mean)


def upward(sampler: MarkovSampler, ask: Ask, grid: Grid, x0: Tensor) -> tuple[Tensor, Recorded]:
    """The deterministic path of DDIM walked upward (Song et al. 2021, section 4.3): a step uses the estimate at its lower end.

    The way down uses those at the upper ends, so that it leads only nearly to the image, by an error of first order in the
    step; what is missing is the residual.

    Args:
        sampler: that adds no noise.
        ask: its denoiser.
        grid: its levels.
        x0: images (B, C, H, W).

    Returns:
        x at the first level of the grid, and the record.
    """
    last = grid.num_steps - 1
    x = grid.level(last).signal * x0  # the image is its own estimate, without noise
    for i in reversed(range(last)):
        estimate = ask(x, i + 1)
        x = grid.level(i).noisy(estimate.x0, estimate.epsilon)
    return x, Recorded([], x0 - sampler.walk(grid, ask, x, Recorded([], torch.zeros_like(x0)), None))
