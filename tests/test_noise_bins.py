"""The loss of a model at each noise level, and what steps do to each other: closed forms, frozen noise, a run, its picture."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from test_closed_forms import named
from test_denoising_loss import VARIANCE, data, run_config
from tiny_runs import write_plain_pages
from torch import nn

import bootlight
from bootlight.diffusion.prediction import X0, Epsilon, LearnedVariance
from bootlight.diffusion.schedules import LinearSchedule
from bootlight.errors import BootlightError
from bootlight.evaluation import noise_bins as module
from bootlight.evaluation.noise_bins import noise_bins
from bootlight.generators.diffusion import Diffusion
from bootlight.loggers.wandb_generation import closing_values
from bootlight.report.noise_levels import noise_bins_png, noise_levels, read_noise_bins
from bootlight.runs.folder import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
BINS = 5


class Factor(nn.Module):
    """Answers a number times what it sees, another number for each fifth of the timesteps."""

    def __init__(self, sizes, values=(0.5,) * BINS):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))
        self.outputs = sizes.outputs

    def forward(self, x, time, labels=None):
        return self.values[(time / 1000 * BINS).long()].view(-1, 1, 1, 1) * x


class Shared(Factor):
    """The same, with one number for all."""

    def __init__(self, sizes, values=(0.5,)):
        super().__init__(sizes, values)

    def forward(self, x, time, labels=None):
        return self.values * x


def model(network, prediction=None, objective=None):
    made = Diffusion([4, 4], network, 1, LinearSchedule(), prediction or Epsilon(), objective, ema_decay=None)
    return made.eval()


def moments(v=VARIANCE):
    """E x_t^2 = V, and E e x_t = n, at each timestep, for data N(0, v)."""
    abar = LinearSchedule().alphas_cumprod
    return (abar * v + 1 - abar).numpy(), (1 - abar).sqrt().numpy()


def per_bin(values):
    return values.reshape(BINS, -1).mean(1)


@pytest.fixture(scope="module")
def held():
    return data(20_000)


def test_losses_and_gradients_are_their_closed_forms(held, monkeypatch):
    monkeypatch.setattr(module, "IMAGES", 4000)
    values = [0.3, 0.9, 0.7, 0.95, 1.0]
    found = noise_bins(model(partial(Factor, values=values)), held, held.holdout, BINS, batch_size=1000)
    variance, noise = moments()
    w = np.repeat(values, 1000 // BINS)
    loss = w**2 * variance - 2 * w * noise + 1
    # 64,000 squares for each bin, with a deviation of about their mean or what t adds: an error of 1.5 %, of which five.
    np.testing.assert_allclose(found.loss, per_bin(loss), rtol=0.03)
    gradient = np.abs(per_bin(2 * w * variance - 2 * noise))
    np.testing.assert_allclose(found.gradient_norm, gradient, atol=0.02)
    abar = LinearSchedule().alphas_cumprod.numpy()
    np.testing.assert_allclose(found.x0_error, per_bin(loss * (1 - abar) / abar), rtol=0.05)  # SNR varies within a bin
    assert found.n == 4000 and found.sigma == sorted(found.sigma) and len(found.sigma) == BINS
    # Per image: 16 numbers of a chi-squared law, and the levels of the bin.
    spread = np.array(
        [loss[k * 200 : (k + 1) * 200].var() + 2 / 16 * (loss[k * 200 : (k + 1) * 200] ** 2).mean() for k in range(BINS)]
    )
    np.testing.assert_allclose(
        found.variance, spread, rtol=0.15
    )  # of 4,000 squares, five errors of sqrt(2 / 4000) times kurtosis


def test_a_step_changes_its_own_bin_where_nothing_is_shared(held):
    values = [0.3, 0.2, 0.7, 1.5, 1.2]
    found = noise_bins(model(partial(Factor, values=values)), held, held.holdout, BINS)
    change = np.array(found.interference)
    assert (change[~np.eye(BINS, dtype=bool)] == 0).all() and (np.diag(change) < 0).all()
    # L(w - step sign(g)) - L(w) = -step |g| + step^2 V: to first order the length of the step times the norm of the gradient.
    assert found.step == pytest.approx(1e-4 * np.linalg.norm(values), rel=1e-6)
    first = -found.step * np.array(found.gradient_norm) / np.array(found.loss)
    np.testing.assert_allclose(np.diag(change), first, rtol=5e-3)  # float32 losses of order 1: 1e-7 of a change of 1e-4


def test_steps_of_shared_weights_help_or_harm_by_the_signs_of_gradients(held):
    """Levels in the middle ask for a larger factor than those at the ends: a step on one undoes the other's."""
    found = noise_bins(model(partial(Shared, values=(1.05,))), held, held.holdout, BINS)
    variance, noise = moments()
    signs = np.sign(per_bin(2 * 1.05 * variance - 2 * noise))
    assert set(signs) == {-1.0, 1.0}
    change = np.array(found.interference)
    np.testing.assert_array_equal(np.sign(change), -np.outer(signs, signs))
    first = -found.step * np.outer(signs * found.gradient_norm, signs) / np.array(found.loss)[:, None]
    np.testing.assert_allclose(change, first, rtol=2e-2, atol=2e-6)


def test_it_is_the_same_each_time_and_leaves_the_model_alone(held):
    net = model(partial(bootlight.MLP, width=8, depth=1), LearnedVariance(X0()), bootlight.Hybrid())
    net.network.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = [noise_bins(net, held, held.holdout, 3, batch_size=size) for size in (100, 100, 17)]
    assert found[0] == found[1] and all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(weight.requires_grad or weight.grad is not None for weight in net.network.parameters())
    np.testing.assert_allclose(found[2].loss, found[0].loss, rtol=1e-5)  # other batches, float32
    np.testing.assert_allclose(found[2].gradient_norm, found[0].gradient_norm, rtol=1e-4)


NETWORK = {"class_path": "bootlight.MLP", "init_args": {"width": 8, "depth": 1}}


def test_a_run_has_them_in_its_folder_and_on_its_page(tmp_path, monkeypatch):
    write_plain_pages(monkeypatch)
    diffusion = named(
        "Diffusion", network=NETWORK, schedule=named("LinearSchedule"), sampler=named("DDIM", num_steps=3, clip=False)
    )
    made = run_config(tmp_path, diffusion, noise_bins=4)
    run = bootlight.run(made)
    file = run.path / "gen_000/noise_bins.json"
    bins = read_noise_bins(file)
    assert len(bins["sigma"]) == len(bins["interference"]) == 4 and bins["n"] == 64
    page = noise_levels(RunFolder(run.path))
    assert page.count("<svg") == 4 and "generation 0" in page
    assert noise_bins_png(bins).startswith(b"\x89PNG")
    found = json.loads((run.path / "gen_000/metrics.json").read_text())
    assert "failed" not in found
    assert closing_values(RunFolder(run.path).generations()[0], 0)["generation/noise_bins"].image.size[0] > 800
    for broken in ({"format": 2}, bins | {"loss": [1.0]}, bins | {"loss": [math.nan] * 4}):
        file.write_text(json.dumps(broken))
        assert read_noise_bins(file) is None and noise_levels(RunFolder(run.path)) == ""


def test_a_model_without_levels_is_refused_before_training(tmp_path):
    for model in (named("PixelGaussian"), named("FittedGaussian", sampler=named("DDIM", num_steps=5, clip=False))):
        with pytest.raises(BootlightError, match="noise_bins"):
            bootlight.run(run_config(tmp_path, model, noise_bins=2))
    assert not (tmp_path / "run/gen_000").exists()
