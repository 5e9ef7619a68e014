"""Samplers with exact denoisers of Gaussian data: all is affine there, so means and variances need no Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from oracle import GaussianDenoiser, Says, beta_and_tilde, linear_abar, mean_and_variance, optimal_variances

from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.sampler import DDIM, Ancestral
from bootlight.diffusion.schedules import LinearSchedule
from bootlight.rng import NoiseStreams

SCHEDULE = LinearSchedule(1000)
V = 1 / 16
# Closed forms and samplers are both in float64: 1000 steps of gains below 2 with relative roundings of 1e-13 (1 - abar near the
# data) leave 1e-10.
CLOSE = {"rel": 1e-9, "abs": 1e-10}


def ddim_gain(num_steps, eta=0.0):
    """Per-step factors of an image in DDIM with the exact denoiser of N(0, V); noisiest last."""
    abar = linear_abar(num_steps)
    before, now = abar[:-1], abar[1:]
    kept = np.sqrt(1 - before - eta**2 * beta_and_tilde(abar)[1])
    return (np.sqrt(before * now) * V + kept * np.sqrt(1 - now)) / (now * V + 1 - now)


def ancestral_gain(num_steps):
    """The same in ancestral sampling."""
    abar = linear_abar(num_steps)
    before, now = abar[:-1], abar[1:]
    beta, _ = beta_and_tilde(abar)
    image = np.sqrt(now) * V / (now * V + 1 - now)
    return np.sqrt(before) * beta / (1 - now) * image + np.sqrt(1 - beta) * (1 - before) / (1 - now)


def after_noise(gain, added):
    """Variance at the end of u <- gain^2 u + added from u = 1, noisiest step (the last entry) first; the first adds nothing."""
    u = 1.0
    for i in reversed(range(len(gain))):
        u = gain[i] ** 2 * u + (added[i] if i > 0 else 0)
    return u


@pytest.mark.parametrize(
    ("num_steps", "rounded"),
    [(5, 0.0051), (10, 0.0190), (20, 0.0361), (50, 0.0507), (100, 0.0563), (250, 0.0599), (1000, 0.0618)],
)
def test_ddim_shrinks_the_variance_to_the_product_formula(num_steps, rounded):
    mean, variance = mean_and_variance(DDIM(num_steps, clip=False), GaussianDenoiser(SCHEDULE), SCHEDULE)
    assert mean == 0
    assert variance == pytest.approx(np.prod(ddim_gain(num_steps)) ** 2, **CLOSE)
    assert variance == pytest.approx(rounded, abs=5e-5)


@pytest.mark.parametrize(
    ("num_steps", "small", "large"),
    [(10, 0.0155, 0.1666), (50, 0.0420, 0.0751), (100, 0.0498, 0.0684), (1000, 0.0607, 0.0630)],
)
def test_ancestral_sampling_with_fixed_variances(num_steps, small, large):
    beta, tilde = beta_and_tilde(linear_abar(num_steps))
    for kind, added, rounded in (("small", tilde, small), ("large", beta, large)):
        sampler = Ancestral(num_steps, clip=False, fixed_variance=kind)
        _, variance = mean_and_variance(sampler, GaussianDenoiser(SCHEDULE), SCHEDULE)
        assert variance == pytest.approx(after_noise(ancestral_gain(num_steps), added), **CLOSE)
        assert variance == pytest.approx(rounded, abs=5e-5)


def best_fractions(num_steps):
    """Where between beta-tilde and beta the optimal variance lies, for each training timestep that is visited."""
    abar = linear_abar(num_steps)
    beta, tilde = (values[1:] for values in beta_and_tilde(abar))
    table = torch.full((1000,), math.nan, dtype=torch.float64)
    visited = np.round(np.linspace(0, 999, num_steps or 1000)).astype(int)[1:]
    table[visited] = torch.from_numpy(np.log(optimal_variances(abar, V)[1:] / tilde) / np.log(beta / tilde))
    return table


@pytest.mark.parametrize("num_steps", [10, 50, 100, None])
def test_the_optimal_learned_variance_returns_the_data_at_any_number_of_steps(num_steps):
    denoiser = GaussianDenoiser(SCHEDULE, fractions=best_fractions(num_steps))
    _, variance = mean_and_variance(Ancestral(num_steps, clip=False), denoiser, SCHEDULE)
    assert variance == pytest.approx(
        after_noise(ancestral_gain(num_steps), optimal_variances(linear_abar(num_steps), V)), **CLOSE
    )
    # All that is missing is the noise of the last step, v (1 - abar_0) / V_0 = 1e-4, of v = 0.0625; starting from variance 1
    # instead of that of x_T is another 4e-5, contracted.
    last = 1e-4 * V / ((1 - 1e-4) * V + 1e-4)
    assert variance == pytest.approx(V - last, rel=1e-4)
    assert 0.998 < variance / V < 0.9999


@pytest.mark.parametrize(
    ("sampler", "gain", "share"),
    [
        (DDIM(20, clip=False), ddim_gain(20), 0),
        (DDIM(20, clip=False, eta=0.5), ddim_gain(20, 0.5), 0.25),
        (Ancestral(20, clip=False), ancestral_gain(20), 1),
    ],
    ids=["DDIM", "DDIM, eta 0.5", "Ancestral"],
)
def test_mean_of_the_data(sampler, gain, share):
    mean, variance = mean_and_variance(sampler, GaussianDenoiser(SCHEDULE, mean=0.4), SCHEDULE)
    # x_T has mean 0 and not 0.4 sqrt(abar_T): that difference is carried to the end by the product of the gains.
    assert mean == pytest.approx(0.4 * (1 - math.sqrt(linear_abar()[-1]) * np.prod(gain)), **CLOSE)
    assert mean == pytest.approx(0.4, abs=0.001)
    assert variance == pytest.approx(after_noise(gain, share * beta_and_tilde(linear_abar(20))[1]), **CLOSE)


def all_samplers(num_steps, clip=False):
    yield DDIM(num_steps, clip=clip)
    yield DDIM(num_steps, clip=clip, eta=1.0)
    yield Ancestral(num_steps, clip=clip)
    yield Ancestral(num_steps, clip=clip, fixed_variance="large")


@pytest.mark.parametrize("num_steps", [1, 2, 10])
def test_constant_data_are_returned_exactly_so_the_last_step_adds_no_noise(num_steps):
    for sampler in all_samplers(num_steps):
        mean, variance = mean_and_variance(sampler, GaussianDenoiser(SCHEDULE, mean=0.4, variance=0.0), SCHEDULE)
        assert mean == pytest.approx(0.4, abs=1e-15)  # one rounding
        assert variance == 0


class Ones:
    """Noise of ones, counted."""

    def __init__(self):
        self.drawn = 0

    def normal(self, *shape):
        self.drawn += 1
        return torch.ones(2, *shape, dtype=torch.float64)


@pytest.mark.parametrize("num_steps", [1, 2, 10])
def test_noise_is_drawn_at_every_step_but_the_last_and_never_by_deterministic_ddim(num_steps):
    x_T = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    for sampler, draws in zip(all_samplers(num_steps), [0, num_steps - 1, num_steps - 1, num_steps - 1], strict=True):
        noise = Ones()
        sampler(GaussianDenoiser(SCHEDULE), x_T, noise, None)
        assert noise.drawn == draws


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_noise_is_eta_times_that_of_the_posterior(eta):
    grid = SCHEDULE.grid(10)
    _, tilde = beta_and_tilde(linear_abar(10))
    zero = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    for i in range(1, 10):
        mean, deviation = DDIM(10, eta=eta).step(grid, 9 - i, zero, Estimate(zero, zero))
        assert mean.flatten().tolist() == [0, 0]
        assert deviation == pytest.approx(eta * math.sqrt(tilde[i]), rel=1e-10)


@pytest.mark.parametrize("clip", [False, True])
def test_ddim_with_eta_one_is_ancestral_sampling_with_the_small_variance(clip):
    """Equal means for every estimate that is consistent with x_t, equal noise: the same path, to rounding."""
    x_T = 3 * torch.randn(4, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = [
        sampler(GaussianDenoiser(SCHEDULE, variance=1.0), x_T, NoiseStreams([1, 2, 3, 4]), None)
        for sampler in (DDIM(25, clip=clip, eta=1.0), Ancestral(25, clip=clip))
    ]
    # 25 steps with roundings of 1e-16, divided by noise levels of 0.01 and more.
    torch.testing.assert_close(*ends, rtol=0, atol=1e-12)
    assert (ends[0].abs() > 0.9).any()  # far enough out for the limit to act


def test_large_and_learned_variances_at_both_ends_agree():
    """A network that answers beta everywhere draws as fixed large does, one that answers beta-tilde as fixed small."""
    x_T = torch.ones(2, 1, 1, 1, dtype=torch.float64)
    for fraction, kind in ((0.0, "small"), (1.0, "large")):
        learned = GaussianDenoiser(SCHEDULE, fractions=torch.full((1000,), fraction, dtype=torch.float64))
        one = Ancestral(10)(learned, x_T, Ones(), None)
        two = Ancestral(10, fixed_variance=kind)(GaussianDenoiser(SCHEDULE), x_T, Ones(), None)
        torch.testing.assert_close(one, two, rtol=1e-13, atol=0)


def test_clipping_limits_the_image_in_mean_and_in_noise():
    """Two DDIM steps by hand, of a denoiser that says x0 = 3."""

    seen = []

    def three(x_t, t, labels):
        seen.append(x_t)
        abar = SCHEDULE.alphas_cumprod[t].view(-1, 1, 1, 1)
        x0 = torch.full_like(x_t, 3.0)
        return Estimate(x0, (x_t - abar.sqrt() * x0) / (1 - abar).sqrt())

    x_T = torch.full((1, 1, 1, 1), 0.7, dtype=torch.float64)
    a = float(SCHEDULE.alphas_cumprod[999])
    first = float(SCHEDULE.alphas_cumprod[0])
    for clip, x0 in ((False, 3.0), (True, 1.0)):
        assert DDIM(2, clip=clip)(Says(SCHEDULE, three), x_T, Ones(), None).item() == x0
        noise = (0.7 - math.sqrt(a) * x0) / math.sqrt(1 - a)
        assert seen[-1].item() == pytest.approx(math.sqrt(first) * x0 + math.sqrt(1 - first) * noise, rel=1e-13)


def test_clipping_changes_nothing_inside_the_range():
    x_T = torch.randn(4, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    narrow = [GaussianDenoiser(SCHEDULE, variance=1e-6) for _ in range(2)]
    for on, off in zip(all_samplers(5, clip=True), all_samplers(5), strict=True):
        ends = [s(d, x_T, NoiseStreams([1, 2, 3, 4]), None) for s, d in zip((on, off), narrow, strict=True)]
        torch.testing.assert_close(*ends, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("scale", "factor"), [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)])
def test_guidance_moves_constant_data_from_no_label_to_label_and_beyond(scale, factor):
    labels = torch.tensor([3, -2])
    x_T = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    for sampler in all_samplers(5):
        sampler.guidance = scale
        denoiser = GaussianDenoiser(SCHEDULE, variance=0.0)
        out = sampler(denoiser, x_T, Ones(), labels)
        assert out.flatten().tolist() == pytest.approx([3 * factor, -2 * factor], abs=1e-14)
        assert len(denoiser.calls) == (5 if scale == 1 else 10)


@pytest.mark.parametrize("num_steps", [1, 2, 7, 50, None])
def test_the_denoiser_is_asked_at_timesteps_of_the_training_schedule(num_steps):
    denoiser = GaussianDenoiser(SCHEDULE)
    Ancestral(num_steps)(denoiser, torch.zeros(2, 1, 1, 1, dtype=torch.float64), Ones(), None)
    expected = [999] if num_steps == 1 else np.round(np.linspace(999, 0, num_steps or 1000)).astype(int).tolist()
    assert [t for t, _ in denoiser.calls] == [[t, t] for t in expected]


def test_protocol_names_the_sampler_and_every_setting():
    common = {"guidance": 2.0, "clip": False}
    ddim, ancestral = DDIM(20, eta=0.5, **common), Ancestral(**common)
    assert ddim.protocol() == {"sampler": "DDIM", "num_steps": 20, "eta": 0.5, "spacing": "linspace", **common}
    expected = {"sampler": "Ancestral", "num_steps": None, "fixed_variance": "small", "spacing": "linspace"}
    assert ancestral.protocol() == expected | common


def test_a_protocol_leaves_out_what_is_no_setting():
    class Own(DDIM):
        def __init__(self):
            super().__init__(num_steps=3)
            self.strength, self.table, self._cache = [0.5, 1], torch.ones(2), 7

    wanted = {"sampler": "Own", "num_steps": 3, "strength": [0.5, 1], "eta": 0.0, "guidance": 1.0, "clip": True}
    assert Own().protocol() == wanted | {"spacing": "linspace"}
