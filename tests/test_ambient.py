"""Ambient training: algebra, limits, and what it learns where that is known."""

import math

import pytest
import torch
from torch import nn

from bootlight import (
    DSM,
    EDM,
    X0,
    Ambient,
    BootlightError,
    CosineSchedule,
    EDMWeighting,
    Epsilon,
    NetworkDenoiser,
    SigmaSchedule,
    V,
)
from bootlight.batch import Batch
from bootlight.diffusion.denoiser import Denoiser

COUNT = 6


class Halves(nn.Module):
    """Some answer."""

    def forward(self, x, t, labels=None):
        return 0.5 * x + t.view(-1, 1, 1, 1) / 1000


def batch(count=COUNT, own=0.4, seed=1):
    images = torch.randn(count, 2, 3, 3, generator=torch.Generator().manual_seed(seed))
    noise = torch.tensor([own, math.inf]).repeat(count, 1)
    return Batch(images, None, seed, 0, count, noise=noise)


@pytest.mark.parametrize("prediction", [EDM(), X0(), Epsilon()])
def test_it_is_the_weighted_error_of_the_noisy_image(prediction):
    """Computed here as the papers write it: the estimate of y from that of x0, its error, and the factor."""
    sigma, own, weighting = torch.linspace(0.5, 3, COUNT), 0.4, EDMWeighting()
    data, denoiser = batch(own=own), NetworkDenoiser(Halves(), prediction, SigmaSchedule())
    loss, _ = Ambient(weighting)(denoiser, data, sigma)
    s = sigma.view(-1, 1, 1, 1)
    z = data.images + (s**2 - own**2).sqrt() * data.normal("noise", 2, 3, 3)
    x0 = denoiser(z, sigma).x0
    estimate = own**2 / s**2 * z + (1 - own**2 / s**2) * x0
    factor = sigma**4 / (sigma**2 - own**2) ** 2 * (1 / sigma**2 + 1 / 0.25)
    # Terms of about 10 cancel to about 1: a few units of the last of 24 bits, times ten.
    torch.testing.assert_close(loss, factor * ((estimate - data.images) ** 2).flatten(1).mean(1), rtol=1e-4, atol=0)


@pytest.mark.parametrize("prediction", [Epsilon(), V(), X0()])
def test_clean_images_are_trained_on_as_by_dsm(prediction):
    data, t = batch(own=0.0), torch.arange(3, 3 + 5 * COUNT, 5)
    denoiser = NetworkDenoiser(Halves(), prediction, CosineSchedule(50))
    plain = DSM()(denoiser, data._replace(noise=None), t)[0]
    # z and its noise are computed by another way: two roundings more.
    torch.testing.assert_close(Ambient()(denoiser, data, t)[0], plain, rtol=1e-5, atol=1e-6)
    assert torch.equal(Ambient()(denoiser, data._replace(noise=None), t)[0], plain)


class Compound(Denoiser):
    """No network of its own."""

    def forward(self, x_t, t, labels=None, **cond):
        return NetworkDenoiser(Halves(), X0(), self.schedule)(x_t, t)


def test_of_a_composition_it_is_the_error_of_the_image():
    data, sigma, schedule = batch(), torch.linspace(0.6, 3, COUNT), SigmaSchedule()
    own = Ambient(EDMWeighting())(NetworkDenoiser(Halves(), X0(), schedule), data, sigma)[0]
    torch.testing.assert_close(Ambient(EDMWeighting())(Compound(schedule), data, sigma)[0], own, rtol=1e-5, atol=0)


class Slope(nn.Module):
    """x0 = a x_t."""

    def __init__(self, a):
        super().__init__()
        self.a = a

    def forward(self, x, t, labels=None):
        return self.a * x


def minimiser(objective, data, sigma):
    """The slope with the least loss: that of a parabola through three of its points, which the loss is."""
    t = torch.full((len(data.images),), sigma, dtype=torch.float64)
    low, middle, high = (
        objective(NetworkDenoiser(Slope(a), X0(), SigmaSchedule()), data, t)[0].double().mean() for a in (0.0, 0.5, 1.0)
    )
    return float(0.5 - 0.25 * (high - low) / (high + low - 2 * middle))


@pytest.mark.parametrize(("sigma", "own"), [(0.8, 0.59), (0.3, 0.2), (2.0, 0.59)])
def test_of_normal_images_it_learns_the_clean_posterior_mean(sigma, own):
    """x0 from N(0, s2) and noise sigma: the mean is s2 / (s2 + sigma^2) x_t, and for noisy images taken as clean another."""
    s2, count = 0.25, 40_000
    generator = torch.Generator().manual_seed(0)
    clean, e = (torch.randn(count, 1, 5, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    images = math.sqrt(s2) * clean + own * e
    data = Batch(images, None, 5, 0, count, noise=torch.tensor([own, math.inf]).repeat(count, 1))
    wanted, naive = s2 / (s2 + sigma**2), (s2 + own**2) / (s2 + own**2 + sigma**2)
    # The slope's deviation is that of the target given x_t over that of x_t, by 10^6 numbers; five of them.
    spread = math.sqrt(s2 * sigma**2 / (s2 + sigma**2) + own**2 / (1 - own**2 / sigma**2))
    bound = 5 * spread / math.sqrt(s2 + sigma**2) / 1000
    found = minimiser(Ambient(), data, sigma)
    assert abs(found - wanted) < bound < 0.5 * abs(naive - wanted)
    as_clean = minimiser(DSM(), data._replace(noise=None), sigma)
    assert abs(as_clean - naive) < bound


def test_at_and_below_its_own_noise_the_loss_is_still_a_number():
    data, denoiser = batch(own=0.4), NetworkDenoiser(Halves(), EDM(), SigmaSchedule())
    for sigma in (0.4, 0.1):
        assert Ambient()(denoiser, data, torch.full((COUNT,), sigma))[0].isfinite().all()


@pytest.mark.parametrize("buffer", [0.0, -1.0, math.nan, math.inf])
def test_a_buffer_is_needed(buffer):
    with pytest.raises(BootlightError, match="buffer"):
        Ambient(buffer=buffer)


def test_where_images_are_used():
    ranges = torch.tensor([[0.0, math.inf], [0.5, 3.0]])
    assert Ambient(buffer=0.2).usable(ranges).tolist() == [[0.0, math.inf], [pytest.approx(0.6), 3.0]]
    assert DSM().usable(ranges) is ranges
