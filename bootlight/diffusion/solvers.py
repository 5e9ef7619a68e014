"""Second-order solvers of the probability-flow ODE: good images in 10 to 40 network calls, without noise unless asked for.

With an exact denoiser both inflate the variance of Gaussian data, by an error of second order in the step: about 9 % with 20
steps, 1 % with 50. In a loop these biases accumulate.
"""

import math
from typing import Any

import torch
from torch import Tensor

from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.grid import Grid, Level
from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.sampler import Ask, Noise, Record, Sampler
from bootlight.diffusion.schedule import SIGMA_MAX, Schedule
from bootlight.diffusion.spacing import Spacing


class Solver(Sampler):
    """A solver with the choice of where its steps lie.

    Args:
        num_steps: steps from noise to image; None = every timestep of the training schedule.
        guidance: classifier-free guidance scale; 1 = none.
        clip: limit the estimate of the clean image to [-1, 1] at each step.
        rho: spacing of the noise levels (Karras et al. 2022, equation 5); None = evenly spaced timesteps, see `spacing`.
        sigma_min: noise level, over signal, of the last step, which goes to the clean image; only with `rho`. After a short
            training 0.1 to 0.3 leaves out levels at which the network adds more noise than it removes.
        spacing: which timesteps are visited without `rho`; linspace, leading or trailing, as of `DDIM`.
    """

    def __init__(
        self,
        num_steps: int | None = 20,
        guidance: float = 1.0,
        clip: bool = True,
        rho: float | None = 7.0,
        sigma_min: float = 0.002,
        spacing: Spacing = "linspace",
    ) -> None:
        super().__init__(num_steps, guidance, clip, spacing)
        if rho is not None and not 0 < rho < math.inf:
            raise ValueError(f"model.sampler.rho is {rho}; it must be above 0, or null for evenly spaced timesteps")
        if not 0 < sigma_min < SIGMA_MAX:
            raise ValueError(f"model.sampler.sigma_min is {sigma_min}; it must be above 0 and below {SIGMA_MAX:g}")
        if rho is not None and spacing not in ("linspace", "karras"):
            raise ValueError(
                f"model.sampler.spacing is {spacing}, but rho decides where the steps lie; set model.sampler.rho to null"
            )
        self.rho = rho
        self.sigma_min = sigma_min

    def grid(self, schedule: Schedule, start: float | None = None) -> Grid:
        """See `Sampler.grid`."""
        if self.rho is None or self.num_steps is None:
            return super().grid(schedule, start)
        return schedule.grid(self.num_steps, spacing="karras", rho=self.rho, sigma_min=self.sigma_min, start=start)

    def protocol(self) -> dict[str, Any]:
        """See `Sampler.protocol`; a spacing by `rho` is called karras."""
        return super().protocol() | ({} if self.rho is None or self.num_steps is None else {"spacing": "karras"})


class DPMSolver(Solver):
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2): each step extrapolates from the estimate of the step before.

    One network call a step. The first step and the last one, which goes to the clean image, are of first order: DDIM's.

    Args:
        num_steps: steps, each of one network call; None = every timestep of the training schedule.
        guidance: classifier-free guidance scale; 1 = none.
        clip: limit the estimate of the clean image to [-1, 1] at each step.
        rho: spacing of the noise levels (Karras et al. 2022, equation 5); None = evenly spaced timesteps, see `spacing`.
        sigma_min: noise level, over signal, of the last step, which goes to the clean image; only with `rho`. After a short
            training 0.1 to 0.3 leaves out levels at which the network adds more noise than it removes.
        spacing: which timesteps are visited without `rho`; linspace, leading or trailing, as of `DDIM`.
    """

    def walk(self, grid: Grid, ask: Ask, x: Tensor, noise: Noise, record: Record | None) -> Tensor:
        """See `Sampler.walk`."""
        # Half the log of the signal-to-noise ratio, the time in which the ODE is nearly linear.
        half_log_snr = [-math.log(grid.sigma(i)) for i in range(grid.num_steps)]
        earlier: Estimate | None = None
        for i in range(grid.num_steps - 1):
            estimate = ask(x, i)
            x0, h = estimate.x0, half_log_snr[i + 1] - half_log_snr[i]
            if earlier is not None:
                ratio = (half_log_snr[i] - half_log_snr[i - 1]) / h
                x0 = x0 + (x0 - earlier.x0) / (2 * ratio)
            now, then = grid.level(i), grid.level(i + 1)
            following = (then.noise / now.noise) * x - then.signal * math.expm1(-h) * x0
            if record is not None:
                record(i, x, following, 0.0)
            x, earlier = following, estimate
        last = grid.num_steps - 1
        image = ask(x, last).x0
        if record is not None:
            record(last, x, image, 0.0)
        return image


class Heun(Solver):
    """Heun's method in x / signal over sigma (Karras et al. 2022, algorithm 1; with `churn`, algorithm 2).

    Two network calls a step, and one for the last step, which is Euler's: 2 `num_steps` - 1.

    Args:
        num_steps: steps; None = every timestep of the training schedule.
        guidance: classifier-free guidance scale; 1 = none.
        clip: limit the estimate of the clean image to [-1, 1] at each step.
        rho: spacing of the noise levels (Karras et al. 2022, equation 5); None = evenly spaced timesteps, see `spacing`.
        sigma_min: noise level, over signal, of the last step, which goes to the clean image; only with `rho`. After a short
            training 0.1 to 0.3 leaves out levels at which the network adds more noise than it removes.
        spacing: which timesteps are visited without `rho`; linspace, leading or trailing, as of `DDIM`.
        churn: S_churn of the paper: before each step noise is added up to a level higher by churn / `num_steps` of itself, by
            41 % at most, and never beyond the schedule's highest; 0 = nothing is added.
        churn_min: sigma from which on that is done.
        churn_max: sigma up to which it is; None = all.
        churn_noise: deviation of the noise that is added.
    """

    def __init__(
        self,
        num_steps: int | None = 18,
        guidance: float = 1.0,
        clip: bool = True,
        rho: float | None = 7.0,
        sigma_min: float = 0.002,
        spacing: Spacing = "linspace",
        churn: float = 0.0,
        churn_min: float = 0.0,
        churn_max: float | None = None,
        churn_noise: float = 1.0,
    ) -> None:
        super().__init__(num_steps, guidance, clip, rho, sigma_min, spacing)
        for name, value in (("churn", churn), ("churn_min", churn_min), ("churn_max", churn_max), ("churn_noise", churn_noise)):
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"model.sampler.{name} is {value}; it must be a number from 0 on")
        self.churn, self.churn_min, self.churn_max, self.churn_noise = churn, churn_min, churn_max, churn_noise

    def grid(self, schedule: Schedule, start: float | None = None) -> Grid:
        """See `Sampler.grid`; with the levels that noise is added up to."""
        grid = super().grid(schedule, start)
        if self.churn == 0:
            return grid
        sigma = grid.noise[:-1] / grid.signal[:-1]
        share = min(self.churn / (self.num_steps or schedule.num_timesteps or 1), math.sqrt(2) - 1)
        chosen = (sigma >= self.churn_min) & (sigma <= (math.inf if self.churn_max is None else self.churn_max))
        higher = torch.maximum(sigma, (sigma * (1 + share)).clamp(max=schedule.sigmas()[1]))
        t = schedule.at(torch.where(chosen, higher, sigma))
        level = schedule.level(t)
        return grid._replace(raised=Grid.of(t, *(torch.as_tensor(part).flatten() for part in level)))

    def protocol(self) -> dict[str, Any]:
        """See `Sampler.protocol`; nothing of `churn` where there is none."""
        return {name: value for name, value in super().protocol().items() if self.churn or not name.startswith("churn")}

    def asking(self, denoiser: Denoiser, grid: Grid, labels: Tensor | None, cond: dict[str, Tensor]) -> Ask:
        """See `Sampler.asking`; at S + i the level that noise is added up to before step i."""
        return super().asking(denoiser, grid.with_raised, labels, cond)

    def calls(self, num_steps: int) -> int:
        """Network calls for each image, guidance aside."""
        return 2 * num_steps - 1

    def walk(self, grid: Grid, ask: Ask, x: Tensor, noise: Noise, record: Record | None) -> Tensor:
        """See `Sampler.walk`."""
        for i in range(grid.num_steps):
            at, now, start = self._raised(grid, i, x, noise)
            then = grid.level(i + 1)
            h = then.noise / then.signal - now.noise / now.signal  # of sigma, below 0
            slope = ask(start, at).epsilon  # d(x / signal) / d(sigma)
            following = then.signal * (start / now.signal + h * slope)
            if i + 1 < grid.num_steps:
                slope = (slope + ask(following, i + 1).epsilon) / 2
                following = then.signal * (start / now.signal + h * slope)
            if record is not None:
                record(i, x, following, 0.0)
            x = following
        return x

    def _raised(self, grid: Grid, i: int, x: Tensor, noise: Noise) -> tuple[int, Level, Tensor]:
        """Where step i starts, noise added: the number of its level, the level, and the images."""
        now = grid.level(i)
        if grid.raised is None or grid.raised.sigma(i) <= grid.sigma(i) * (1 + 1e-9):
            return i, now, x
        added = math.sqrt(grid.raised.sigma(i) ** 2 - grid.sigma(i) ** 2)
        then = grid.raised.level(i)
        noisier = x / now.signal + self.churn_noise * added * noise.normal(*x.shape[1:])
        return grid.num_steps + i, then, then.signal * noisier
