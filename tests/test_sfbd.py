"""SFBD in closed form: maps of the variance of restored images, alone and through `bootlight fit`; what they are made of."""

from itertools import pairwise

import numpy as np
import pytest
from oracle import linear_abar
from test_closed_forms import config, fitted, images, named
from tiny_runs import write_plain_pages

import bootlight

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
TAU, TRUTH, START = 0.59, 0.25, 0.15


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


def karras(num_steps, low=0.002, high=80.0, rho=7.0):
    ramp = np.linspace(0, 1, num_steps)
    return (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho


def cut(sigma):
    """Levels below tau, noisiest first, with tau before them and 0 at the end."""
    return np.concatenate([[TAU], sigma[sigma < TAU], [0.0]])


def heun(v, num_steps=40):
    """Of N(0, v): d z / d sigma = sigma z / (v + sigma^2) by Heun's rule, from variance s2 + tau^2 on."""
    z = np.sqrt(TRUTH + TAU**2) * np.ones_like(v)
    for now, then in pairwise(cut(karras(num_steps))):
        h, slope = then - now, now / (v + now**2)
        z = z * (1 + h * slope if then == 0 else 1 + h / 2 * (slope + then / (v + then**2) * (1 + h * slope)))
    return z**2


def vp_levels(num_steps):
    """abar of the respaced linear schedule below tau, noisiest first, then 1."""
    abar = linear_abar(num_steps)[1:]
    kept = np.sort(abar[np.sqrt((1 - abar) / abar) < TAU])
    return np.concatenate([[1 / (1 + TAU**2)], kept, [1.0]])


def ddim(v, num_steps):
    z = np.sqrt(vp_levels(num_steps)[0] * (TRUTH + TAU**2)) * np.ones_like(v)
    for now, then in pairwise(vp_levels(num_steps)):
        z = z * (np.sqrt(then * now) * v + np.sqrt((1 - then) * (1 - now))) / (now * v + 1 - now)
    return z**2


def posterior(v, num_steps):
    """Ancestral steps with the optimal variance: the posterior, whatever the steps, but for the noise of the last one."""
    levels = vp_levels(num_steps)
    u = levels[0] * (TRUTH + TAU**2) * np.ones_like(v)
    for now, then in pairwise(levels):
        beta = 1 - now / then
        x0, total = np.sqrt(then) * beta / (1 - now), now * v + 1 - now
        gain = x0 * np.sqrt(now) * v / total + np.sqrt(1 - beta) * (1 - then) / (1 - now)
        tilde = beta * (1 - then) / (1 - now)
        u = gain**2 * u + (tilde + x0**2 * v * (1 - now) / total if then < 1 else 0)
    return u


def one_step(v, _=None):
    return (v / (v + TAU**2)) ** 2 * (TRUTH + TAU**2)


MAPS = {"heun": (heun, 40), "ddim_50": (ddim, 50), "ddim_100": (ddim, 100), "sde": (posterior, 50), "mean": (one_step, 1)}


def applied(name, times, v=START):
    step, num_steps = MAPS[name]
    for _ in range(times):
        v = float(step(np.array([v]), num_steps)[0])
    return v


def test_the_maps_give_the_published_values():
    """`systems` of the literature: at finite steps, and their limits for infinitely many."""
    for name, values, last in (
        ("heun", (0.1820, 0.2072, 0.2249), 0.2540),
        ("ddim_50", (0.1591, 0.1663, 0.1720), 0.1884),
        ("ddim_100", (0.1693, 0.1847), 0.2214),
        ("mean", (0.0542, 0.0109), 0.0),
    ):
        assert [applied(name, k + 1) for k in range(len(values))] == pytest.approx(values, abs=5e-5), name
        assert applied(name, 30) == pytest.approx(last, abs=6e-5), name  # 0.25395 is published as 0.2540


def test_fixed_points_and_rates():
    """With ever more steps each map goes to its limit, with the truth as its fixed point; the posterior mean collapses."""
    square, rho = TAU**2, TRUTH / (TRUTH + TAU**2)
    limits = {
        "heun": lambda v: v * (TRUTH + square) / (v + square),
        "ddim_50": lambda v: v * (TRUTH + square) / (v + square),
        "sde": lambda v: (v / (v + square)) ** 2 * (TRUTH + square) + v * square / (v + square),
    }
    rates = {"heun": 1 - rho, "ddim_50": 1 - rho, "sde": 1 - rho**2}
    for name, limit in limits.items():
        step = MAPS[name][0]
        for v in (0.05, START, TRUTH, 0.6):
            off = [abs(float(step(np.array([v]), n)[0]) / limit(v) - 1) for n in (125, 250, 500, 1000)]
            # Heun's error is of second order, and what is left of it at 1000 steps is that of sigma_min. The schedule's lowest
            # level of 0.01 stays for the others, of which DDIM's is of first order.
            assert off[-1] < (1e-4 if name == "heun" else 0.02 if name == "ddim_50" else 2e-3), (name, v)
            assert off[2] < off[1] < off[0], (name, v, off)
        assert limit(TRUTH) == pytest.approx(TRUTH, rel=1e-12)
        slope = (limit(TRUTH + 1e-6) - limit(TRUTH - 1e-6)) / 2e-6
        assert slope == pytest.approx(rates[name], abs=1e-6), name
    assert [round(applied_limit(limits["sde"], k), 4) for k in (1, 2, 30)] == [0.1591, 0.1680, 0.2493]
    assert [round(applied_limit(limits["heun"], k), 4) for k in (1, 2, 30)] == [0.1801, 0.2039, 0.2500]


def applied_limit(limit, times):
    v = START
    for _ in range(times):
        v = limit(v)
    return v


@pytest.mark.parametrize(("ratio", "share"), [(2.9, 0.0), (3.1, 0.44), (6.0, 0.80)])
def test_the_posterior_mean_keeps_nothing_below_three_times_the_noise(ratio, share):
    """v <- (v / (v + t2))^2 (s2 + t2), from the truth on: published shares of it."""
    v = ratio
    for _ in range(20_000):
        v = (v / (v + 1)) ** 2 * (ratio + 1)
    assert v / ratio == pytest.approx(share, abs=5e-3)


SAMPLERS = {
    "heun": ("SigmaSchedule", named("Heun", num_steps=40, clip=False)),
    "ddim_50": ("LinearSchedule", named("DDIM", num_steps=50, clip=False)),
    "sde": ("LinearSchedule", named("Ancestral", num_steps=50, clip=False)),
    "mean": ("SigmaSchedule", named("Heun", num_steps=40, clip=False)),
}
NUM_NOISY, SIZE = 1500, 8


def noisy_origin(count=NUM_NOISY, size=SIZE, tau=TAU):
    good = named("GaussianImages", image_size=size, count=count, deviation=TRUTH**0.5, image_seed=1, rounded=False)
    return named("Corrupted", origin=good, corruption=named("GaussianNoise", tau=tau))


def sfbd(folder, model, stages, generations, mixing=None, count=1875, size=SIZE, noisy=None):
    made = config(folder, model, stages, count, size, 100, generations, mixing or named("OnlyReal"))
    data = made["data"]["init_args"]
    data["origin"]["init_args"]["deviation"] = START**0.5
    data["origins"] = {"noisy": noisy_origin(size=size) if noisy is None else noisy}
    return made


def test_every_loop_of_restored_images_follows_its_map(tmp_path):
    """Each part learns of images of variance 0.15, then of its own restored ones alone; one run has them all."""
    stages = []
    for part, (schedule, sampler) in SAMPLERS.items():
        model = named("FittedGaussian", schedule=named(schedule), sampler=sampler)
        mixing = named("Denoised", folder=f"of_{part}", include_clean=False)
        synthesizer = named("FromNoisy", tau=TAU, one_step=part == "mean")
        stages += [
            named("Train", part=part, module=model, settings={"data.mixing": mixing}),
            named("Synthesize", part=part, into=f"of_{part}", synthesizer=synthesizer),
        ]
    run = bootlight.run(sfbd(tmp_path / "run", named("FittedGaussian", sampler=named("DDIM", clip=False)), stages, 3))
    numbers = NUM_NOISY * SIZE**2
    sharp = 5 * (2 / numbers) ** 0.5
    for name in SAMPLERS:
        for k, folder in enumerate(run.generations()):
            mean, v = fitted(folder, name)
            found = images(folder, f"of_{name}")
            assert found.dtype == np.float32 and len(found) == NUM_NOISY  # of each noisy image one
            # A map is linear in y: five deviations of the variance of 96,000 numbers. The mean of a pixel, at most 0.05 away
            # from that of the noisy images, adds its square, 1 / 1500 of a variance.
            step, num_steps = MAPS[name]
            assert ((found - mean) ** 2).mean() == pytest.approx(step(v, num_steps).mean(), rel=sharp + 2 / NUM_NOISY), (
                name,
                k,
            )
        # Three fits, each of which loses 1 / n, and that average over pixels what is curved in the map: v^2 at most. Of what
        # collapses the mean of a pixel stays, whose square is 1 / n of a variance.
        closed, kept = applied(name, 3), 2 * TRUTH / NUM_NOISY if name == "mean" else 0
        assert found.var() == pytest.approx(closed, rel=3 * (sharp + 3 * 2 / NUM_NOISY), abs=kept), name
    assert applied("mean", 3) + kept < 1e-3 < 0.15 < min(applied(name, 3) for name in SAMPLERS if name != "mean")
