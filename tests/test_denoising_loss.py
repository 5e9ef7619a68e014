"""How well a model denoises: against its closed form, by names of images alone, and through a run."""

import json
import math

import numpy as np
import pytest
import torch
from test_closed_forms import config, named
from tiny_runs import write_plain_pages

import bootlight
from bootlight.diffusion.exact import GaussianDenoiser
from bootlight.diffusion.schedules import LinearSchedule
from bootlight.distributed.stopping import Stopped
from bootlight.errors import BootlightError
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.denoising_loss import denoising_loss

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
VARIANCE, LEVELS = 0.25, 8


def data(count=4000):
    found = bootlight.BootstrapData(
        origin=bootlight.GaussianImages(4, count=count, deviation=VARIANCE**0.5, rounded=False),
        holdout_fraction=0.5,
        num_epochs=1,
    )
    found.setup()
    return found


def exact(variance):
    return GaussianDenoiser(torch.zeros(1, 4, 4), torch.full((1, 4, 4), variance), LinearSchedule())


def closed_form(asked, true):
    """Of N(0, asked) on data N(0, true): e_hat = n x_t / (s^2 asked + n^2), at the middles of the parts of the table."""
    abar = LinearSchedule().alphas_cumprod[[int((k + 0.5) / LEVELS * 1000) for k in range(LEVELS)]].numpy()
    noise, factor = np.sqrt(1 - abar), np.sqrt(1 - abar) / (abar * asked + 1 - abar)
    return ((factor * noise - 1) ** 2 + factor**2 * abar * true).mean()


@pytest.mark.parametrize("variance", [VARIANCE, 1.0, 0.01])
def test_the_loss_of_an_exact_denoiser_is_its_closed_form(variance):
    held = data()
    score = denoising_loss(exact(variance), held, held.holdout, LEVELS)
    # 2,000 images of 16 numbers, at 8 levels: the error over images is stated, and five of them are seldom passed.
    assert score.value == pytest.approx(closed_form(variance, VARIANCE), abs=5 * score.standard_error)
    assert 0 < score.standard_error < 0.02 * score.value and score.n == 2000 and score.higher_is_better is False


def test_noise_belongs_to_names_so_that_differences_are_sure():
    held = data(400)
    first = denoising_loss(exact(VARIANCE), held, held.holdout, LEVELS, batch_size=7)
    again = denoising_loss(exact(VARIANCE), held, held.holdout, LEVELS, batch_size=100)
    assert first.value == pytest.approx(again.value, rel=1e-6)  # sums of float32 numbers, in other batches
    train = denoising_loss(exact(VARIANCE), held, held.real, LEVELS)
    assert train.value != pytest.approx(first.value, rel=1e-4)  # other images, other noise
    # The difference of two models on the same images and noise is surer than the error of each loss says.
    seen = [denoising_loss(exact(v), held, held.holdout, LEVELS).value for v in (VARIANCE, 1.1 * VARIANCE)]
    wanted = closed_form(1.1 * VARIANCE, VARIANCE) - closed_form(VARIANCE, VARIANCE)
    assert abs(seen[1] - seen[0] - wanted) < 0.2 * first.standard_error


def test_a_request_to_stop_is_no_failure():
    """It ends the measuring, which begins anew with the next start; noted as a failure, the score would be missing for good."""
    failed = {}

    def check():
        raise Stopped

    with pytest.raises(Stopped), attempt("denoising-loss", failed):
        held = data(40)
        denoising_loss(exact(VARIANCE), held, held.holdout, LEVELS, check=check)
    assert failed == {}


def run_config(tmp_path, model, **evaluation):
    made = config(tmp_path / "run", model, [named("Train"), named("Synthesize"), named("Evaluate")], 300, 50, 20)
    made["data"]["init_args"]["holdout_fraction"] = 0.5
    made["evaluation"] |= evaluation
    return made


def test_a_run_has_the_loss_of_what_drew_each_folder(tmp_path, monkeypatch):
    write_plain_pages(monkeypatch)
    model = named("FittedGaussian", schedule=named("LinearSchedule"), sampler=named("DDIM", num_steps=5, clip=False))
    made = run_config(tmp_path, model, denoising_levels=LEVELS)
    made["bootstrap"]["stages"] = [
        named("Train"),
        named("Synthesize"),
        named("Synthesize", into="strong", compose=named("ScaledScore", scale=1.5)),
        named("Evaluate", of=["samples", "strong"]),
    ]
    run = bootlight.run(made)
    found = json.loads((run.path / "gen_000/metrics.json").read_text())
    plain, strong = found["scores"], found["folders"]["strong"]["scores"]
    names = {"denoising-loss/holdout", "denoising-loss/train"}
    assert names <= plain.keys() and names <= strong.keys()
    assert all(math.isfinite(plain[name]["value"]) for name in names)
    # Half as much again of the noise is foretold: a fit to the truth loses by it, by far more than the error of either.
    assert strong["denoising-loss/holdout"]["value"] > plain["denoising-loss/holdout"]["value"] + 0.1


def test_a_model_that_does_not_denoise_is_refused_before_training(tmp_path):
    with pytest.raises(BootlightError, match="denoising_levels"):
        bootlight.run(run_config(tmp_path, named("PixelGaussian"), denoising_levels=2))
    assert not (tmp_path / "run/gen_000").exists()
