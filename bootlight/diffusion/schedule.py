"""Noise schedules: which levels there are, and how a sampler descends through them (Ho et al. 2020)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from bootlight.diffusion.grid import Grid, Level, karras
from bootlight.diffusion.spacing import Spacing, evenly_spaced

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0  # of Karras et al. 2022; beyond the upper one nothing of an image can be seen


class Schedule(ABC):
    """The noise levels of a forward process x_t = signal * x0 + noise * epsilon; sigma is noise over signal throughout.

    `t` is the index of a table where the schedule has one, between two entries too, and otherwise sigma.
    """

    num_timesteps: int | None = None  # T of a table; None = continuous
    keeps_variance = False  # whether signal^2 + noise^2 is 1

    @abstractmethod
    def level(self, t: Tensor) -> Level:
        """Signal and noise at (B,), each (B, 1, 1, 1)."""

    @abstractmethod
    def at(self, sigma: Tensor) -> Tensor:
        """The `t` of noise levels, float64 (B,)."""

    @abstractmethod
    def sigmas(self) -> tuple[float, float]:
        """The lowest and the highest noise level."""

    @abstractmethod
    def drawn(self, u: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) to `t` (B,): the measure that training averages over where nothing else is asked for."""

    @abstractmethod
    def seen(self, t: Tensor) -> Tensor:
        """What a network is told of `t`, float (B,): a number whose sines and cosines can tell levels apart."""

    @abstractmethod
    def descent(self, num_steps: int | None, spacing: Spacing, rho: float, sigma_min: float) -> Grid:
        """The grid from the noisiest level."""

    def grid(
        self,
        num_steps: int | None = None,
        *,
        spacing: Spacing = "linspace",
        rho: float = RHO,
        sigma_min: float = SIGMA_MIN,
        start: float | None = None,
    ) -> Grid:
        """The levels of a sampler.

        Args:
            num_steps: how many; None = every timestep of a table.
            spacing: where they lie, see `bootlight.diffusion.spacing`.
            rho: of the spacing karras.
            sigma_min: lowest level of the spacing karras, or the schedule's own where that is higher.
            start: noise level, as sigma, to start from: levels below it stay, it becomes the first, nothing is cut anew.

        Raises:
            ValueError: the schedule does not allow so many steps, that spacing, or a start there.
        """
        grid = self.descent(num_steps, spacing, rho, sigma_min)
        if start is None:
            return grid
        if not 0 < start < math.inf:
            raise ValueError(f"start is {start}; it must be a noise level above 0")
        t = self.at(torch.tensor([start], dtype=torch.float64))
        return grid.from_sigma(start, t, self.level(t))

    def deviation(self, grid: Grid) -> float:
        """Standard deviation of the noise that a descent from nothing begins with."""
        return 1.0 if self.keeps_variance else float(grid.noise[0])


class DiscreteSchedule(Schedule):
    """A table of levels whose signal and noise keep the variance: signal^2 + noise^2 = 1.

    Args:
        alphas_cumprod: (T,), strictly decreasing, in (0, 1); entry 0 has one step of noise.

    Raises:
        ValueError: it is not.
    """

    keeps_variance = True

    def __init__(self, alphas_cumprod: Tensor) -> None:
        table = alphas_cumprod.double()
        if len(table) == 0 or not 0 < float(table[-1]) <= float(table[0]) < 1 or (table.diff() >= 0).any():
            raise ValueError("alphas_cumprod must fall strictly, between 1 and 0")
        self.alphas_cumprod = table
        self.num_timesteps: int = len(table)
        self._copies: dict[tuple[str, torch.device], Tensor] = {}

    def __len__(self) -> int:
        return self.num_timesteps

    def __getstate__(self) -> dict[str, object]:
        """Without the copies on devices: a process that reads ahead has none."""
        return vars(self) | {"_copies": {}}

    @cached_property
    def alphas_cumprod_prev(self) -> Tensor:
        """abar one step closer to the data; 1 before the first step."""
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod[:-1]])

    @cached_property
    def betas(self) -> Tensor:
        """Variance added by each step."""
        return 1 - self.alphas_cumprod / self.alphas_cumprod_prev

    @cached_property
    def posterior_variance(self) -> Tensor:
        """Variance of q(x_{t-1} | x_t, x0), beta-tilde in Ho et al. 2020, equation 7; 0 at t = 0."""
        return self.betas * (1 - self.alphas_cumprod_prev) / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_mean_x0(self) -> Tensor:
        """Factor of x0 in the mean of q(x_{t-1} | x_t, x0)."""
        return self.alphas_cumprod_prev.sqrt() * self.betas / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_mean_xt(self) -> Tensor:
        """Factor of x_t in the mean of q(x_{t-1} | x_t, x0)."""
        return (1 - self.betas).sqrt() * (1 - self.alphas_cumprod_prev) / (1 - self.alphas_cumprod)

    @cached_property
    def min_log_variance(self) -> Tensor:
        """Log of beta-tilde, at t = 0 that of t = 1 (its own would be the log of 0)."""
        if len(self) == 1:
            return self.betas.log()
        return torch.cat([self.posterior_variance[1:2], self.posterior_variance[1:]]).log()

    @cached_property
    def max_log_variance(self) -> Tensor:
        """Log of beta."""
        return self.betas.log()

    @cached_property
    def signal(self) -> Tensor:
        """Factor of x0 in x_t."""
        return self.alphas_cumprod.sqrt()

    @cached_property
    def noise(self) -> Tensor:
        """Factor of the noise in x_t."""
        return (1 - self.alphas_cumprod).sqrt()

    @cached_property
    def log_sigma(self) -> Tensor:
        """Minus half the log of the signal-to-noise ratio, rising."""
        return 0.5 * ((1 - self.alphas_cumprod).log() - self.alphas_cumprod.log())

    def _at(self, table: str, t: Tensor) -> Tensor:
        """Values of a table, by its name, at timesteps (B,), as float32 (B, 1, 1, 1) on the device of `t`."""
        key = table, t.device
        if key not in self._copies:  # one copy for each device: the host waits for it
            self._copies[key] = getattr(self, table).float().to(t.device)
        return self._copies[key][t].view(-1, 1, 1, 1)

    def level(self, t: Tensor) -> Level:
        """See `Schedule`; between two entries the log of the signal-to-noise ratio is interpolated."""
        if not t.is_floating_point():
            return Level(self._at("signal", t), self._at("noise", t))
        table = self.log_sigma.to(t.device)
        below = t.double().floor().long().clamp(0, len(self) - 1)
        above = (below + 1).clamp(max=len(self) - 1)
        two_log_sigma = 2 * torch.lerp(table[below], table[above], t.double() - below).to(t.dtype).view(-1, 1, 1, 1)
        return Level(torch.sigmoid(-two_log_sigma).sqrt(), torch.sigmoid(two_log_sigma).sqrt())

    def at(self, sigma: Tensor) -> Tensor:
        """See `Schedule`.

        Raises:
            ValueError: a level that is not between the first and the last.
        """
        table, wanted = self.log_sigma, sigma.double().cpu().log()
        if (wanted < table[0] - 1e-9).any() or (wanted > table[-1] + 1e-9).any():
            low, high = float(table[0].exp()), float(table[-1].exp())
            raise ValueError(f"there is no noise level {sigma.tolist()}; this schedule has {low:.3g} to {high:.3g}")
        if len(self) == 1:
            return torch.zeros_like(wanted)
        above = torch.searchsorted(table, wanted).clamp(1, len(self) - 1)
        share = (wanted - table[above - 1]) / (table[above] - table[above - 1])
        return (above - 1 + share.clamp(0, 1)).to(sigma.device)

    def sigmas(self) -> tuple[float, float]:
        """See `Schedule`."""
        return float(self.log_sigma[0].exp()), float(self.log_sigma[-1].exp())

    def drawn(self, u: Tensor) -> Tensor:
        """Every timestep alike, int64."""
        return (u * len(self)).long()

    def seen(self, t: Tensor) -> Tensor:
        """t * 1000 / T, as in improved-diffusion."""
        return t * (1000 / len(self))

    def descent(self, num_steps: int | None, spacing: Spacing, rho: float, sigma_min: float) -> Grid:
        """See `Schedule`; each level is one of the table."""
        if num_steps is None:
            kept = torch.arange(len(self))
        elif spacing == "karras":
            kept = self._nearest(num_steps, rho, sigma_min)
        else:
            kept = evenly_spaced(len(self), num_steps, spacing)
        kept = kept.flip(0)
        return Grid.of(kept, self.signal[kept], self.noise[kept])

    def _nearest(self, num_steps: int, rho: float, sigma_min: float) -> Tensor:
        """Timesteps nearest in log sigma to the levels of Karras et al. 2022; where two are one, its neighbour is taken."""
        if not 1 <= num_steps <= len(self):
            raise ValueError(f"num_steps is {num_steps}; this schedule allows 1 to {len(self)}")
        levels = self.log_sigma
        low, high = (max(min(math.log(s), float(levels[-1])), float(levels[0])) for s in (sigma_min, SIGMA_MAX))
        wanted = karras(num_steps, rho, math.exp(low), math.exp(high))
        kept = (levels[None] - wanted[:, None]).abs().argmin(1)
        order = torch.arange(num_steps)
        kept = (kept - order).cummax(0).values + order  # at least one apart, upwards
        return torch.minimum(kept, torch.arange(len(self) - num_steps, len(self)))  # and not beyond the end

    def posterior_mean(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x0) (Ho et al. 2020, equation 7)."""
        return self._at("posterior_mean_x0", t) * x0 + self._at("posterior_mean_xt", t) * x_t

    def learned_log_variance(self, fraction: Tensor, t: Tensor) -> Tensor:
        """Log-variance between beta-tilde (fraction 0) and beta (fraction 1), Nichol and Dhariwal 2021, equation 15."""
        low, high = self._at("min_log_variance", t), self._at("max_log_variance", t)
        return fraction * high + (1 - fraction) * low
