"""Curators that choose by chance, by a limit, or once: the laws of what they keep."""

import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from test_closed_forms import named
from test_curation import GREY, Pictures
from tiny_runs import options, write_plain_pages

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.realism import JudgeLogit, Realism
from bootlight.metrics.reward import Brightness, ConstantReward, Reward
from bootlight.runs.curation import Row, read_curation
from bootlight.runs.folder import RunFolder
from bootlight.synthesis.curator import Threshold
from bootlight.synthesis.distinct import Distinct
from bootlight.synthesis.rejection import KChoice, RejectionSampling, acceptance, winners

CPU = torch.device("cpu")
DRAWN, WANTED = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])  # laws of a number from 0 to 3


class LogRatio(Reward):
    """Of the laws above, of images that are such a number."""

    def forward(self, images, labels=None):
        return torch.from_numpy(np.log(WANTED / DRAWN))[images.flatten().long()] + 17.0  # a constant does not count


class Number(Reward):
    """An image of one number likes itself near 1."""

    def forward(self, images, labels=None):
        return -((images.flatten().double() - 1) ** 2) / 2


def generation(real=None, judge=None, features=None, seed=5):
    context = SimpleNamespace(seed=seed)
    images = None if real is None else Pictures(real)
    return SimpleNamespace(context=context, number=2, device=CPU, real=images, judge=judge, features=features)


def said(curator, images, **about):
    rows = [Row(f"{i}.png") for i in range(len(images))]
    return curator.rows(rows, Pictures(images), generation(**about))


def kept(curator, images, **about):
    return [i for i, row in enumerate(said(curator, images, **about)) if row.keep]


# Rejection


def test_acceptance_by_the_logarithm_of_the_ratio_gives_the_wanted_law():
    chances = acceptance(np.log(WANTED / DRAWN) - 3.0)
    assert chances.max() == 1
    np.testing.assert_allclose(DRAWN * chances / (DRAWN * chances).sum(), WANTED, rtol=1e-14)
    assert (DRAWN * chances).sum() == pytest.approx(1 / (WANTED / DRAWN).max(), rel=1e-14)  # of all images


def test_what_is_kept_has_the_wanted_law_and_is_kept_again():
    count = 40_000
    values = np.random.default_rng(0).choice(4, count, p=DRAWN)
    images = torch.from_numpy(values).float().reshape(-1, 1, 1, 1)
    stayed = kept(RejectionSampling(LogRatio()), images)
    # A quarter of the images stays, and a share p of them is p within sqrt(p (1 - p) / kept); five of each.
    assert len(stayed) == pytest.approx(count / 4, abs=5 * math.sqrt(count * 3 / 16))
    shares = np.bincount(values[stayed], minlength=4) / len(stayed)
    assert (np.abs(shares - WANTED) < 5 * np.sqrt(WANTED * (1 - WANTED) / len(stayed))).all()
    assert stayed == kept(RejectionSampling(LogRatio()), images) != kept(RejectionSampling(LogRatio()), images, seed=6)


def test_a_shift_keeps_a_half_of_what_lies_at_the_percentile():
    logits = np.random.default_rng(1).normal(size=1001)
    for percentile in (50.0, 80.0):
        chances = acceptance(logits, percentile)
        assert np.mean(chances < 0.5 - 1e-9) == pytest.approx(percentile / 100, abs=1e-3)  # one image in a thousand
        assert (np.diff(chances[logits.argsort()]) >= 0).all()
    # Equation 8 by hand for one image; its epsilon is below rounding here.
    below = logits - logits.max()
    with np.errstate(divide="ignore"):  # of the best one
        f = below - np.log1p(-np.exp(below))
    i = 7
    gamma = np.percentile(np.append(f[np.isfinite(f)], np.inf), 80)
    assert acceptance(logits, 80.0)[i] == pytest.approx(1 / (1 + math.exp(gamma - f[i])), rel=1e-9)
    assert kept(RejectionSampling(ConstantReward(), percentile=100.0), GREY)  # somebody stays


# Choice among k


@pytest.mark.parametrize("k", [2, 3])
def test_winners_have_the_law_of_luce(k):
    """p'(x) = p(x) E[k e^r(x) / (e^r(x) + sum over k - 1 rivals of e^r)], by all groups and a fine grid of chances."""
    rewards, grid = np.array([0.0, 1.0, -0.5, 2.0]), (np.arange(400) + 0.5) / 400
    law = np.zeros(4)
    for group in itertools.product(range(4), repeat=k):
        weight = DRAWN[list(group)].prod() / len(grid)
        for position in winners(np.tile(rewards[list(group)], len(grid)), k, grid):
            law[group[position % k]] += weight
    wanted = np.zeros(4)
    for group in itertools.product(range(4), repeat=k):
        odds = np.exp(rewards[list(group)])
        wanted[group[0]] += DRAWN[list(group)].prod() * k * odds[0] / odds.sum()
    np.testing.assert_allclose(law, wanted, atol=1 / 400)  # of each group's shares, that of the grid
    assert wanted.sum() == pytest.approx(1)


def test_one_round_of_choices_moves_a_normal_law_as_ferbach_et_al_say():
    """N(0, 1) and r = -(x - 1)^2 / 2: the mean after one round with two rivals, by quadrature 0.307."""
    count = 40_000
    images = torch.from_numpy(np.random.default_rng(3).normal(size=count)).float().reshape(-1, 1, 1, 1)
    stayed = kept(KChoice(Number(), k=2), images)
    x = np.linspace(-8, 8, 801)
    odds = np.exp(-((x - 1) ** 2) / 2)
    law = norm.pdf(x) * (2 * odds[:, None] / (odds[:, None] + odds) @ norm.pdf(x)) * (x[1] - x[0]) ** 2
    mean = (x * law).sum()
    assert (law.sum(), mean) == pytest.approx((1, 0.307), abs=5e-4)
    # Half of the images stay, a variance of 0.67: five deviations of a mean.
    assert images.flatten()[stayed].mean().item() == pytest.approx(mean, abs=5 * math.sqrt(0.67 / (count / 2)))
    assert len(stayed) == count / 2 and [i // 2 for i in stayed] == list(range(count // 2))


def test_few_rivals_and_cold_choices():
    assert kept(KChoice(Brightness(), k=1), GREY) == [0, 1, 2, 3, 4]
    assert kept(KChoice(Brightness(), k=2, temperature=1e-3), GREY) == [1, 3, 4]  # 10 200, 100 250, 100
    assert kept(KChoice(Brightness(), k=99, temperature=1e-3), GREY) == [3]
    for wrong in ({"k": 0}, {"temperature": 0.0}, {"temperature": math.nan}):
        with pytest.raises(BootlightError):
            KChoice(Brightness(), **wrong)


def test_a_limit():
    assert kept(Threshold(Brightness(100.0), least=-90.0), GREY) == [0, 2, 4]  # 90, 100, 0, 150, 0 away
    assert kept(Threshold(Brightness(100.0), least=-math.inf), GREY) == [0, 1, 2, 3, 4]
    for least in (math.nan, math.inf):
        with pytest.raises(BootlightError, match="least"):
            Threshold(ConstantReward(), least)


# Once


def pattern(seed, size=16):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, size, size), dtype=np.uint8))


def test_the_first_of_images_that_hardly_differ_stays():
    one, other = pattern(1), pattern(2)
    lighter = (one.float() * 0.9 + 12).to(torch.uint8)  # brightness does not count, contrast a little
    images = torch.stack([one, other, one, one.flip(2), lighter, pattern(3)])
    assert kept(Distinct(real=False), images) == [0, 1, 5]
    assert kept(Distinct(real=False, limit=0.0), images) == [0, 1, 3, 4, 5]  # equal pixels alone
    assert [row.why for row in said(Distinct(real=False), images)] == ["", "", "like 0.png", "like 0.png", "like 0.png", ""]
    near = said(Distinct(), images, real=torch.stack([pattern(9), other.flip(2)]))
    assert [row.keep for row in near] == [True, False, False, False, False, True] and near[1].why == "like a real image"
    # A group whose first image is a copy of a real one: the others are copies too.
    assert kept(Distinct(), images, real=one[None]) == [1, 5]


def test_numbers_are_the_same_where_they_are_equal():
    points = torch.tensor([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2001]]).reshape(3, 2, 1, 1)
    assert kept(Distinct(real=False), points) == [0, 2]
    assert kept(Distinct(), points, real=points[2:]) == [0]


# By the networks of a run


def test_the_logit_of_the_judge_is_the_reward():
    judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1, bias=False))
    torch.nn.init.constant_(judge[1].weight, 0.25)
    curator = Threshold(JudgeLogit(), least=0.0)
    assert curator.judges_by == ("judge",)
    rows = said(curator, GREY, judge=judge)
    assert [float(row.why.split()[1]) for row in rows] == pytest.approx(
        [v / 127.5 - 1 for v in (10, 200, 100, 250, 100)], abs=1e-5
    )
    with pytest.raises(BootlightError, match="judge_steps"):
        said(curator, GREY)


def test_realism_is_that_of_its_definition():
    rng = np.random.default_rng(4)
    real, images = (torch.from_numpy(rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8)) for n in (30, 7))
    images[6] = real[0]
    network = PixelFeatures(size=4, channels=1)
    rows = said(Threshold(Realism(k=2), least=-math.inf), images, real=real, features=network)
    found = [float(row.why.split()[1]) for row in rows]
    a, b = (network(x).double().numpy().reshape(len(x), -1) for x in (real, images))
    among = np.sort(np.linalg.norm(a[:, None] - a, axis=2), axis=1)[:, 2]  # the second neighbor: the first is itself
    half = among <= np.sort(among)[14]  # 15 of 30, the nearer ones
    to = np.linalg.norm(b[:, None] - a, axis=2)
    wanted = (among[half] / np.maximum(to[:, half], 1e-6)).max(1)
    assert found == pytest.approx(wanted, rel=1e-4)  # squares by a matrix product, of float32 features
    with pytest.raises(BootlightError, match="features"):
        said(Threshold(Realism(), least=0.0), images, real=real)


CURATED = [named("Train"), named("Synthesize"), named("Curate", curator=named("RejectionSampling"))]
JUDGED = {"evaluation.judge_steps": 2, "evaluation.judge_width": 4, "evaluation.judge_batch_size": 4}


@pytest.mark.filterwarnings("ignore")
def test_a_run_curates_by_its_judge(bootlight, pictures, tmp_path, monkeypatch):
    write_plain_pages(monkeypatch)
    run = RunFolder(tmp_path / "run")
    settings = {"bootstrap.num_synthetic": 8, **JUDGED}
    listed = f"--bootstrap.stages={json.dumps(CURATED)}"
    with pytest.raises(BootlightError, match=r"RejectionSampling needs the judge, and evaluation\.judge_steps is 0"):
        bootlight("fit", "--model=bootlight.PixelGaussian", *options(pictures, run.path), listed)
    assert not run.generation(0).is_trained
    bootlight("fit", "--model=bootlight.PixelGaussian", *options(pictures, run.path, **settings), listed)
    rows = list(read_curation(run.generation(0)).values())
    assert len(rows) == 8 and any(row.keep for row in rows)
    assert {row.why.split()[0] for row in rows} == {"accepted"} and any(row.why == "accepted with 1" for row in rows)
    assert read_json(run.generation(0).path / "samples_curation.json")["kept"] == sum(row.keep for row in rows)
