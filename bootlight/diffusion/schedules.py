"""The schedules by name: linear and cosine tables, and noise levels without a table."""

import math

import torch
from torch import Tensor

from bootlight.diffusion.grid import Grid, Level, karras
from bootlight.diffusion.schedule import SIGMA_MAX, SIGMA_MIN, DiscreteSchedule, Schedule
from bootlight.diffusion.spacing import Spacing


class LinearSchedule(DiscreteSchedule):
    """Betas from 1e-4 to 0.02 in equal steps (Ho et al. 2020), both scaled by 1000 / T for another T.

    Args:
        num_timesteps: T, more than 20.

    Raises:
        ValueError: fewer.
    """

    def __init__(self, num_timesteps: int = 1000) -> None:
        scale = 1000 / max(1, num_timesteps)
        if num_timesteps <= 20:
            raise ValueError(f"num_timesteps is {num_timesteps}; the linear schedule needs more than 20")
        betas = torch.linspace(1e-4 * scale, 0.02 * scale, num_timesteps, dtype=torch.float64)
        super().__init__(torch.cumprod(1 - betas, 0))


class CosineSchedule(DiscreteSchedule):
    """The squared cosine of Nichol and Dhariwal 2021, equation 17: offset 0.008, betas at most 0.999.

    Args:
        num_timesteps: T, at least 2.

    Raises:
        ValueError: fewer.
    """

    def __init__(self, num_timesteps: int = 1000) -> None:
        if num_timesteps < 2:
            raise ValueError(f"num_timesteps is {num_timesteps}; the cosine schedule needs at least 2")
        u = torch.linspace(0, 1, num_timesteps + 1, dtype=torch.float64)
        f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = (1 - f[1:] / f[:-1]).clamp(max=0.999)
        super().__init__(torch.cumprod(1 - betas, 0))


class SigmaSchedule(Schedule):
    """Noise added to an image that keeps its size, x_t = x0 + sigma * epsilon (Karras et al. 2022); `t` is sigma.

    Training averages over log sigma uniformly, unless a timestep sampler says otherwise.

    Args:
        sigma_min: lowest level.
        sigma_max: highest level, where drawing begins.

    Raises:
        ValueError: levels that are not above 0 and in order.
    """

    def __init__(self, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX) -> None:
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(f"sigma_min is {sigma_min} and sigma_max {sigma_max}; they must be above 0 and in this order")
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

    def level(self, t: Tensor) -> Level:
        """See `Schedule`."""
        sigma = t.view(-1, 1, 1, 1)
        return Level(torch.ones_like(sigma), sigma)

    def at(self, sigma: Tensor) -> Tensor:
        """The level itself."""
        return sigma.double()

    def sigmas(self) -> tuple[float, float]:
        """See `Schedule`."""
        return self.sigma_min, self.sigma_max

    def drawn(self, u: Tensor) -> Tensor:
        """Uniform in log sigma."""
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return (low + (high - low) * u).exp()

    def seen(self, t: Tensor) -> Tensor:
        """250 log sigma: a thousand times what Karras et al. 2022, table 1, give to a network."""
        return 250 * t.log()

    def descent(self, num_steps: int | None, spacing: Spacing, rho: float, sigma_min: float) -> Grid:
        """See `Schedule`; linspace is even in log sigma."""
        if num_steps is None or num_steps < 1:
            raise ValueError(f"num_steps is {num_steps}; a schedule without a table needs a number of steps, at least 1")
        if spacing not in ("linspace", "karras"):
            raise ValueError(f"spacing is {spacing}, for timesteps in a table, which are not here: take linspace or karras")
        low = max(sigma_min, self.sigma_min) if spacing == "karras" else self.sigma_min
        if spacing == "karras":
            levels = karras(num_steps, rho, low, self.sigma_max)
        else:
            ends = math.log(low if num_steps > 1 else self.sigma_max), math.log(self.sigma_max)
            levels = torch.linspace(*ends, num_steps, dtype=torch.float64)
        sigma = levels.exp().flip(0)
        return Grid.of(sigma, torch.ones_like(sigma), sigma)
