"""Exact denoisers of known distributions, and the modules that fit them: against quadrature and closed forms."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from oracle import fit
from scipy.stats import multivariate_normal

from bootlight import Batch
from bootlight.diffusion.exact import GaussianDenoiser, MixtureDenoiser
from bootlight.diffusion.sampler import DDIM, Ancestral
from bootlight.diffusion.schedules import LinearSchedule, SigmaSchedule
from bootlight.diffusion.solvers import Heun
from bootlight.errors import BootlightError
from bootlight.generators.fitted import FittedGaussian, FittedMixture

LINEAR, SIGMAS = LinearSchedule(1000), SigmaSchedule()
WEIGHTS = torch.tensor([0.3, 0.7]).double()
MEANS = torch.tensor([[1.0, -0.5], [-0.8, 0.4]]).double()
COVARIANCES = torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.05, -0.03], [-0.03, 0.1]]]).double()


def by_quadrature(x, signal, noise):
    """Mean and variance of x0 given x = signal x0 + noise n, by sums over a fine square; x0 of the mixture above."""
    axis = np.linspace(-4, 4, 801)
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    parts = zip(WEIGHTS.numpy(), MEANS.numpy(), COVARIANCES.numpy(), strict=True)
    density = sum(w * multivariate_normal(m, c).pdf(points) for w, m, c in parts)
    density = density * np.exp(-(((x - signal * points) / noise) ** 2).sum(1) / 2)
    density /= density.sum()
    mean = density @ points
    return mean, density @ (points - mean) ** 2


@pytest.mark.parametrize(("schedule", "t"), [(LINEAR, 60), (LINEAR, 400), (SIGMAS, 0.5), (SIGMAS, 3.0)])
def test_the_mixture_denoiser_is_the_posterior_mean(schedule, t):
    time = torch.full((3,), t, dtype=torch.float64 if isinstance(t, float) else torch.int64)
    signal, noise = (float(value.flatten()[0]) for value in schedule.level(time))
    x = torch.tensor([[0.3, 0.2], [-1.5, 1.0], [2.0, -0.1]]).double()
    estimate = MixtureDenoiser(WEIGHTS, MEANS, COVARIANCES, schedule)(x.view(3, 2, 1, 1), time)
    for point, mean, variance, noisy in zip(x, estimate.x0, estimate.x0_variance, estimate.epsilon, strict=True):
        expected, spread = by_quadrature(point.numpy(), signal, noise)
        # Sums over a smooth density with a step of 0.01 are exact to 1e-8; levels of a table are float32, 6e-8, and the
        # exponents of the density are up to 20.
        np.testing.assert_allclose(mean.flatten(), expected, atol=2e-6)
        np.testing.assert_allclose(variance.flatten(), spread, atol=2e-6)
        np.testing.assert_allclose(noisy.flatten(), (point.numpy() - signal * expected) / noise, atol=1e-5)


def test_one_component_without_correlations_is_the_gaussian_denoiser():
    mean, variance = torch.tensor([0.3, -0.2, 0.9]).double(), torch.tensor([0.04, 0.5, 0.0]).double()
    one = MixtureDenoiser(torch.ones(1).double(), mean[None], variance.diag()[None], LINEAR)
    other = GaussianDenoiser(mean.view(3, 1, 1), variance.view(3, 1, 1), LINEAR)
    x, t = torch.randn(5, 3, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.arange(5) * 200
    a, b = one(x, t), other(x, t)
    for ours, theirs in ((a.x0, b.x0), (a.x0_variance, b.x0_variance.expand_as(x)), (a.epsilon, b.epsilon)):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)  # levels are float32


def batches(images, weights=None, size=50):
    parts = [None] * (len(images) // size) if weights is None else weights.split(size)
    return [Batch(x, None, 0, 0, size, weights=w) for x, w in zip(images.split(size), parts, strict=True)]


def points(count=2000):
    rng = np.random.default_rng(0)
    which = rng.random(count) < 0.3
    parts = [rng.multivariate_normal(m, c, count) for m, c in zip(MEANS.numpy(), COVARIANCES.numpy(), strict=True)]
    return torch.from_numpy(np.where(which[:, None], *parts)).float().view(count, 2, 1, 1)


def test_a_fitted_gaussian_has_the_moments_of_its_images():
    images = 3 * torch.randn(200, 1, 3, 2, generator=torch.Generator().manual_seed(0)) + 1
    module = FittedGaussian([3, 2], 1)
    fit(module, batches(images))
    mean, variance = module.fitted()
    torch.testing.assert_close(mean, images.double().mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(variance, images.double().var(0, correction=0), rtol=1e-12, atol=1e-12)
    doubled = FittedGaussian([3, 2], 1)
    fit(doubled, batches(images, torch.tensor([2.0, 0.0] * 100)))
    torch.testing.assert_close(doubled.fitted()[0], images[::2].double().mean(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("sampler", "ratio"), [(Ancestral(10, clip=False), 1.0), (DDIM(10, clip=False), 0.0190 * 16)])
def test_what_it_draws_has_the_variance_of_the_sampler(sampler, ratio):
    """The optimal variance is exact at 10 steps; DDIM shrinks by its product formula (0.0190 of 1/16)."""
    module = FittedGaussian(8, 1, schedule=LINEAR, sampler=sampler)
    module.count += 1
    module.sums[1] += 1 / 16
    drawn = module.sample(range(1000))
    # 64,000 numbers: five deviations of a variance; the last step's missing noise is 1e-4 of v.
    assert drawn.var().item() * 16 == pytest.approx(ratio, rel=5 * (2 / 64_000) ** 0.5 + 2e-3)


def test_a_walk_begins_with_noise_as_strong_as_the_first_level():
    module = FittedGaussian(8, 1, schedule=SIGMAS, sampler=Heun(18, clip=False))
    module.count += 1
    module.sums[1] += 1 / 16
    # EDM's ratio; 64,000 numbers, five deviations.
    assert module.sample(range(1000)).var().item() * 16 == pytest.approx(1.141, rel=5 * (2 / 64_000) ** 0.5)


@pytest.mark.parametrize(("fixed", "variance"), [("small", 0.0155), ("large", 0.1666)])
def test_without_its_variance_a_fixed_one_is_taken(fixed, variance):
    sampler = Ancestral(10, clip=False, fixed_variance=fixed)
    module = FittedGaussian(8, 1, learned_variance=False, schedule=LINEAR, sampler=sampler)
    module.count += 1
    module.sums[1] += 1 / 16
    assert module.sample(range(1000)).var().item() == pytest.approx(variance, rel=5 * (2 / 64_000) ** 0.5 + 3e-3)  # rounded


def test_a_fitted_mixture_finds_its_parts_and_draws_them():
    module = FittedMixture(1, 2, num_components=2, sampler=Ancestral(50, clip=False))
    fit(module, batches(points()))
    order = module.weights.argsort()
    # About 600 and 1400 points: three deviations of means of 0.55 / sqrt(600) and of the share sqrt(0.21 / 2000).
    np.testing.assert_allclose(module.weights[order], WEIGHTS, atol=0.035)
    np.testing.assert_allclose(module.means[order], MEANS, atol=0.07)
    np.testing.assert_allclose(module.covariances[order], COVARIANCES, atol=0.07)
    drawn = module.sample(range(2000)).flatten(1).double()
    mean = (module.weights[:, None] * module.means).sum(0)
    assert (drawn.mean(0) - mean).abs().max() < 5 * 0.9 / 2000**0.5
    assert (drawn[:, 0] > 0.2).double().mean().item() == pytest.approx(0.29, abs=0.06)  # one part, none of the other


def test_a_fit_goes_on_from_a_checkpoint():
    whole, first = (FittedMixture(1, 2, num_components=2) for _ in range(2))
    parts = batches(points(400))
    fit(whole, parts)
    for batch in parts[:3]:
        first._seen.append(batch.images.flatten(1).double())
    checkpoint: dict = {}
    first.on_save_checkpoint(checkpoint)
    second = FittedMixture(1, 2, num_components=2)
    second.on_load_checkpoint(copy.deepcopy(checkpoint))
    fit(second, parts[3:])
    assert torch.equal(second.means, whole.means) and torch.equal(second.covariances, whole.covariances)


def test_a_trial_sees_fewer_images_than_there_are_gaussians(monkeypatch):
    """40 images of 200: 4 Gaussians instead of 60, the others as good as none."""

    def tried(count):
        module = FittedMixture(1, 2, num_components=60, schedule=LINEAR, sampler=DDIM(3, clip=False))
        data = SimpleNamespace(sources=[range(count - 20), range(20)])
        monkeypatch.setattr(FittedMixture, "trainer", SimpleNamespace(datamodule=data, checkpoint_callback=None))
        module._seen = [points(40).flatten(1).double()]
        module.on_train_epoch_end()
        return module

    module = tried(200)
    assert (module.weights > 0).sum() == 4 and module.weights.sum().item() == pytest.approx(1)
    assert module.sample(range(4)).isfinite().all()
    with pytest.raises(BootlightError, match="only 50 images"):
        tried(50)


def test_what_a_mixture_cannot_do():
    few, weighed = FittedMixture(1, 2, num_components=60), FittedMixture(1, 2)
    with pytest.raises(BootlightError, match=r"model\.num_components"):
        fit(few, batches(points(50)))
    with pytest.raises(BootlightError, match="weights"):
        fit(weighed, batches(points(50), torch.ones(50)))
