"""Samplers: from noise to images, given a denoiser. The sampler and its number of steps are part of an experiment.

With an exact denoiser DDIM shrinks the variance at every finite number of steps, and so does ancestral sampling with the small
fixed variance; the large one inflates it; the optimal (learned) one is exact. In a loop these biases accumulate.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from bootlight.diffusion.denoiser import Denoiser, Guided
from bootlight.diffusion.inversion import Recorded, cycle, upward
from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.settings import settings_of
from bootlight.diffusion.spacing import Spacing

if TYPE_CHECKING:
    from bootlight.diffusion.grid import Grid
    from bootlight.diffusion.schedule import Schedule

Ask = Callable[[Tensor, int], Estimate]  # noisy images (B, C, H, W) at level i of the sampler's grid to their estimate
Change = Callable[[Tensor], Tensor]  # of noisy images (B, C, H, W)
Record = Callable[[int, Tensor, Tensor, Tensor | float], None]  # step, noisy images, and mean and deviation of what follows


class Noise(Protocol):
    """Standard normal noise of each image, such as `bootlight.NoiseStreams`."""

    def normal(self, *shape: int) -> Tensor:
        """The next draw, (B, *shape)."""


class Sampler(ABC):
    """How images are drawn.

    Args:
        num_steps: steps from noise to image; None = every timestep of the training schedule.
        guidance: classifier-free guidance scale, used where labels are given; 1 = none (and one call a step, not two).
        clip: limit the estimate of the clean image to [-1, 1] at each step.
        spacing: which levels are visited, see `bootlight.diffusion.spacing`.
    """

    follows_direction = False  # whether a step walks along `Estimate.direction` where there is one

    def __init__(
        self, num_steps: int | None = None, guidance: float = 1.0, clip: bool = True, spacing: Spacing = "linspace"
    ) -> None:
        if not math.isfinite(guidance):
            raise ValueError(f"model.sampler.guidance is {guidance}; give a finite number")
        if spacing not in get_args(Spacing):
            raise ValueError(f"model.sampler.spacing is {spacing}; it must be one of {', '.join(get_args(Spacing))}")
        self.num_steps = num_steps
        self.guidance = guidance
        self.clip = clip
        self.spacing: Spacing = spacing

    def grid(self, schedule: Schedule, start: float | None = None) -> Grid:
        """The levels that are visited.

        Args:
            schedule: of the training.
            start: noise level, as sigma, to start from; None = noise alone.

        Raises:
            ValueError: the schedule does not allow it.
        """
        return schedule.grid(self.num_steps, spacing=self.spacing, start=start)

    def calls(self, num_steps: int) -> int:
        """Network calls for each image, guidance aside."""
        return num_steps

    def protocol(self) -> dict[str, Any]:
        """What a reader must know to draw the same images: name and every setting, see `settings_of`."""
        return {"sampler": type(self).__name__} | settings_of(self)

    @torch.no_grad()
    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        noise: Noise,
        labels: Tensor | None = None,
        *,
        grid: Grid | None = None,
        record: Record | None = None,
        **cond: Tensor,
    ) -> Tensor:
        """Draw images.

        Args:
            denoiser: whose estimates are followed.
            x: noisy images (B, C, H, W) at the first level of the grid; of a whole grid, noise alone.
            noise: of the images, for samplers that add noise on the way.
            labels: int64 (B,) or None.
            grid: levels; those of `self.grid(denoiser.schedule)` if left out.
            record: called at each step; for what a sampler without randomness does, the deviation is 0.
            cond: whatever else the denoiser takes.

        Returns:
            Images (B, C, H, W), clean, about [-1, 1].
        """
        grid = self.grid(denoiser.schedule) if grid is None else grid
        return self.walk(grid, self.asking(denoiser, grid, labels, cond), x, noise, record)

    def asking(self, denoiser: Denoiser, grid: Grid, labels: Tensor | None, cond: dict[str, Tensor]) -> Ask:
        """The denoiser as this sampler uses it: guided, clipped, asked by the number of a level."""
        guided = Guided(denoiser, self.guidance)

        def ask(x: Tensor, i: int) -> Estimate:
            estimate: Estimate = guided(x, grid.times(i, x), labels, **cond)
            return estimate.clipped(x, grid.level(i)) if self.clip else estimate

        return ask

    @abstractmethod
    def walk(self, grid: Grid, ask: Ask, x: Tensor, noise: Noise, record: Record | None) -> Tensor:
        """From `x` at the first level down to the image."""


class MarkovSampler(Sampler):
    """A sampler whose next image is normal given the present one alone, at one network call a step."""

    def walk(
        self, grid: Grid, ask: Ask, x: Tensor, noise: Noise, record: Record | None, change: Change | None = None
    ) -> Tensor:
        """See `Sampler.walk`; `change` is what is done to x after each step but the last."""
        for i in range(grid.num_steps):
            mean, deviation = self.step(grid, i, x, ask(x, i))
            if record is not None:
                record(i, x, mean, deviation)
            x = mean + deviation * noise.normal(*x.shape[1:]) if isinstance(deviation, Tensor) or deviation > 0 else mean
            if change is not None and i + 1 < grid.num_steps:
                x = change(x)
        return x + noise.residual if isinstance(noise, Recorded) else x

    @abstractmethod
    def step(self, grid: Grid, i: int, x: Tensor, estimate: Estimate) -> tuple[Tensor, Tensor | float]:
        """Mean and standard deviation of step i, given the estimate at level i; the last step adds no noise."""

    def transition(
        self, denoiser: Denoiser, x_t: Tensor, grid: Grid, i: int, labels: Tensor | None = None, **cond: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of what follows `x_t` (B, C, H, W) at level i, with gradient where torch keeps one."""
        mean, deviation = self.step(grid, i, x_t, self.asking(denoiser, grid, labels, cond)(x_t, i))
        return mean, torch.as_tensor(deviation, dtype=mean.dtype, device=mean.device)

    @torch.no_grad()
    def invert(
        self, denoiser: Denoiser, x0: Tensor, noise: Noise, labels: Tensor | None = None, *, grid: Grid, **cond: Tensor
    ) -> tuple[Tensor, Recorded]:
        """From images up to noise, so that the same sampler leads back to them with the recorded noise.

        With a sampler that adds noise: a stochastic encoding, exact for any denoiser. Without: the path of DDIM upward, exact
        with its residual.

        Args:
            denoiser: whose estimates are followed.
            x0: images (B, C, H, W).
            noise: of a forward trajectory, where the sampler adds noise.
            labels: int64 (B,) or None.
            grid: levels.
            cond: whatever else the denoiser takes.

        Returns:
            x at the first level of the grid, and the noise to be used from there.
        """
        ask = self.asking(denoiser, grid, labels, cond)
        return cycle(self, ask, grid, x0, noise) if self.adds_noise else upward(self, ask, grid, x0)

    @property
    def adds_noise(self) -> bool:
        """Whether it does at all steps but the last."""
        return True


class Ancestral(MarkovSampler):
    """The reverse Markov chain (Ho et al. 2020, algorithm 2), respaced to fewer steps (Nichol and Dhariwal 2021, section 4).

    Args:
        num_steps: steps, each of one network call; None = every timestep of the training schedule.
        guidance: classifier-free guidance scale; 1 = none.
        clip: limit the estimate of the clean image to [-1, 1] at each step.
        fixed_variance: beta-tilde (small) or beta (large), where the network has not learned the variance.
        spacing: which timesteps are visited. linspace: both ends and between them evenly, as improved-diffusion respaces;
            leading: every (T // num_steps)-th from 0; trailing: strides of T / num_steps down from the noisiest.
    """

    def __init__(
        self,
        num_steps: int | None = None,
        guidance: float = 1.0,
        clip: bool = True,
        fixed_variance: Literal["small", "large"] = "small",
        spacing: Spacing = "linspace",
    ) -> None:
        super().__init__(num_steps, guidance, clip, spacing)
        self.fixed_variance = fixed_variance

    def step(self, grid: Grid, i: int, x: Tensor, estimate: Estimate) -> tuple[Tensor, Tensor | float]:
        """The Gaussian of one reverse step; with a known Var[x0 | x_t], its first two moments exactly."""
        reverse = grid.reverse(i)
        mean = reverse.from_x0 * estimate.x0 + reverse.from_xt * x
        if i == grid.num_steps - 1:
            return mean, 0.0
        if estimate.variance_fraction is not None:
            low, high = math.log(reverse.low), math.log(reverse.high)
            return mean, (0.5 * (low + (high - low) * estimate.variance_fraction)).exp()
        if estimate.x0_variance is not None:
            return mean, (reverse.low + reverse.from_x0**2 * estimate.x0_variance).sqrt()
        return mean, math.sqrt(reverse.high if self.fixed_variance == "large" else reverse.low)


class DDIM(MarkovSampler):
    """Song et al. 2021, equation 12, with its noise scaled by `eta` (equation 16).

    Args:
        num_steps: steps, each of one network call; None = every timestep of the training schedule.
        guidance: classifier-free guidance scale; 1 = none.
        clip: limit the estimate of the clean image to [-1, 1] at each step.
        eta: 0 = deterministic, 1 = as much noise as ancestral sampling with the small variance.
        spacing: which timesteps are visited. linspace, unlike most published results: both ends and between them evenly;
            leading: every (T // num_steps)-th from 0, as in the paper's code (linear), `ddimN` of improved-diffusion and by
            default in diffusers; trailing: strides of T / num_steps down from the noisiest (Lin et al. 2024).
    """

    follows_direction = True

    def __init__(
        self,
        num_steps: int | None = 50,
        guidance: float = 1.0,
        clip: bool = True,
        eta: float = 0.0,
        spacing: Spacing = "linspace",
    ) -> None:
        super().__init__(num_steps, guidance, clip, spacing)
        if not 0 <= eta <= 1:
            raise ValueError(f"model.sampler.eta is {eta}; it must be from 0 to 1")
        self.eta = eta

    @property
    def adds_noise(self) -> bool:
        """With an `eta` above 0."""
        return self.eta > 0

    def step(self, grid: Grid, i: int, x: Tensor, estimate: Estimate) -> tuple[Tensor, Tensor | float]:
        """Along the implicit process."""
        then, variance = grid.level(i + 1), self.eta**2 * grid.reverse(i).low
        direction = estimate.epsilon if estimate.direction is None else estimate.direction
        mean = then.signal * estimate.x0 + math.sqrt(max(then.noise**2 - variance, 0.0)) * direction
        return mean, math.sqrt(variance)
