"""Second-order solvers with exact denoisers of Gaussian data: affine, so variances need no Monte Carlo."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracle import GaussianDenoiser, Says, mean_and_variance

import bootlight
from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.sampler import DDIM
from bootlight.diffusion.schedule import DiscreteSchedule
from bootlight.diffusion.schedules import CosineSchedule, LinearSchedule, SigmaSchedule
from bootlight.diffusion.solvers import DPMSolver, Heun
from bootlight.rng import NoiseStreams

SCHEDULE = CosineSchedule(1000)
SOLVERS = (DPMSolver, Heun)


def levels(num_steps, low=0.002, high=80.0, rho=7.0):
    """Noise levels of Karras et al. 2022, equation 5, lowest first."""
    ramp = np.linspace(0, 1, num_steps)
    return (low ** (1 / rho) + ramp * (high ** (1 / rho) - low ** (1 / rho))) ** rho


def schedule_of(sigma):
    return DiscreteSchedule(torch.from_numpy(1 / (1 + sigma**2)))


def variance(sampler, schedule, v):
    return mean_and_variance(sampler, GaussianDenoiser(schedule, variance=v), schedule)[1]


@pytest.mark.parametrize(
    ("v", "heun_18", "heun_40", "euler_18"),
    [(1 / 16, 1.141, 1.024, 0.691), (1 / 4, 1.114, 1.020, 0.716), (1, 1.091, 1.016, 0.739)],
)
def test_heun_inflates_by_known_ratios_where_euler_shrinks(v, heun_18, heun_40, euler_18):
    """The ratios are those of EDM, which starts at sigma times noise; x_T here has 1 + 1 / 6400 of that variance."""
    for num_steps, ratio in ((18, heun_18), (40, heun_40)):
        assert variance(Heun(None, clip=False), schedule_of(levels(num_steps)), v) / v == pytest.approx(ratio, abs=7e-4)
    assert variance(DDIM(None, clip=False), schedule_of(levels(18)), v) / v == pytest.approx(euler_18, abs=7e-4)


def heun_variance(sigma, v):
    """dz / d sigma = sigma z / (v + sigma^2), by hand: a product of gains."""
    z, below = math.sqrt(1 + sigma[-1] ** 2), np.concatenate([[0.0], sigma])
    for now, then in zip(below[:0:-1], below[-2::-1], strict=True):
        h, slope = then - now, now / (v + now**2)
        z *= 1 + h * slope if then == 0 else 1 + h / 2 * (slope + then / (v + then**2) * (1 + h * slope))
    return z**2


def dpm_variance(sigma, v):
    """The two-step recursion in the data prediction, by hand, with its state (x, estimate before)."""
    alpha, noise = 1 / np.sqrt(1 + sigma**2), sigma / np.sqrt(1 + sigma**2)
    times, x, before = -np.log(sigma), 1.0, None
    for i in range(len(sigma) - 1, 0, -1):
        x0 = alpha[i] * v / (alpha[i] ** 2 * v + noise[i] ** 2) * x
        h, mixed = times[i - 1] - times[i], x0
        if before is not None:
            share = h / (2 * (times[i] - times[i + 1]))
            mixed = (1 + share) * x0 - share * before
        x, before = noise[i - 1] / noise[i] * x - alpha[i - 1] * (math.exp(-h) - 1) * mixed, x0
    return (alpha[0] * v / (alpha[0] ** 2 * v + noise[0] ** 2) * x) ** 2


@pytest.mark.parametrize("v", [1 / 16, 1.0])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 10, 25])
def test_variances_are_those_of_the_recursions(num_steps, v):
    sigma = levels(num_steps) if num_steps > 1 else np.array([80.0])
    # Float64 throughout; differences of levels of 80 and 0.002 leave 1e-12.
    assert variance(Heun(None, clip=False), schedule_of(sigma), v) == pytest.approx(heun_variance(sigma, v), rel=1e-9)
    assert variance(DPMSolver(None, clip=False), schedule_of(sigma), v) == pytest.approx(dpm_variance(sigma, v), rel=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_error_is_of_second_order(solver):
    """Four times smaller with twice the steps; sixteen times with four times the steps (DDIM: two and four times)."""

    def error(kind, num_steps):
        return abs(variance(kind(None, clip=False), schedule_of(levels(num_steps, low=0.02, high=20.0)), 1 / 4) / exact - 1)

    first = levels(2, low=0.02, high=20.0)[0] ** 2
    # The exact flow from sigma 20 to 0.02, then one step to 0: what remains when the steps are many.
    exact = (1 + 400) / (0.25 + 400) * (0.25 + first) * (0.25 / (0.25 + first)) ** 2
    errors = [error(solver, n) for n in (100, 200, 400)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.08)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.04)
    assert error(DDIM, 200) / error(DDIM, 400) == pytest.approx(2, rel=0.04)
    assert errors[2] < 1e-3


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("num_steps", [1, 2, 10, 50])
@pytest.mark.parametrize("rho", [None, 7.0])
def test_constant_data_are_returned_exactly(solver, num_steps, rho):
    denoiser = GaussianDenoiser(SCHEDULE, mean=0.4, variance=0.0)
    mean, spread = mean_and_variance(solver(num_steps, clip=False, rho=rho), denoiser, SCHEDULE)
    # Heun divides by signals of 1e-4 on the way (evenly spaced timesteps of the cosine schedule): 1e-16 / 1e-4, 50 times.
    assert mean == pytest.approx(0.4, abs=1e-10)
    assert spread == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("solver", SOLVERS)
def test_two_steps_of_data_that_are_clipped(solver):
    """A denoiser that says 3 everywhere draws 1."""

    def three(x_t, t, labels):
        abar = SCHEDULE.alphas_cumprod[t].view(-1, 1, 1, 1)
        return Estimate(torch.full_like(x_t, 3.0), (x_t - 3 * abar.sqrt()) / (1 - abar).sqrt())

    x_T = torch.full((1, 1, 1, 1), 0.7, dtype=torch.float64)
    denoiser = Says(SCHEDULE, three)
    assert solver(2)(denoiser, x_T, NoiseStreams([0]), None).item() == pytest.approx(1, abs=1e-9)
    assert solver(2, clip=False)(denoiser, x_T, NoiseStreams([0]), None).item() == pytest.approx(3, abs=1e-9)


def test_calls_of_the_network():
    x_T = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    for sampler, expected in ((DPMSolver(20), 20), (Heun(18), 35), (Heun(1), 1), (DPMSolver(1), 1), (Heun(5, rho=None), 9)):
        denoiser = GaussianDenoiser(SCHEDULE)
        sampler(denoiser, x_T, NoiseStreams([0, 1]), None)
        assert len(denoiser.calls) == expected == sampler.calls(sampler.num_steps)


def test_the_first_and_the_last_step_of_dpm_solver_are_those_of_ddim():
    x_T = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for num_steps in (1, 2):
        ends = [
            sampler(GaussianDenoiser(SCHEDULE), x_T, NoiseStreams([1, 2, 3]), None)
            for sampler in (DPMSolver(num_steps, rho=None), DDIM(num_steps))
        ]
        torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule", [SCHEDULE, LinearSchedule(1000), LinearSchedule(25)])
@pytest.mark.parametrize("num_steps", [1, 2, 10, 25])
def test_steps_lie_nearest_to_the_wanted_levels(schedule, num_steps):
    grid = schedule.grid(num_steps, spacing="karras")
    kept = grid.t.flip(0).numpy()
    assert len(kept) == num_steps and (np.diff(kept) > 0).all() and kept[0] >= 0 and kept[-1] < len(schedule)
    own = np.sqrt(1 / schedule.alphas_cumprod.numpy() - 1)
    low, high = max(0.002, own[0]), min(80.0, own[-1])
    wanted = levels(num_steps, low, high) if num_steps > 1 else np.array([high])
    nearest = np.abs(np.log(own)[None] - np.log(wanted)[:, None]).argmin(1)
    alone = [i for i in range(num_steps) if (np.abs(nearest - nearest[i]) > num_steps).sum() >= num_steps - 1]
    assert (kept[alone] == nearest[alone]).all()  # where no neighbour is in the way
    assert kept[-1] == max(nearest[-1], num_steps - 1)  # the start of the path, or all steps that there are
    assert torch.equal(grid.signal[:-1], schedule.signal[grid.t]) and torch.equal(grid.noise[:-1], schedule.noise[grid.t])
    assert (grid.signal[-1], grid.noise[-1]) == (1, 0)


def test_all_steps_can_be_kept():
    assert SCHEDULE.grid(1000, spacing="karras").t.tolist() == list(range(999, -1, -1))
    with pytest.raises(ValueError, match="num_steps is 1001; this schedule allows 1 to 1000"):
        SCHEDULE.grid(1001, spacing="karras")


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_last_step_starts_from_the_least_level_that_was_asked_for(solver):
    denoiser = GaussianDenoiser(SCHEDULE)
    solver(8, sigma_min=0.2)(denoiser, torch.zeros(1, 1, 1, 1, dtype=torch.float64), NoiseStreams([0]), None)
    own = np.sqrt(1 / SCHEDULE.alphas_cumprod.numpy() - 1)
    asked = [own[t[0]] for t, _ in denoiser.calls]
    # Levels of neighbouring timesteps differ by 1 % there, by more at the noisy end of the schedule.
    assert asked[-1] == pytest.approx(0.2, rel=0.01) and asked[0] == pytest.approx(80, rel=0.1)


def test_protocol_and_bad_spacing():
    assert DPMSolver(12, rho=5.0).protocol() == {
        "sampler": "DPMSolver",
        "num_steps": 12,
        "guidance": 1.0,
        "clip": True,
        "rho": 5.0,
        "sigma_min": 0.002,
        "spacing": "karras",
    }
    for rho in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"model\.sampler\.rho is .*; it must be above 0, or null"):
            Heun(rho=rho)
    for sigma_min in (0.0, -1.0, 80.0, math.nan):
        with pytest.raises(ValueError, match=r"model\.sampler\.sigma_min is .*; it must be above 0 and below 80"):
            DPMSolver(sigma_min=sigma_min)


def churned_variance(v, num_steps, churn, low=0.0, high=math.inf, noise=1.0):
    """Karras et al. 2022, algorithm 2, of data N(0, v): the variance u of z = x / signal, by hand."""
    sigma = np.append(levels(num_steps)[::-1], 0.0)
    u = v + sigma[0] ** 2
    for now, then in pairwise(sigma):
        share = min(churn / num_steps, math.sqrt(2) - 1) if low <= now <= high else 0.0
        raised = max(now, min(now * (1 + share), sigma[0]))
        u += noise**2 * (raised**2 - now**2)
        h, slope = then - raised, raised / (v + raised**2)
        u *= (1 + h * slope if then == 0 else 1 + h / 2 * (slope + then / (v + then**2) * (1 + h * slope))) ** 2
    return u


@pytest.mark.parametrize(("churn", "settings"), [(0.0, {}), (8.0, {}), (40.0, {"low": 0.05, "high": 5.0, "noise": 1.01})])
def test_churn_adds_noise_before_each_step_and_takes_it_away(churn, settings):
    """The denoiser is linear: the mean and the share of each noise are exact, so is the variance of their sum."""
    v, num_steps = 0.25, 18
    named = {"low": "churn_min", "high": "churn_max", "noise": "churn_noise"}
    sampler = Heun(num_steps, clip=False, churn=churn, **{named[key]: value for key, value in settings.items()})
    schedule = SigmaSchedule()
    grid = sampler.grid(schedule)
    numbers = torch.tensor([0.0, v], dtype=torch.float64).reshape(2, 1, 1, 1)
    denoiser = bootlight.GaussianDenoiser(*numbers, schedule)

    class Unit:
        """Noise that is 1 at one draw, and else 0."""

        def __init__(self, at):
            self.at, self.drawn = at, 0

        def normal(self, *shape):
            self.drawn += 1
            return torch.full((1, *shape), float(self.drawn - 1 == self.at), dtype=torch.float64)

    def gain(start, at):
        noise = Unit(at)
        x = torch.full((1, 1, 1, 1), start, dtype=torch.float64)
        return sampler(denoiser, x, noise, grid=grid).item(), noise.drawn

    first, count = gain(1.0, -1)
    found = first**2 * (v + 80.0**2) + sum(gain(0.0, at)[0] ** 2 for at in range(count))
    assert found == pytest.approx(churned_variance(v, num_steps, churn, **settings), rel=1e-9)
    assert count == (
        0 if churn == 0 else sum(settings.get("low", 0) <= s <= settings.get("high", 99) for s in levels(18)) - (not settings)
    )
    assert ("churn" in sampler.protocol()) == (churn > 0)


def test_churn_on_a_table_goes_to_levels_between_its_entries():
    sampler = Heun(10, clip=False, churn=4.0)
    grid = sampler.grid(LinearSchedule(), start=0.59)
    raised = grid.raised
    assert raised.num_steps == grid.num_steps and raised.sigma(0) == pytest.approx(0.59 * 1.4, rel=1e-5)  # a float32 table
    assert (raised.signal**2 + raised.noise**2).numpy() == pytest.approx(1)
    with pytest.raises(ValueError, match="churn"):
        Heun(churn=-1.0)
