"""Exact answers for tests: the denoiser of Gaussian data, noise chosen by hand, and what a sampler does to mean and variance."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.schedule import Schedule


def linear_abar(num_steps=None, num_train=1000):
    """Cumulative products of the linear schedule, in numpy; entry 0 is the data (1), the rest the kept timesteps."""
    abar = np.cumprod(1 - np.linspace(0.1 / num_train, 20 / num_train, num_train))
    kept = np.round(np.linspace(0, num_train - 1, num_steps or num_train)).astype(int)
    return np.concatenate([[1.0], abar[kept]])


@dataclass
class GaussianDenoiser:
    """E[x0 | x_t] and E[noise | x_t] for data N(mean, variance); a labelled image has mean `label` instead.

    Args:
        schedule: the training schedule.
        mean: of the data.
        variance: of the data.
        fractions: log-variance fraction for each training timestep, (T,); None = not learned.
    """

    schedule: Schedule
    mean: float = 0.0
    variance: float = 1 / 16
    fractions: torch.Tensor | None = None
    calls: list = field(default_factory=list)

    def __call__(self, x_t, t, labels=None):
        self.calls.append((t.tolist(), labels))
        abar = self.schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        mean = self.mean if labels is None else labels.double().view(-1, 1, 1, 1)
        centred = (x_t - abar.sqrt() * mean) / (abar * self.variance + 1 - abar)
        fraction = None if self.fractions is None else self.fractions[t].view(-1, 1, 1, 1).expand_as(x_t)
        return Estimate(mean + abar.sqrt() * self.variance * centred, (1 - abar).sqrt() * centred, fraction)


class UnitDraws:
    """In place of random noise: draw number k is 1 in image 2 + k and 0 in all others."""

    def __init__(self, batch):
        self.batch = batch
        self.drawn = 0

    def normal(self, *shape):
        draw = torch.zeros(self.batch, *shape, dtype=torch.float64)
        draw[2 + self.drawn] = 1
        self.drawn += 1
        return draw


def mean_and_variance(sampler, denoiser, schedule):
    """Exact mean and variance of what a sampler draws, where all of it is affine in (x_T, noise): no Monte Carlo.

    Image 0 starts at 0 without noise, image 1 at x_T = 1, image 2 + k receives 1 at draw k; all inputs are independent N(0, 1).
    """
    batch = (sampler.num_steps or len(schedule)) + 1
    x_T = torch.zeros(batch, 1, 1, 1, dtype=torch.float64)
    x_T[1] = 1
    out = sampler(denoiser, schedule, x_T, UnitDraws(batch), None).flatten()
    return out[0].item(), ((out[1:] - out[0]) ** 2).sum().item()


def optimal_variances(abar, variance):
    """(S,) variances of q(x_{i-1} | x_i) for data N(0, variance), from the joint Gaussian of the two; `abar` as `linear_abar`."""
    total = abar * variance + 1 - abar
    covariance = np.sqrt(abar[1:] / abar[:-1]) * total[:-1]
    return total[:-1] - covariance**2 / total[1:]


def beta_and_tilde(abar):
    """(S,) beta and beta-tilde of consecutive entries of `abar`."""
    beta = 1 - abar[1:] / abar[:-1]
    return beta, beta * (1 - abar[:-1]) / (1 - abar[1:])


def awaken(network, seed=0, scale=0.2):
    """Random weights everywhere: a new U-Net has zeros where its answers come from."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * scale)
    return network


class Answer(nn.Module):
    """A network that gives the same answer whatever it is asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, x_t, t, labels=None):
        return self.answer


def normal_cdf(x):
    """Phi(x), accurate in the lower tail."""
    return 0.5 * math.erfc(-x / math.sqrt(2))
