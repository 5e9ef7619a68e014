"""Noise schedules and the posterior of the forward process (Ho et al. 2020; Nichol and Dhariwal 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from bootlight.diffusion.spacing import Spacing, evenly_spaced


class Level(NamedTuple):
    """How much of x_t is image and how much is noise: x_t = signal * x0 + noise * epsilon.

    Both are kept, taken from float64: near the data 1 - abar in float32 would have lost three digits.
    """

    signal: Tensor | float
    noise: Tensor | float


@dataclass(frozen=True)
class Schedule:
    """A discrete variance-preserving process, possibly respaced to fewer steps.

    Args:
        alphas_cumprod: (S,) float64, strictly decreasing, in (0, 1).
        timesteps: (S,) int64, the timestep of the training schedule that each step stands for.
    """

    alphas_cumprod: Tensor
    timesteps: Tensor

    @staticmethod
    def from_alphas_cumprod(alphas_cumprod: Tensor) -> Schedule:
        """A training schedule: every step is its own timestep."""
        return Schedule(alphas_cumprod.double(), torch.arange(len(alphas_cumprod)))

    @staticmethod
    def linear(num_train_timesteps: int = 1000) -> Schedule:
        """Betas from 1e-4 to 0.02 in equal steps (Ho et al. 2020), both scaled by 1000 / T for another T."""
        scale = 1000 / num_train_timesteps
        betas = torch.linspace(1e-4 * scale, 0.02 * scale, num_train_timesteps, dtype=torch.float64)
        return Schedule.from_alphas_cumprod(torch.cumprod(1 - betas, 0))

    @staticmethod
    def cosine(num_train_timesteps: int = 1000) -> Schedule:
        """The squared cosine of Nichol and Dhariwal 2021, equation 17: offset 0.008, betas at most 0.999."""
        u = torch.linspace(0, 1, num_train_timesteps + 1, dtype=torch.float64)
        f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = (1 - f[1:] / f[:-1]).clamp(max=0.999)
        return Schedule.from_alphas_cumprod(torch.cumprod(1 - betas, 0))

    def respaced(self, num_steps: int, spacing: Spacing = "linspace") -> Schedule:
        """Keep `num_steps` evenly spaced steps; see `bootlight.diffusion.spacing` for which.

        Raises:
            ValueError: more steps than the schedule has, fewer than 1, or steps that this spacing cannot take.
        """
        kept = evenly_spaced(len(self), num_steps, spacing)
        return Schedule(self.alphas_cumprod[kept], self.timesteps[kept])

    def respaced_by_noise(self, num_steps: int, rho: float, *, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Schedule:
        """Keep `num_steps` steps with noise levels sigma = sqrt(1 / abar - 1) spaced as in Karras et al. 2022, equation 5.

        Each is the timestep whose level is nearest in log sigma; where two would be the same, its neighbour is taken.

        Args:
            num_steps: from 1 to the length of the schedule.
            rho: 7 as published; larger ones take shorter steps near the data.
            sigma_min: lowest level, or the schedule's own where that is higher.
            sigma_max: highest level, or the schedule's own where that is lower.

        Raises:
            ValueError: more steps than the schedule has, or fewer than 1.
        """
        if not 1 <= num_steps <= len(self):
            raise ValueError(f"num_steps is {num_steps}; this schedule allows 1 to {len(self)}")
        levels = (1 / self.alphas_cumprod - 1).sqrt().log()
        low, high = (max(min(math.log(s), float(levels[-1])), float(levels[0])) for s in (sigma_min, sigma_max))
        ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64) if num_steps > 1 else torch.ones(1, dtype=torch.float64)
        ends = math.exp(low / rho), math.exp(high / rho)
        wanted = rho * (ends[0] + ramp * (ends[1] - ends[0])).log()
        kept = (levels[None] - wanted[:, None]).abs().argmin(1)
        order = torch.arange(num_steps)
        kept = (kept - order).cummax(0).values + order  # at least one apart, upwards
        kept = torch.minimum(kept, torch.arange(len(self) - num_steps, len(self)))  # and not beyond the end
        return Schedule(self.alphas_cumprod[kept], self.timesteps[kept])

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

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
    def _copies(self) -> dict[tuple[str, torch.device], Tensor]:
        return {}

    def _at(self, table: str, t: Tensor) -> Tensor:
        """Values of a table, by its name, at timesteps (B,), as float32 (B, 1, 1, 1) on the device of `t`."""
        key = table, t.device
        if key not in self._copies:  # one copy for each device: the host waits for it
            self._copies[key] = getattr(self, table).float().to(t.device)
        return self._copies[key][t].view(-1, 1, 1, 1)

    def level(self, t: Tensor) -> Level:
        """Signal and noise at timesteps (B,), each (B, 1, 1, 1)."""
        return Level(self._at("signal", t), self._at("noise", t))

    def step_level(self, i: int) -> Level:
        """Signal and noise of step `i`; of the clean image at -1."""
        abar = 1.0 if i < 0 else float(self.alphas_cumprod[i])
        return Level(math.sqrt(abar), math.sqrt(1 - abar))

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t for clean images and noise (B, C, H, W) at timesteps (B,)."""
        level = self.level(t)
        return level.signal * x0 + level.noise * noise

    def posterior_mean(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x0) (Ho et al. 2020, equation 7)."""
        return self._at("posterior_mean_x0", t) * x0 + self._at("posterior_mean_xt", t) * x_t

    def learned_log_variance(self, fraction: Tensor, t: Tensor) -> Tensor:
        """Log-variance between beta-tilde (fraction 0) and beta (fraction 1), Nichol and Dhariwal 2021, equation 15."""
        low, high = self._at("min_log_variance", t), self._at("max_log_variance", t)
        return fraction * high + (1 - fraction) * low
