"""Samplers: from noise to images, given a denoiser. The sampler and its number of steps are part of an experiment.

With an exact denoiser DDIM shrinks the variance at every finite number of steps, and so does ancestral sampling with the small
fixed variance; the large one inflates it; the optimal (learned) one is exact. In a loop these biases accumulate.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from bootlight.diffusion.denoiser import Denoiser, Guided
from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.schedule import Schedule
from bootlight.diffusion.spacing import Spacing
from bootlight.rng import NoiseStreams

Ask = Callable[[Tensor, int], Estimate]  # noisy images (B, C, H, W) at step i of the sampler's schedule to their estimate


class Sampler(ABC):
    """How images are drawn.

    Args:
        num_steps: steps from noise to image; None = every timestep of the training schedule.
        guidance: classifier-free guidance scale, used where labels are given; 1 = none (and one call a step, not two).
        clip: limit the estimate of the clean image to [-1, 1] at each step.
        spacing: which timesteps are visited, see `bootlight.diffusion.spacing`.
    """

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

    def grid(self, schedule: Schedule) -> Schedule:
        """The steps that are taken: evenly spaced timesteps of the training schedule."""
        return schedule if self.num_steps is None else schedule.respaced(self.num_steps, self.spacing)

    def calls(self, num_steps: int) -> int:
        """Network calls for each image, guidance aside."""
        return num_steps

    def protocol(self) -> dict[str, Any]:
        """What a reader must know to draw the same images: name and every setting."""
        return {"sampler": type(self).__name__} | vars(self)

    @torch.no_grad()
    def __call__(
        self, denoiser: Denoiser, schedule: Schedule, x_T: Tensor, noise: NoiseStreams, labels: Tensor | None
    ) -> Tensor:
        """Draw images.

        Args:
            denoiser: trained on `schedule`.
            schedule: the training schedule.
            x_T: standard normal noise (B, C, H, W).
            noise: the streams of the images, for samplers that add noise on the way.
            labels: int64 (B,) or None.

        Returns:
            Images (B, C, H, W), clean, about [-1, 1].
        """
        steps = self.grid(schedule)
        guided = Guided(denoiser, self.guidance)

        def ask(x: Tensor, i: int) -> Estimate:
            t = torch.full((len(x),), int(steps.timesteps[i]), device=x.device)
            estimate = guided(x, t, labels)
            return estimate.clipped(x, steps.step_level(i)) if self.clip else estimate

        return self.walk(steps, ask, x_T, noise)

    @abstractmethod
    def walk(self, steps: Schedule, ask: Ask, x: Tensor, noise: NoiseStreams) -> Tensor:
        """From `x` at the last of `steps` down to the image."""


class MarkovSampler(Sampler):
    """A sampler whose next image depends on the present one alone, at one network call a step."""

    def walk(self, steps: Schedule, ask: Ask, x: Tensor, noise: NoiseStreams) -> Tensor:
        """See `Sampler.walk`."""
        for i in reversed(range(len(steps))):
            x = self.step(steps, i, x, ask(x, i), noise if i > 0 else None)
        return x

    @abstractmethod
    def step(self, steps: Schedule, i: int, x: Tensor, estimate: Estimate, noise: NoiseStreams | None) -> Tensor:
        """From step `i` to `i - 1`; `noise` is None at the last step, which adds none."""


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

    def step(self, steps: Schedule, i: int, x: Tensor, estimate: Estimate, noise: NoiseStreams | None) -> Tensor:
        """Draw from the Gaussian of one reverse step."""
        mean = float(steps.posterior_mean_x0[i]) * estimate.x0 + float(steps.posterior_mean_xt[i]) * x
        if noise is None:
            return mean
        low, high = float(steps.min_log_variance[i]), float(steps.max_log_variance[i])
        if estimate.variance_fraction is None:
            deviation: Tensor | float = math.exp(0.5 * (high if self.fixed_variance == "large" else low))
        else:
            deviation = (0.5 * (low + (high - low) * estimate.variance_fraction)).exp()
        return mean + deviation * noise.normal(*x.shape[1:])


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

    def step(self, steps: Schedule, i: int, x: Tensor, estimate: Estimate, noise: NoiseStreams | None) -> Tensor:
        """Move along the implicit process."""
        previous = float(steps.alphas_cumprod_prev[i])
        variance = self.eta**2 * float(steps.posterior_variance[i])
        mean = math.sqrt(previous) * estimate.x0 + math.sqrt(max(1 - previous - variance, 0.0)) * estimate.epsilon
        if noise is None or self.eta == 0:
            return mean
        return mean + math.sqrt(variance) * noise.normal(*x.shape[1:])
