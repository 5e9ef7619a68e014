"""Which levels a step sees, what they weigh, what is trained on: identities, closed forms, limit cases."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from oracle import Answer, Says, fit, random_batch, tiny_ddpm

from bootlight.batch import Batch
from bootlight.diffusion.compose import Alone, Extrapolate
from bootlight.diffusion.denoiser import NetworkDenoiser
from bootlight.diffusion.edm import EDM
from bootlight.diffusion.grid import Level
from bootlight.diffusion.objective import DSM, Hybrid
from bootlight.diffusion.prediction import X0, Epsilon, Estimate, LearnedVariance, V
from bootlight.diffusion.sampler import DDIM
from bootlight.diffusion.schedules import CosineSchedule, LinearSchedule, SigmaSchedule
from bootlight.diffusion.timesteps import LogNormal, TimestepSampler, UniformTimesteps
from bootlight.diffusion.weighting import P2, EDMWeighting, MinSNR, Simple
from bootlight.errors import BootlightError
from bootlight.generators.diffusion import Diffusion
from bootlight.generators.fitted import FittedGaussian
from bootlight.networks.mlp import MLP

LINEAR, SIGMAS = LinearSchedule(100), SigmaSchedule()
EVERY = (torch.arange(2000) + 0.5) / 2000  # as uniform as numbers can be
LEVELS = Level(torch.tensor([0.999, 0.8, 0.1]).view(-1, 1, 1, 1), torch.tensor([0.04, 0.6, 0.99]).view(-1, 1, 1, 1))


def drawn(sampler, schedule, u=EVERY):
    sampler.setup(schedule)
    return sampler.draw(u, torch.arange(len(u)))


def test_uniform_timesteps_are_each_as_often():
    t, weight = drawn(UniformTimesteps(), LINEAR)
    assert weight is None and torch.bincount(t).tolist() == [20] * 100
    t, weight = drawn(UniformTimesteps(), SIGMAS)
    # Even in log sigma, from 0.002 to 80: the median is the geometric mean.
    assert weight is None and math.sqrt(t[999] * t[1000]) == pytest.approx(math.sqrt(0.002 * 80), rel=1e-5)
    np.testing.assert_allclose(t.double().log().diff(), math.log(80 / 0.002) / 2000, rtol=0.01)  # float32, 6e-8 of 1e-2


def test_images_of_a_part_of_a_step_get_what_they_get_in_the_whole():
    for sampler, schedule in ((UniformTimesteps(), LINEAR), (LogNormal(), LINEAR), (LogNormal(), SIGMAS)):
        sampler.setup(schedule)
        whole, _ = sampler.draw(EVERY, torch.arange(2000))
        part, _ = sampler.draw(EVERY, torch.tensor([3, 1999, 700]))
        assert torch.equal(part, whole[[3, 1999, 700]])


def test_log_normal_levels_have_its_quantiles():
    t, weight = drawn(LogNormal(-1.2, 1.2), SIGMAS)
    assert weight is None
    for share, deviations in ((0.5, 0), (0.8413447, 1), (0.0227501, -2)):
        # The number at that share of 2000: its own u is off by 2.5e-4, of a density of 0.054 or more.
        assert t[int(share * 2000)].log().item() == pytest.approx(-1.2 + 1.2 * deviations, abs=0.012)
    # On a table the same levels, between its entries; what lies beyond them becomes the nearest.
    table, _ = drawn(LogNormal(-1.2, 1.2), LINEAR)
    level = LINEAR.level(table.double())
    low, high = LINEAR.sigmas()
    np.testing.assert_allclose((level.noise / level.signal).flatten(), t.clamp(low, high), rtol=1e-5)  # t in float32
    extreme, _ = drawn(LogNormal(0.0, 10.0), SIGMAS, torch.tensor([0.0, 1 - 2.0**-24]))
    assert extreme.tolist() == pytest.approx([0.002, 80])
    for wrong in ((math.nan, 1.0), (0.0, 0.0), (0.0, -1.0)):
        with pytest.raises(BootlightError, match="deviation"):
            LogNormal(*wrong)


class Weighed(TimestepSampler):
    """Half of the images at t = 10, where they count three times, the others at 90."""

    def draw(self, u, position):
        first = position % 2 == 0
        return torch.where(first, 10, 90), torch.where(first, 3.0, 1.0)


def test_weights_of_noise_levels_reach_the_loss_before_those_of_images():
    module, plain = (tiny_ddpm(learned_variance=False) for _ in range(2))
    module.timesteps = Weighed()
    batch = random_batch(4)
    losses, parts, weight = module.losses(batch)
    torch.testing.assert_close(losses * weight, parts["mse"] * torch.tensor([3.0, 1.0, 3.0, 1.0]), rtol=0, atol=0)
    logged = {}
    module.log = lambda name, value, **_: logged.update({name: value.item()})
    module.training_step(batch, 0)
    wanted = (parts["mse"] * torch.tensor([3.0, 1.0, 3.0, 1.0])).mean().item()
    assert logged["train/mse"] == pytest.approx(wanted, rel=1e-6) == pytest.approx(logged["train/loss"], rel=1e-6)
    given, _, weight = plain.losses(batch._replace(t=torch.tensor([10, 90, 10, 90])))  # where the images came with their levels
    assert weight is None
    torch.testing.assert_close(given, parts["mse"], rtol=0, atol=0)


class Shifted(Epsilon):
    """An error that is least where a number of the prediction's own is 3."""

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(()))

    def error(self, output, x0, noise, level, weight=None):
        return super().error(output, x0, noise, level, weight) + (self.shift - 3) ** 2


def test_what_a_prediction_has_to_learn_is_learned_and_published():
    module = tiny_ddpm(prediction=Shifted(), learned_variance=False, learning_rate=0.1)
    fit(module, [random_batch(seed=seed) for seed in range(3)])
    # Three steps of AdamW, each of the learning rate where the gradient keeps its sign.
    assert module.published_state()["prediction.shift"].item() == pytest.approx(0.3, rel=0.05)


class At(TimestepSampler):
    """Times that are always the same."""

    def __init__(self, t):
        super().__init__()
        self.t = torch.tensor(t)

    def draw(self, u, position):
        return self.t[position], None


def test_images_are_trained_at_the_noise_levels_that_they_may_be_trained_at():
    module, batch = tiny_ddpm(learned_variance=False), random_batch(4)
    module.timesteps = At([10, 50, 50, 90])
    sigma = [float(LINEAR.grid().sigma(99 - t)) for t in (10, 50, 90)]
    free, _, weight = module.losses(batch)
    assert weight is None
    ranges = torch.tensor([[0, sigma[0] - 0.01], [0, math.inf], [sigma[1] - 0.01, sigma[1] + 0.01], [sigma[2] + 0.1, math.inf]])
    losses, _, weight = module.losses(batch._replace(noise=ranges))
    held = losses * weight
    assert torch.equal(held, free * torch.tensor([0.0, 1.0, 1.0, 0.0])) and (free > 0).all()
    with pytest.raises(BootlightError, match="noise levels"):
        FittedGaussian(8, 1).on_train_batch_start(batch._replace(noise=ranges), 0)
    module.on_train_batch_start(batch._replace(noise=ranges), 0)


class Doubled(UniformTimesteps):
    def draw(self, u, position):
        t, _ = super().draw(u, position)
        return t.double(), torch.ones(len(t), dtype=torch.float64)


def test_times_in_float64_train_a_network_of_float32():
    losses = []
    for timesteps in (UniformTimesteps(), Doubled()):
        torch.manual_seed(0)
        module = Diffusion(
            [4, 4], partial(MLP, width=8, depth=1), 1, SigmaSchedule(), EDM(), timesteps=timesteps, sampler=DDIM(2)
        )
        found, _, weight = module.losses(Batch(torch.ones(4, 1, 4, 4), None, 0, 0, 4))
        losses.append(found if weight is None else found * weight)
    assert torch.equal(losses[0].double(), losses[1].double())  # times that float32 holds, and weights of 1


def test_what_a_network_is_told_of_a_time():
    assert LINEAR.seen(torch.tensor([0, 7, 99])).tolist() == [0, 70, 990]  # t * 1000 / T
    np.testing.assert_allclose(SIGMAS.seen(torch.tensor([1.0, math.e, 0.002])), [0, 250, 250 * math.log(0.002)], rtol=1e-6)


def test_weights_by_hand_and_at_their_limits():
    ratio = np.array([0.999 / 0.04, 0.8 / 0.6, 0.1 / 0.99]) ** 2
    for weighting, expected in (
        (Simple(), ratio),
        (MinSNR(5.0), np.minimum(ratio, 5)),
        (MinSNR(math.inf), ratio),
        (P2(2.0, 0.5), ratio / np.sqrt(2 + ratio)),
        (P2(1.0, 0.0), ratio),
        (EDMWeighting(0.5), (1 / ratio + 0.25) / (1 / ratio * 0.25)),  # (sigma^2 + d^2) / (sigma d)^2
    ):
        assert weighting(LEVELS).shape == (3, 1, 1, 1)
        np.testing.assert_allclose(weighting(LEVELS).flatten(), expected, rtol=1e-6)
    for build in (lambda: MinSNR(0.0), lambda: P2(0.0), lambda: P2(1.0, -1.0), lambda: EDMWeighting(math.nan)):
        with pytest.raises(ValueError, match=r"it must|they must"):
            build()


@pytest.mark.parametrize("prediction", [Epsilon(), V(), X0(), EDM(0.7)], ids=lambda p: type(p).__name__)
def test_an_error_with_a_weight_is_that_of_the_image_whatever_is_predicted(prediction):
    x0, noise, answer = torch.randn(3, 3, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    level = Level(*(value.double() for value in LEVELS))
    level = Level((1 - level.noise**2).sqrt(), level.noise)
    x_t = level.signal * x0 + level.noise * noise
    image = (prediction.x0(answer, x_t, level) - x0).square().flatten(1).mean(1)
    weight = torch.tensor([2.0, 0.5, 3.0], dtype=torch.float64).view(-1, 1, 1, 1)
    # float64, divided by a noise of 0.04 and squared.
    torch.testing.assert_close(prediction.error(answer, x0, noise, level, weight), weight.flatten() * image, rtol=1e-11, atol=0)
    own = (prediction.target(x0, noise, level) - answer).square().flatten(1).mean(1)
    torch.testing.assert_close(prediction.error(answer, x0, noise, level), own, rtol=0, atol=0)
    right = prediction.target(x0, noise, level)
    torch.testing.assert_close(prediction.x0(right, x_t, level), x0, rtol=0, atol=1e-12)
    assert prediction.num_outputs(2) == 2 and LearnedVariance(prediction).num_outputs(2) == 4


def test_edm_inputs_and_targets_have_unit_variance():
    """Karras et al. 2022, section 5: for data N(0, d^2) both have variance 1 at every level; c_noise is log(sigma) / 4."""
    d, prediction = 0.7, EDM(0.7)
    for schedule, t in ((SIGMAS, torch.tensor([0.01, 1.0, 50.0])), (CosineSchedule(100), torch.tensor([3, 50, 98]))):
        level = schedule.level(t)
        sigma, one, zero = level.noise / level.signal, torch.ones(3, 1, 1, 1), torch.zeros(3, 1, 1, 1)
        of_image, time = prediction.inputs(level.signal * one, level, schedule.seen(t))
        of_noise, _ = prediction.inputs(level.noise * one, level, schedule.seen(t))
        np.testing.assert_allclose((d * of_image) ** 2 + of_noise**2, 1, rtol=1e-5)
        image, noise = prediction.target(one, zero, level), prediction.target(zero, one, level)
        np.testing.assert_allclose((d * image) ** 2 + noise**2, 1, rtol=1e-4)  # differences of numbers near 1 over 0.01
        np.testing.assert_allclose(time, 1000 * sigma.flatten().log() / 4, rtol=1e-5)


def test_the_plain_error_of_epsilon_is_the_simple_weight():
    batch = random_batch(6)
    t = torch.tensor([0, 5, 30, 60, 90, 99])
    network = Answer(torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    denoiser = NetworkDenoiser(network, Epsilon(), LINEAR)
    plain, logs = DSM()(denoiser, batch, t)
    weighted, _ = DSM(Simple())(denoiser, batch, t)
    assert torch.equal(logs["mse"], plain) and plain.shape == (6,)
    torch.testing.assert_close(plain, weighted, rtol=1e-6, atol=0)
    # Whatever says the same by an estimate alone, as compositions do, has the same loss: x0 of 30 at t = 0, in float32.
    composed, _ = DSM()(Says(LINEAR, lambda x_t, t, labels: denoiser(x_t, t)), batch, t)
    torch.testing.assert_close(composed, plain, rtol=1e-3, atol=0)
    two = NetworkDenoiser(Answer(torch.cat([network.answer, torch.zeros(6, 1, 8, 8)], 1)), LearnedVariance(Epsilon()), LINEAR)
    hybrid, parts = Hybrid()(two, batch, t)
    torch.testing.assert_close(hybrid, plain + 0.1 * parts["vlb"], rtol=1e-6, atol=0)
    for wrong in (denoiser, Says(LINEAR, None), NetworkDenoiser(network, LearnedVariance(Epsilon()), SIGMAS)):
        with pytest.raises(ValueError, match="LearnedVariance"):
            Hybrid()(wrong, batch, t)
    with pytest.raises(ValueError, match="UniformTimesteps"):
        Hybrid()(two, batch, t + 0.5)


def constant(value, fraction):
    def says(x_t, t, labels):
        level = LINEAR.level(t)
        x0 = torch.full_like(x_t, value)
        return Estimate(x0, (x_t - level.signal * x0) / level.noise, torch.full_like(x_t, fraction))

    return Says(LINEAR, says)


class Published:
    def __init__(self, own):
        self.own = own

    def denoiser(self, ema=True):
        return self.own


@pytest.mark.parametrize(("w", "x0"), [(0.0, 0.5), (1.0, 0.8), (-1.0, 0.2), (0.5, 0.65)])
def test_extrapolation_moves_away_from_the_auxiliary(w, x0):
    base, auxiliary = constant(0.5, 0.25), constant(0.2, 0.75)
    composition = Extrapolate("@-1/model", w)
    assert composition.references == {"auxiliary": "@-1/model"}
    with pytest.raises(ValueError, match="was not attached"):
        composition(base)
    composition.attach({"auxiliary": Published(auxiliary)})
    x_t, t = torch.full((2, 1, 1, 1), 0.3), torch.tensor([10, 90])
    estimate, level = composition(base)(x_t, t), LINEAR.level(t)
    assert estimate.x0.flatten().tolist() == pytest.approx([x0] * 2, abs=1e-6)
    # The noise that goes with that image: (1 + w) e_base - w e_auxiliary, which is linear in x0 at one x_t.
    torch.testing.assert_close(estimate.epsilon, (x_t - level.signal * x0) / level.noise, rtol=1e-4, atol=1e-5)
    assert (estimate.variance_fraction == 0.25).all()
    assert composition.protocol() == {"class": "Extrapolate", "w": w, "auxiliary": "@-1/model"}
    assert Alone()(base) is base
