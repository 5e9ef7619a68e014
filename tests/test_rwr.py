"""Reward-weighted regression in closed form, through `bootlight fit`: nothing but the loop with a curator."""

import numpy as np
import pytest
from test_closed_forms import config, fitted, named
from tiny_runs import write_plain_pages

import bootlight
from bootlight.metrics.reward import Reward

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
SLOPE, BETA, ROUNDS, DRAWN, EDGE, DEVIATION = 1.5, 6.0, 3, 2000, 4, 0.25


class Slope(Reward):
    """The reward of an image is c times the sum of its pixels."""

    def forward(self, images, labels=None):
        return SLOPE * images.double().sum((1, 2, 3))


@pytest.mark.parametrize("shuffled", [False, True])
def test_each_round_moves_the_mean_by_v_c_over_beta_and_leaves_the_variance(tmp_path, monkeypatch, shuffled):
    """N(mu, v) weighted by exp(c x / beta) is N(mu + v c / beta, v), pixel by pixel; k rounds move the mean k times as far."""
    write_plain_pages(monkeypatch)
    reward = {"class_path": "test_rwr.Slope"}
    curator = named("ByReward", reward=reward, share=1.0, beta=BETA, shuffle_rewards=shuffled)
    stages = [named("Train"), named("Synthesize"), named("Curate", curator=curator)]
    model = named("FittedGaussian", sampler=named("Ancestral", num_steps=5, clip=False))
    mixing = named("Replace", keep_real=False)
    run = bootlight.run(config(tmp_path / "run", model, stages, DRAWN * 5 // 4, EDGE, DRAWN, ROUNDS + 1, mixing))
    fits = [fitted(folder) for folder in run.generations()]
    v, step = DEVIATION**2, 0.0 if shuffled else DEVIATION**2 * SLOPE / BETA
    # Weights are log-normal: of 16 pixels E w^2 / (E w)^2 = exp(16 v c^2 / beta^2) = 1.064, so that n = 2000 images count as
    # 1,879. A mean over 16 pixels has the error sqrt(v / (16 n)) = 1.4e-3 in each round and in the first fit: five of them.
    error = 5 * (v / (EDGE**2 * DRAWN / 1.07)) ** 0.5
    for k, (mean, variance) in enumerate(fits):
        assert mean.mean() == pytest.approx(k * step, abs=error * (k + 1) ** 0.5)
        # sqrt(2 / (16 n)) of a variance in each fit; a fit of n images loses 1 / n.
        assert variance.mean() == pytest.approx(v, rel=5 * ((k + 1) * 2 * 1.07 / (EDGE**2 * DRAWN)) ** 0.5 + (k + 1) / DRAWN)
    if not shuffled:
        assert ROUNDS * step > 4 * error  # so that it would be seen to stand still
    assert np.isfinite(fits[-1][0]).all()
