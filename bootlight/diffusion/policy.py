"""A sampler as a policy: its steps are actions, which have log-probabilities.

Black et al. 2024, "Training Diffusion Models with Reinforcement Learning" (DDPO), section 4.2.

Log-probabilities and divergences are means over the numbers of an image, not sums: a sum over thousands of pixels makes every
ratio of two policies 0 or infinite. What is said of whole images, such as a clip of their ratio, is scaled by that number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from bootlight.diffusion.denoiser import Denoiser
    from bootlight.diffusion.grid import Grid
    from bootlight.diffusion.sampler import MarkovSampler, Noise

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
Watch = Callable[[int, Tensor, Tensor, Tensor], None]  # step, x, mean and deviation of what follows


class Trajectory(NamedTuple):
    """Images on their way from noise, S levels; the last step, which leads to the image, adds no noise and is no action.

    Attributes:
        states: (S, B, C, H, W), noise first; what follows state i is state i + 1.
        log_probs: float64 (S - 1, B), of the states that follow, see `log_prob`.
        images: (B, C, H, W).
    """

    states: Tensor
    log_probs: Tensor
    images: Tensor


def roll_out(
    sampler: MarkovSampler,
    denoiser: Denoiser,
    x: Tensor,
    noise: Noise,
    labels: Tensor | None,
    grid: Grid,
    watch: Watch | None = None,
) -> Trajectory:
    """Draw images and keep how they came about; without gradients.

    Args:
        sampler: that adds noise at all steps but the last.
        denoiser: that it follows.
        x: noise (B, C, H, W) at the first level.
        noise: of the images.
        labels: int64 (B,) or None.
        grid: levels.
        watch: called at each step that is an action.
    """
    states, log_probs = x.new_empty((grid.num_steps, *x.shape)), []
    before: list[tuple[Tensor, Tensor]] = []

    def record(i: int, x: Tensor, mean: Tensor, deviation: Tensor | float) -> None:
        states[i] = x
        if before:
            log_probs.append(log_prob(x, *before.pop()))
        if i < grid.num_steps - 1:
            before.append((mean, torch.as_tensor(deviation, dtype=mean.dtype, device=mean.device)))
            if watch is not None:
                watch(i, x, *before[0])

    images = sampler(denoiser, x, noise, labels, grid=grid, record=record)
    return Trajectory(states, torch.stack(log_probs), images)


def log_prob(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Logarithm of a normal density, mean over the numbers of an image: float64 (B,).

    Args:
        x: (B, C, H, W).
        mean: (B, C, H, W).
        deviation: of one number, or of each.
    """
    each = -0.5 * ((x - mean) / deviation).square() - deviation.log()
    # In float64, as two of them are subtracted that differ by less than a clip of 1e-5.
    return each.flatten(1).mean(1, dtype=torch.float64) - HALF_LOG_2PI


def divergence(mean: Tensor, deviation: Tensor, other_mean: Tensor, other_deviation: Tensor) -> Tensor:
    """Kullback-Leibler divergence of one normal law from another, mean over the numbers of an image: float64 (B,), nats."""
    ratio = deviation / other_deviation
    each = 0.5 * (ratio.square() + ((mean - other_mean) / other_deviation).square() - 1) - ratio.log()
    return each.flatten(1).mean(1, dtype=torch.float64)


def clip_range(epsilon: float, count: int) -> float:
    """How far exp of a mean of `count` log-ratios may be from 1 where the ratio of whole images may reach 1 + epsilon."""
    return math.log1p(epsilon) / count


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """The loss of PPO (Schulman et al. 2017, equation 7, negated), (B,).

    Args:
        log_ratio: of the present policy to the one that drew, (B,).
        advantages: (B,).
        clip: see `clip_range`.
    """
    ratio = log_ratio.exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))


def score_function(log_probs: Tensor, advantages: Tensor) -> Tensor:
    """The loss of REINFORCE (Williams 1992), (B,): its gradient is that of the expected advantage, of images just drawn."""
    return -advantages * log_probs
