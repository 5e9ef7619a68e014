"""Noise levels without a table, grids from any level, and the way up from an image: closed forms of Gaussian data."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracle import UnitDraws, linear_abar

from bootlight.diffusion.inversion import Recorded
from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.sampler import DDIM, Ancestral
from bootlight.diffusion.schedules import CosineSchedule, LinearSchedule, SigmaSchedule
from bootlight.diffusion.solvers import DPMSolver, Heun
from bootlight.rng import NoiseStreams

LINEAR, SIGMAS = LinearSchedule(1000), SigmaSchedule()
SCHEDULES = {"linear": LINEAR, "cosine": CosineSchedule(100), "sigma": SIGMAS}
schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
V = 1 / 16


@dataclass
class Exact:
    """The exact denoiser of N(0, variance) at any level of any schedule; with Var[x0 | x_t] where it is told to say it."""

    schedule: object
    variance: float = V
    says_variance: bool = False

    def __call__(self, x_t, t, labels=None):
        level = self.schedule.level(t)
        total = level.signal**2 * self.variance + level.noise**2
        known = (self.variance * level.noise**2 / total).expand_as(x_t) if self.says_variance else None
        return Estimate(level.signal * self.variance / total * x_t, level.noise / total * x_t, x0_variance=known)


def drawn_variance(sampler, denoiser, start=1.0):
    """Exact variance of what a sampler draws from x of variance start^2 and unit noise, all of it being linear in them."""
    grid = sampler.grid(denoiser.schedule)
    batch = grid.num_steps + 2
    x = torch.zeros(batch, 1, 1, 1, dtype=torch.float64)
    x[1] = start
    return (sampler(denoiser, x, UnitDraws(batch), grid=grid) ** 2).sum().item()


@schedules
def test_levels_and_times_invert_each_other(schedule):
    low, high = schedule.sigmas()
    sigma = torch.logspace(math.log10(low), math.log10(high), 57, dtype=torch.float64)
    level = schedule.level(schedule.at(sigma))
    # t is known to 1e-16 of 1000; d log sigma / dt is below 1 but at the cosine's end, where it is 3.5.
    torch.testing.assert_close((level.noise / level.signal).flatten(), sigma, rtol=1e-12, atol=0)
    assert level.signal.shape == (57, 1, 1, 1) and level.signal.dtype == torch.float64
    if schedule.keeps_variance:
        torch.testing.assert_close(level.signal**2 + level.noise**2, torch.ones(57, 1, 1, 1).double(), rtol=1e-15, atol=0)
        entries = torch.tensor([0, 7, schedule.num_timesteps - 1])
        # Between entries the log of the ratio is interpolated; at them it is the table's, rounded to float32 there.
        for ours, table in zip(schedule.level(entries.double()), schedule.level(entries), strict=True):
            torch.testing.assert_close(ours, table.double(), rtol=1e-7, atol=0)
        middle = schedule.level(torch.tensor([7.5], dtype=torch.float64))
        ends = [float(schedule.log_sigma[i]) for i in (7, 8)]
        assert math.log(middle.noise / middle.signal) == pytest.approx(sum(ends) / 2, rel=1e-12)


def test_levels_that_are_not_there():
    with pytest.raises(ValueError, match="no noise level"):
        LINEAR.at(torch.tensor([1e4]))
    for wrong in ({"num_steps": None}, {"num_steps": 0}, {"num_steps": 5, "spacing": "trailing"}):
        with pytest.raises(ValueError, match=r"num_steps is|spacing is trailing"):
            SIGMAS.grid(**wrong)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="start is"):
            SIGMAS.grid(5, start=wrong)
    for low, high in ((0.0, 1.0), (2.0, 1.0), (1.0, math.inf)):
        with pytest.raises(ValueError, match="sigma_min is"):
            SigmaSchedule(low, high)
    for build, few in ((LinearSchedule, 20), (CosineSchedule, 1)):
        with pytest.raises(ValueError, match="num_timesteps is"):
            build(few)


def test_grids_of_sigma():
    grid = SIGMAS.grid(18, spacing="karras")
    ramp = np.linspace(0, 1, 18)
    expected = (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7  # Karras et al. 2022, equation 5
    np.testing.assert_allclose(grid.t, expected, rtol=1e-12)
    assert torch.equal(grid.noise, torch.cat([grid.t, torch.zeros(1)])) and (grid.signal == 1).all()
    np.testing.assert_allclose(SIGMAS.grid(4).t, np.geomspace(80, 0.002, 4), rtol=1e-12)
    assert SIGMAS.grid(1).t.item() == SIGMAS.grid(1, spacing="karras").t.item() == pytest.approx(80, rel=1e-14)


@schedules
@pytest.mark.parametrize("start", [0.7, 0.05, 3.0])
def test_a_grid_from_any_level_keeps_what_lies_below_it(schedule, start):
    whole, cut = schedule.grid(20, spacing="karras"), schedule.grid(20, spacing="karras", start=start)
    sigma, below = (grid.noise[:-1] / grid.signal[:-1] for grid in (whole, cut))
    kept = sigma[sigma < start]
    assert below[0].item() == pytest.approx(start, rel=1e-12)
    torch.testing.assert_close(below[1:], kept, rtol=0, atol=0)
    assert (cut.signal[-1], cut.noise[-1]) == (1, 0)
    torch.testing.assert_close(cut.t[1:], whole.t[-len(kept) :].double(), rtol=0, atol=0)
    # From a level of the grid itself: that level is the first, and is there once.
    again = schedule.grid(20, spacing="karras", start=float(kept[0]))
    assert again.num_steps == len(kept) and again.t[0].item() == pytest.approx(float(cut.t[1]), abs=1e-8)


@pytest.mark.parametrize(
    ("v", "heun_18", "heun_40", "euler_18"),
    [(1 / 16, 1.141, 1.024, 0.691), (1 / 4, 1.114, 1.020, 0.716), (1, 1.091, 1.016, 0.739)],
)
def test_heun_inflates_as_edm_does(v, heun_18, heun_40, euler_18):
    """x begins with sigma times noise: so much of the variance sigma^2 + v that x_T should have, to 4e-4."""
    assert SIGMAS.grid(18).times(3, torch.zeros(2, 1, 1, 1, dtype=torch.float64)).dtype == torch.float64  # levels of float64
    start = SIGMAS.deviation(SIGMAS.grid(18))
    assert start == pytest.approx(80, rel=1e-14)
    for num_steps, ratio in ((18, heun_18), (40, heun_40)):
        assert drawn_variance(Heun(num_steps, clip=False), Exact(SIGMAS, v), start) / v == pytest.approx(ratio, abs=5e-4)
    euler = DDIM(18, clip=False, spacing="karras")
    assert drawn_variance(euler, Exact(SIGMAS, v), start) / v == pytest.approx(euler_18, abs=5e-4)


@pytest.mark.parametrize("sampler", [Ancestral, DDIM, Heun, DPMSolver])
def test_a_schedule_of_sigma_is_the_same_process_as_one_that_keeps_the_variance(sampler):
    """x / signal of the one is x of the other: at equal sigmas every sampler draws the same image of the same noise."""
    discrete = LINEAR.grid(12)
    sigma = discrete.noise[:-1] / discrete.signal[:-1]
    same = type(discrete).of(sigma, torch.ones_like(sigma), sigma)
    x = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    options = {"eta": 0.5} if sampler is DDIM else {}
    ends = [
        sampler(12, **options)(Exact(schedule), x * scale, NoiseStreams([1, 2, 3]), grid=grid)
        for schedule, scale, grid in ((LINEAR, 1.0, discrete), (SIGMAS, float(1 / discrete.signal[0]), same))
    ]
    # The tables of the one are float32 numbers: 6e-8 in each of 12 steps, divided by signals of 0.006 at the noisy end.
    torch.testing.assert_close(*ends, rtol=0, atol=2e-4)


@pytest.mark.parametrize("num_steps", [5, 20, 100])
@pytest.mark.parametrize(("schedule", "start"), [(LINEAR, 1.0), (SIGMAS, math.sqrt(80**2 + V))])
def test_a_known_variance_makes_ancestral_steps_exact(schedule, start, num_steps):
    sampler = Ancestral(num_steps, clip=False, spacing="karras")
    denoiser = Exact(schedule, says_variance=True)
    ours = drawn_variance(sampler, denoiser, start)
    last = sampler.grid(schedule).sigma(num_steps - 1)
    # All that is missing is the noise of the last step, Var[x0 | x_t] there; x_T of the table has variance 1, not 1 - 4e-5.
    assert ours == pytest.approx(V - V * last**2 / (V + last**2), rel=2e-4)
    small = drawn_variance(sampler, Exact(schedule), start)
    assert small < ours  # without it: the small variance, which shrinks


def test_recorded_steps_are_those_of_the_walk():
    seen = []
    sampler, x = Ancestral(6), torch.randn(2, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grid = sampler.grid(LINEAR)
    out = sampler(Exact(LINEAR), x, NoiseStreams([1, 2]), grid=grid, record=lambda *step: seen.append(step))
    assert [step[0] for step in seen] == list(range(6)) and torch.equal(seen[0][1], x)
    noise = NoiseStreams([1, 2])
    for (i, here, mean, deviation), following in zip(seen, [step[1] for step in seen[1:]] + [out], strict=True):
        again, spread = sampler.transition(Exact(LINEAR), here, grid, i)
        assert torch.equal(again, mean) and spread.item() == deviation
        assert torch.equal(following, mean + deviation * noise.normal(1, 2, 2) if deviation > 0 else mean)
    for solver in (Heun(6), DPMSolver(6)):
        seen.clear()
        end = solver(Exact(LINEAR), x, NoiseStreams([1, 2]), record=lambda *step: seen.append(step))
        assert torch.equal(seen[-1][2], end) and all(torch.equal(a[2], b[1]) for a, b in pairwise(seen))


def test_a_transition_has_a_gradient_and_a_walk_has_none():
    x = torch.randn(2, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    sampler = Ancestral(6, clip=False)
    grid = sampler.grid(LINEAR)
    mean, _ = sampler.transition(Exact(LINEAR), x, grid, 2)
    (slope,) = torch.autograd.grad(mean.sum(), x)
    reverse, level = grid.reverse(2), grid.level(2)
    gain = reverse.from_x0 * level.signal * V / (level.signal**2 * V + level.noise**2) + reverse.from_xt
    np.testing.assert_allclose(slope, gain, rtol=1e-6)  # levels are float32 in the denoiser
    assert not sampler(Exact(LINEAR), x, NoiseStreams([1, 2])).requires_grad


@pytest.mark.parametrize("num_steps", [4, 12, 50])
def test_ddim_inversion_gains_by_the_product_formulas(num_steps):
    """Up: prod N_i / V_{i-1}; down: prod N_i / V_i, with N_i = sqrt(A_{i-1} A_i) v + sqrt((1 - A_{i-1})(1 - A_i))."""
    abar = linear_abar(num_steps)
    total = abar * V + 1 - abar
    shared = np.sqrt(abar[:-1] * abar[1:]) * V + np.sqrt((1 - abar[:-1]) * (1 - abar[1:]))
    x0 = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    sampler = DDIM(num_steps, clip=False)
    grid = sampler.grid(LINEAR)
    x, recorded = sampler.invert(Exact(LINEAR), x0, NoiseStreams([0]), grid=grid)
    down = sampler(Exact(LINEAR), x, NoiseStreams([0]), grid=grid).item()
    # Levels are float32 in the denoiser, 6e-8 in each step.
    assert x.item() == pytest.approx(np.prod(shared / total[:-1]), rel=num_steps * 2e-7)
    assert down == pytest.approx(np.prod(shared / total[:-1]) * np.prod(shared / total[1:]), rel=num_steps * 4e-7)
    assert recorded.residual.item() == pytest.approx(1 - down, abs=1e-12)
    assert sampler(Exact(LINEAR), x, recorded, grid=grid).item() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("sampler", [Ancestral(9), DDIM(9, eta=1.0), DDIM(9, eta=0.3), Ancestral(9, fixed_variance="large")])
@pytest.mark.parametrize("start", [None, 0.8])
def test_recorded_noise_leads_any_denoiser_back_to_the_image(sampler, start):
    def wrong(x_t, t, labels=None):
        level = LINEAR.level(t)
        x0 = torch.sin(3 * x_t) + 0.2
        return Estimate(x0, (x_t - level.signal * x0) / level.noise)

    wrong.schedule = LINEAR
    x0 = torch.rand(4, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    grid = sampler.grid(LINEAR, start)
    x, recorded = sampler.invert(wrong, x0, NoiseStreams(range(4)), grid=grid)
    first = grid.level(0)
    assert torch.equal(x, first.signal * x0 + first.noise * NoiseStreams(range(4)).normal(1, 3, 3))
    assert len(recorded.draws) == grid.num_steps - 1
    # Each step divides by its deviation, 0.005 and more, and multiplies by it again.
    torch.testing.assert_close(sampler(wrong, x, recorded, grid=grid), x0, rtol=0, atol=1e-11)
    torch.testing.assert_close(sampler(wrong, x, recorded.again(), grid=grid), x0, rtol=0, atol=1e-11)
    with pytest.raises(ValueError, match="another one is asked for"):
        recorded.normal(1, 3, 3)


def test_a_record_is_used_from_its_beginning_by_an_equal_sampler_alone():
    record = Recorded([torch.zeros(2, 1, 3, 3)], torch.zeros(2, 1, 3, 3))
    with pytest.raises(ValueError, match="recorded 1 draws"):
        record.normal(1, 4, 4)
