"""Systems that train on what they have drawn, in closed form: SIMS, Neon, loops of MAD; alone, and through `bootlight fit`."""

import itertools
import math

import numpy as np
import pytest
import torch
from oracle import linear_abar
from scipy.special import digamma, polygamma
from test_closed_forms import config, ddim, fitted, images, named
from tiny_runs import write_plain_pages
from torch import nn

import bootlight
from bootlight.bootstrap.merge import extrapolated_weights
from bootlight.diffusion.compose import Extrapolated
from bootlight.diffusion.denoiser import NetworkDenoiser
from bootlight.diffusion.exact import GaussianDenoiser
from bootlight.diffusion.prediction import Epsilon
from bootlight.diffusion.sampler import DDIM
from bootlight.diffusion.scaled import ScaledScore, WithScaledScore
from bootlight.diffusion.schedules import LinearSchedule, SigmaSchedule
from bootlight.diffusion.solvers import Heun
from bootlight.errors import BootlightError

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


def exact(variance, schedule=None):
    """The denoiser of single numbers N(0, variance)."""
    values = torch.tensor([0.0, variance], dtype=torch.float64).reshape(2, 1, 1, 1)
    return GaussianDenoiser(*values, schedule or LinearSchedule())


def drawn_variance(denoiser, sampler):
    """All walks are linear in the noise that they start from: its factor, squared."""
    grid = sampler.grid(denoiser.schedule)
    start = torch.full((1, 1, 1, 1), denoiser.schedule.deviation(grid), dtype=torch.float64)
    return sampler(denoiser, start, None, grid=grid).item() ** 2


def extrapolated(v, u, w, num_steps):
    """Variances that DDIM draws from (1 + w) times a fit of variance v minus w times one of u."""
    abar = linear_abar(num_steps)
    before, now = abar[:-1], abar[1:]

    def gains(x):
        x = np.asarray(x)[..., None]
        return (np.sqrt(before * now) * x + np.sqrt((1 - before) * (1 - now))) / (now * x + 1 - now)

    return ((1 + w) * gains(v) - w * gains(u)).prod(-1) ** 2


# SIMS


def test_the_ends_of_an_extrapolation_are_its_denoisers():
    base, auxiliary = exact(0.25), exact(0.2)
    x, t = torch.randn(5, 1, 1, 1, dtype=torch.float64), torch.full((5,), 300)
    for w, wanted in ((0.0, base), (-1.0, auxiliary)):
        found = Extrapolated(base, auxiliary, w)(x, t)
        assert torch.equal(found.x0, wanted(x, t).x0) and torch.equal(found.epsilon, wanted(x, t).epsilon)
    assert torch.equal(Extrapolated(base, base, 3.7)(x, t).x0, base(x, t).x0)


@pytest.mark.parametrize(("v", "u", "w", "published"), [(0.25, 0.2, 1, 0.3125), (0.25, 0.2, 3, 0.4883), (0.25, 0.3, 2, 0.1736)])
def test_without_steps_the_variance_is_extrapolated_geometrically(v, u, w, published):
    schedule = SigmaSchedule()
    found = drawn_variance(Extrapolated(exact(v, schedule), exact(u, schedule), w), Heun(num_steps=400, clip=False))
    assert v * (v / u) ** w == pytest.approx(published, abs=5e-5)
    # Heun is of second order: 40 steps are 2 % above at w = 1 (`test_composing`), so 400 are 2e-4, three times that at w = 3.
    # From sigma = 80 on: v / 80^2 = 4e-5 is missing.
    assert found == pytest.approx(published, rel=1e-3)


@pytest.mark.parametrize(
    ("v", "num_steps", "published"),
    [
        (0.25, 20, {0.0: 0.0002, 0.5: 0.171, 1.0: 1.296, 1.5: 4.087}),
        (0.25, 50, {0.0: 0.221, 0.5: 0.543, 1.0: 1.049, 1.5: 1.785}),
        (0.25, 100, {0.0: 0.525, 0.5: 0.744, 1.0: 1.013, 1.5: 1.336}),
        (0.04, 50, {0.0: 0.002, 0.5: 0.222, 1.0: 1.275, 1.5: 3.383}),
    ],
)
def test_ten_generations_of_sims_keep_the_variance_at_w_1(v, num_steps, published):
    """Each is fitted exactly to the images of the one before, which DDIM has drawn; the auxiliary to the base's own images.

    By its own formula, and at 20 and 50 steps once by the denoisers of the package.
    """
    sampler = DDIM(num_steps, clip=False)
    for w, wanted in published.items():
        formula = real = v
        for _ in range(10):
            formula = float(extrapolated(formula, ddim(np.array([formula]), num_steps)[0], w, num_steps))
        assert formula / v == pytest.approx(wanted, abs=6e-4 if wanted > 1e-3 else 6e-5)
        if w == 1 and num_steps <= 50:
            for _ in range(10):
                base = exact(real)
                real = drawn_variance(Extrapolated(base, exact(drawn_variance(base, sampler)), w), sampler)
            assert real == pytest.approx(formula, rel=1e-5)  # tables of the schedule are float32 where times are


def test_a_loop_of_sims_through_the_command_line(tmp_path):
    """Three generations at w = 1 on images of the one before; without the auxiliary 64 % of the variance would be left."""
    auxiliary = {"part": "auxiliary", "settings": {"data.mixing": "bootlight.OwnImages"}}
    stages = [
        named("Train"),
        named("Synthesize", into="probe"),
        named("Train", **auxiliary),
        named("Synthesize", compose=named("Extrapolate", auxiliary="auxiliary", w=1.0)),
    ]
    model = named("FittedGaussian", schedule=named("LinearSchedule"), sampler=named("DDIM", num_steps=50, clip=False))
    made = config(tmp_path / "run", model, stages, 375, 32, 300, 3, named("Replace", keep_real=False))
    made["data"]["init_args"]["origin"]["init_args"]["deviation"] = 0.5
    run = bootlight.run(made)
    n = 300
    for folder in run.generations():
        (_, v), (_, u) = fitted(folder), fitted(folder, "auxiliary")
        # 1024 pixels of n images: five deviations of a variance. Fits have (1 - 1 / n) of it.
        sharp = 5 * (2 / (n * 1024)) ** 0.5
        assert u.mean() == pytest.approx(ddim(v, 50).mean() * (1 - 1 / n), rel=sharp)
        spread = images(folder) - images(folder).mean(0)
        assert (spread**2).mean() == pytest.approx(extrapolated(v, u, 1.0, 50).mean() * (1 - 1 / n), rel=sharp)
    last = (spread**2).mean() / 0.25
    closed = 1.0
    for _ in range(3):
        closed = float(extrapolated(0.25 * closed, ddim(np.array([0.25 * closed]), 50)[0], 1.0, 50)) / 0.25
    # Each of six fits loses 1 / n and adds an error sqrt(2 / (1024 n)), which later fits of this loop at most double; single
    # pixels are off by sqrt(2 / n) = 8 %, of which the mean of v^2 / u keeps 2 / n in each generation.
    assert closed == pytest.approx(1.015, abs=2e-3)
    assert last == pytest.approx(closed, abs=2 * 5 * (6 * 2 / (1024 * n)) ** 0.5 + 12 / n)
    assert 1 - (2 * 5 * (6 * 2 / (1024 * n)) ** 0.5 + 12 / n) > 0.75  # so that a collapse, to 0.64, would be seen


def test_a_curated_probe_moves_the_samples_away_from_what_it_keeps(tmp_path):
    """The brighter half of the probe: each of 64 pixels of it is s sqrt(2 / pi) / 8 brighter, and hardly less spread.

    With equal variances the mean moves to (1 + w) m - w n, here by as much as the curator has moved it, in the other direction.
    """
    brighter = named("ByReward", reward=named("Brightness", target=1e3), share=0.5)
    stages = [
        named("Train"),
        named("Synthesize", into="probe", n=4000),
        named("Curate", of="probe", curator=brighter),
        named("Train", part="auxiliary", settings={"data.mixing": "bootlight.OwnImages"}),
        named("Synthesize", compose=named("Extrapolate", auxiliary="auxiliary", w=1.0)),
    ]
    sampler = named("Heun", num_steps=40, clip=False)
    model = named("FittedGaussian", schedule=named("SigmaSchedule"), sampler=sampler)
    (folder,) = bootlight.run(config(tmp_path / "run", model, stages, 1250, 8, 1000)).generations()
    (m, v), (n, u) = fitted(folder), fitted(folder, "auxiliary")
    shift = math.sqrt(2 / math.pi) / 8 * 0.25
    # Means of 64 pixels of 2,000 and 1,000 images: five deviations of each; 2 % of the variance is that of 40 steps.
    assert (n - m).mean() == pytest.approx(shift, abs=5 * 0.25 / math.sqrt(64 * 2000))
    assert images(folder).mean() == pytest.approx((2 * m - n).mean(), abs=5 * 0.26 / math.sqrt(64 * 1000) + 0.02 * shift)
    assert u.mean() == pytest.approx(v.mean(), rel=0.03) and images(folder).mean() < m.mean() - shift / 2


# Neon


class Table(nn.Module):
    """The best network for N(0, covariance) in the plane: a matrix for each timestep, in which its answer is linear."""

    def __init__(self, covariance, schedule):
        super().__init__()
        self.total = schedule.num_timesteps
        level = schedule.level(torch.arange(self.total, dtype=torch.float64))
        signal, noise = (torch.as_tensor(value).double().reshape(-1, 1, 1) for value in level)
        eye = torch.eye(2, dtype=torch.float64)
        self.mix = nn.Parameter(noise * torch.linalg.inv(signal**2 * covariance + noise**2 * eye))

    def forward(self, x, time, labels=None):
        rows = self.mix[(time * self.total / 1000).round().long()]  # networks see times of a table of 1,000
        return torch.einsum("bij,bj->bi", rows, x.flatten(1))[:, :, None, None]


def drawn_covariance(denoiser):
    """DDIM is linear in its noise: the images of both axes."""
    axes = torch.eye(2, dtype=torch.float64)[:, :, None, None]
    return (m := DDIM(clip=False)(denoiser, axes, None).flatten(1).T) @ m.T


def transport(one, other):
    """Squared Wasserstein distance of two normal laws that share their axes, as all do here."""
    roots = [torch.linalg.eigvalsh(covariance).sqrt() for covariance in (one, other)]
    return (roots[0] - roots[1]).square().sum().item()


@pytest.mark.parametrize(("scale", "sign"), [(1.1, 1), (0.9, -1)])
def test_the_sign_of_the_best_merge_is_that_of_the_sampler_bias(scale, sign):
    """The plane of Neon's toy, covariance [[2, 1], [1, 2]], with exact fits in the place of small networks.

    The base has learned too narrow a law, as from few images. Where its own images were drawn nearer to the modes (a score of
    1.1) the auxiliary is narrower still, and the way leads away from it; where they are more diverse (0.9), towards it.
    """
    wanted = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    schedule = LinearSchedule(50)

    def denoiser(network):
        return NetworkDenoiser(network, Epsilon(), schedule)

    base = Table(0.9 * wanted, schedule)
    auxiliary = Table(drawn_covariance(WithScaledScore(denoiser(base), scale)), schedule)
    found = {}
    for w in np.linspace(-0.5, 0.5, 17).tolist():
        merged = Table(wanted, schedule)
        merged.load_state_dict(extrapolated_weights(base.state_dict(), auxiliary.state_dict(), w))
        found[w] = transport(drawn_covariance(denoiser(merged)), wanted)
    best = min(found, key=found.get)
    assert sign * best > 0 and found[best] < 0.5 * found[0.0]


def test_a_scaled_score_draws_what_its_equation_says():
    """d z / d sigma = c sigma z / (v + sigma^2): z^2 is (v + sigma^2)^c but for a factor."""
    v, top = 0.25, 10.0
    schedule = SigmaSchedule(sigma_max=top)
    for c in (0.5, 0.9, 1.0, 1.2):
        denoiser = ScaledScore(c)(exact(v, schedule))
        found = drawn_variance(denoiser, Heun(num_steps=200, clip=False))
        assert found == pytest.approx(top**2 * (v / (v + top**2)) ** c, rel=2e-3)  # of second order, as above
    for scale in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(BootlightError, match="scale"):
            ScaledScore(scale)


# MAD


def test_the_median_variance_collapses_faster_than_the_mean(tmp_path):
    """n = 4 images a generation, an unbiased sampler: the variance of a pixel is v times a product of chi^2_3 / 4.

    The mean falls as (1 - 1 / n)^t, the median as exp(t E log(chi^2_3 / 4)), nearly: the logarithm is a sum of t numbers.
    """
    n, t = 4, 5
    sampler = named("Ancestral", num_steps=5, clip=False)  # with the known variance: exact at any number of steps
    model = named("FittedGaussian", schedule=named("LinearSchedule"), sampler=sampler)
    made = config(tmp_path / "run", model, None, 5, 64, n, t, named("Replace", keep_real=False))
    made["data"]["init_args"] |= {"batch_size": n, "holdout_fraction": 0.2}
    made["data"]["init_args"]["origin"]["init_args"]["deviation"] = 1.0
    (*_, last) = bootlight.run(made).generations()
    ratio = fitted(last)[1].flatten()
    square = ((n + 1) * (n - 1) / n**2) ** t  # of the product: E (chi^2_(n-1) / n)^2 = (n - 1) (n + 1) / n^2
    mean = (1 - 1 / n) ** t
    assert ratio.mean() == pytest.approx(mean, abs=5 * math.sqrt((square - mean**2) / ratio.size))
    location = t * (digamma((n - 1) / 2) + math.log(2 / n))
    spread = math.sqrt(t * polygamma(1, (n - 1) / 2))
    # The median of so many has an error of 1.25 deviations; a sum of 5 skewed numbers has its median up to skewness / 6 of a
    # deviation above its mean: -polygamma(2, 1.5) / polygamma(1, 1.5)^1.5 / sqrt(5) = 0.41.
    tolerance = 5 * 1.25 * spread / math.sqrt(ratio.size) + 0.41 / 6 * spread
    assert math.log(np.median(ratio)) == pytest.approx(location, abs=tolerance)
    assert np.median(ratio) < mean / 4


@pytest.mark.parametrize("loop", ["augmentation", "fresh"])
def test_real_images_hold_a_biased_loop_at_a_fixed_point(tmp_path, loop):
    """v <- l v_0 + (1 - l) c v with a share l of real images, the same ones or fresh ones: towards l / (1 - (1 - l) c)."""
    c, n_real, drawn, count = 0.7, 300, 300, 4
    mixing = named("FreshReal", num_parts=count) if loop == "fresh" else named("Replace")
    total = n_real * count if loop == "fresh" else n_real
    made = config(tmp_path / "run", named("PixelGaussian", sampling_bias=c), None, total * 5 // 4, 32, drawn, count, mixing)
    found = [fitted(folder)[1].mean() for folder in bootlight.run(made).generations()]
    share = n_real / (n_real + drawn)
    expected = list(itertools.accumulate(range(count - 1), lambda v, _: share + (1 - share) * c * v, initial=1.0))
    # 1024 pixels of 300 images or more, five deviations of a variance in each of at most four fits; fits have 1 - 1 / n of it.
    np.testing.assert_allclose(np.array(found) / 0.25**2, expected, rtol=2 * 5 * (2 / (1024 * 300)) ** 0.5 + 4 / 300)
    assert abs(expected[-1] - share / (1 - (1 - share) * c)) < 0.02 < abs(c**3 - expected[-1])
