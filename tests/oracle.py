"""Exact answers for tests: the denoiser of Gaussian data, noise chosen by hand, and what samplers do to both moments."""

import math
import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader

from bootlight.batch import Batch
from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.sampler import Ancestral
from bootlight.diffusion.schedule import Schedule
from bootlight.generators.ddpm import DDPM


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


class Says(Denoiser):
    """A denoiser that answers what a function does."""

    def __init__(self, schedule, function):
        super().__init__(schedule)
        self.function = function

    def forward(self, x_t, t, labels=None, **cond):
        return self.function(x_t, t, labels)


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
    out = sampler(denoiser, x_T, UnitDraws(batch), grid=sampler.grid(schedule)).flatten()
    return out[0].item(), ((out[1:] - out[0]) ** 2).sum().item()


def optimal_variances(abar, variance):
    """(S,) variances of q(x_{i-1} | x_i) for data N(0, variance), from their joint Gaussian; `abar` of `linear_abar`."""
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


def tiny_ddpm(**options):
    """A DDPM of 8 x 8 grey images with 100 timesteps that draws in 5 steps; weights are random everywhere."""
    settings = {
        "image_size": 8,
        "channels": 1,
        "width": 8,
        "channel_multipliers": (1, 2),
        "num_res_blocks": 1,
        "attention_resolutions": (4,),
        "num_heads": 2,
        "num_train_timesteps": 100,
        "sampler": Ancestral(5),
    }
    module = DDPM(**(settings | options))
    awaken(module.unet)
    module.ema.network.load_state_dict(module.unet.state_dict())
    return module


def random_batch(count=8, seed=1, labels=None, image_size=8):
    """A whole global batch of noise as images."""
    images = torch.rand(count, 1, image_size, image_size, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return Batch(images, labels, seed, 0, count)


def fit(module, batches, ckpt_path=None, accelerator="cpu", **options):
    """Train on a list of batches, or what a loader gives, with nothing of Lightning but its loop; returns the trainer."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator=accelerator, max_epochs=1, **quiet, **options)
    with warnings.catch_warnings():
        # Lightning's own use of torch; a loader of ready batches needs no workers; an average is in eval mode on purpose.
        for message in (".*LeafSpec", ".*does not have many workers", r".*module\(s\) in eval mode", ".*with no optimizer"):
            warnings.filterwarnings("ignore", message)
        loader = batches if isinstance(batches, DataLoader) else DataLoader(batches, batch_size=None)
        trainer.fit(module, loader, ckpt_path=ckpt_path)
    return trainer
