"""Noise levels, and the descent of a sampler through them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Level(NamedTuple):
    """How much of x_t is image and how much is noise: x_t = signal * x0 + noise * epsilon.

    Both are kept, taken from float64: near the data 1 - abar in float32 would have lost three digits.
    """

    signal: Tensor | float
    noise: Tensor | float

    def noisy(self, x0: Tensor, epsilon: Tensor) -> Tensor:
        """x_t of clean images and noise (B, C, H, W)."""
        return self.signal * x0 + self.noise * epsilon


class Reverse(NamedTuple):
    """The posterior q(x_s | x_t, x0) of the forward process between two levels: from_x0 * x0 + from_xt * x_t, and variances.

    Attributes:
        from_x0: factor of the clean image in the mean.
        from_xt: factor of the noisy image.
        low: variance of the posterior, beta-tilde in Ho et al. 2020, equation 7; 0 where the step leads to the image.
        high: variance that the forward step adds, beta.
    """

    from_x0: float
    from_xt: float
    low: float
    high: float


class Grid(NamedTuple):
    """The levels that a sampler visits, noisiest first; step i leads from level i to level i + 1, the last one to the image.

    Attributes:
        t: (S,) what the denoiser is asked with: int64 timesteps of a table, or float64 (between two of them, or sigma).
        signal: (S + 1,) float64, 1 at the end.
        noise: (S + 1,) float64, 0 at the end.
        raised: levels (S) that noise is added up to before the steps, where a sampler does that; None = nowhere.
    """

    t: Tensor
    signal: Tensor
    noise: Tensor
    raised: Grid | None = None

    @classmethod
    def of(cls, t: Tensor, signal: Tensor, noise: Tensor) -> Grid:
        """A grid of S levels, to which the clean image is added."""
        end = torch.ones(1, dtype=torch.float64)
        return cls(t, torch.cat([signal.double(), end]), torch.cat([noise.double(), 0 * end]))

    @property
    def with_raised(self) -> Grid:
        """Its own S levels, then those that noise is added up to."""
        if self.raised is None:
            return self
        pairs = zip(self[:3], self.raised[:3], strict=True)
        t, signal, noise = (torch.cat([own[: self.num_steps].double(), up[: self.num_steps].double()]) for own, up in pairs)
        return Grid.of(t, signal, noise)

    @property
    def num_steps(self) -> int:
        """S."""
        return len(self.t)

    def level(self, i: int) -> Level:
        """Level i in float64, from 0, the noisiest, to S, the image."""
        return Level(float(self.signal[i]), float(self.noise[i]))

    def sigma(self, i: int) -> float:
        """Noise over signal."""
        return float(self.noise[i]) / float(self.signal[i])

    def times(self, i: int, x: Tensor) -> Tensor:
        """What the denoiser is asked with at level i, (B,) on the device of `x`."""
        whole = not self.t.is_floating_point()
        return torch.full((len(x),), self.t[i].item(), dtype=torch.int64 if whole else x.dtype, device=x.device)

    def reverse(self, i: int) -> Reverse:
        """The posterior of step i (Ho et al. 2020, equation 7, for any signal and noise)."""
        now, then = self.signal[i : i + 2].tolist()
        kept = now / then
        before, after = self.noise[i : i + 2].square().tolist()
        added = before - kept**2 * after
        return Reverse(then * added / before, kept * after / before, added * after / before, added)

    def from_step(self, i: int) -> Grid:
        """The same descent from step i on."""
        raised = None if self.raised is None else self.raised.from_step(i)
        return Grid(self.t[i:], self.signal[i:], self.noise[i:], raised)

    def from_sigma(self, sigma: float, t: Tensor, level: Level) -> Grid:
        """The same descent from another level: those that are not below it go, it becomes the first.

        Args:
            sigma: noise over signal to start from.
            t: what stands for it.
            level: signal and noise of it.
        """
        kept = [i for i in range(self.num_steps) if self.sigma(i) < sigma * (1 - 1e-9)]

        def joined(first: Tensor | float, rest: Tensor) -> Tensor:
            return torch.cat([torch.as_tensor(first, dtype=torch.float64).reshape(1), rest.double()])

        return Grid.of(joined(t, self.t[kept]), joined(level.signal, self.signal[kept]), joined(level.noise, self.noise[kept]))


def karras(num_steps: int, rho: float, low: float, high: float) -> Tensor:
    """Logarithms of `num_steps` noise levels from `low` to `high`, rising (Karras et al. 2022, equation 5); of one, `high`."""
    ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64) if num_steps > 1 else torch.ones(1, dtype=torch.float64)
    ends = math.exp(math.log(low) / rho), math.exp(math.log(high) / rho)
    return rho * (ends[0] + ramp * (ends[1] - ends[0])).log()
