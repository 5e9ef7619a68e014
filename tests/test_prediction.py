"""Prediction types, and how network outputs become estimates. Expected values by hand or from Gaussian algebra."""

import numpy as np
import pytest
import torch
from oracle import Answer, Says

from bootlight.diffusion.denoiser import Guided, NetworkDenoiser
from bootlight.diffusion.grid import Level
from bootlight.diffusion.prediction import X0, Epsilon, Estimate, LearnedVariance, V, noise_from
from bootlight.diffusion.schedules import LinearSchedule

types = pytest.mark.parametrize("prediction", [Epsilon(), V(), X0()], ids=lambda p: type(p).__name__)


def random_problem():
    """x0, noise and a wrong answer at 50 timesteps of the linear schedule, in float64."""
    abar = (LinearSchedule(1000).grid(50).signal[:-1] ** 2).view(-1, 1, 1, 1)
    level = Level(abar.sqrt(), (1 - abar).sqrt())
    x0, noise, answer = torch.randn(3, 50, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return level, x0, noise, answer


def test_targets_and_readings_by_hand():
    level = Level(0.6, 0.8)
    x0, noise = torch.tensor(1.0), torch.tensor(2.0)
    x_t = torch.tensor(0.6 * 1 + 0.8 * 2)  # 2.2
    # Numbers of order 1 in float32, three operations: 3 x 1.2e-7.
    close = {"abs": 4e-7}
    assert Epsilon().target(x0, noise, level).item() == 2
    assert X0().target(x0, noise, level).item() == 1
    assert V().target(x0, noise, level).item() == pytest.approx(0.6 * 2 - 0.8 * 1, **close)
    answer = torch.tensor(0.5)
    assert Epsilon().x0(answer, x_t, level).item() == pytest.approx((2.2 - 0.8 * 0.5) / 0.6, rel=4e-7)
    assert X0().x0(answer, x_t, level).item() == 0.5
    assert V().x0(answer, x_t, level).item() == pytest.approx(0.6 * 2.2 - 0.8 * 0.5, **close)
    assert noise_from(torch.tensor(0.5), x_t, level).item() == pytest.approx((2.2 - 0.6 * 0.5) / 0.8, rel=4e-7)


@types
def test_the_target_reads_back_as_the_image_and_the_noise(prediction):
    level, x0, noise, _ = random_problem()
    estimate = prediction.estimate(prediction.target(x0, noise, level), level.signal * x0 + level.noise * noise, level)
    # float64 roundings of 1e-16 of numbers below 5, divided by a signal or noise of at least 0.006: below 1e-12.
    torch.testing.assert_close(estimate.x0, x0, rtol=0, atol=1e-12)
    torch.testing.assert_close(estimate.epsilon, noise, rtol=0, atol=1e-12)
    assert estimate.variance_fraction is None


@types
def test_any_answer_is_consistent_with_the_noisy_image(prediction):
    level, x0, noise, answer = random_problem()
    x_t = level.signal * x0 + level.noise * noise
    estimate = prediction.estimate(answer, x_t, level)
    # Same roundings, of numbers up to 5 / 0.006.
    torch.testing.assert_close(level.signal * estimate.x0 + level.noise * estimate.epsilon, x_t, rtol=0, atol=1e-12)
    # A consistent pair gives the answer back.
    torch.testing.assert_close(prediction.target(estimate.x0, estimate.epsilon, level), answer, rtol=0, atol=1e-10)


@types
def test_errors_in_noise_and_v_are_the_error_in_the_image_times_a_function_of_snr(prediction):
    level, x0, noise, answer = random_problem()
    estimate = prediction.estimate(answer, level.signal * x0 + level.noise * noise, level)
    snr = (level.signal / level.noise).flatten() ** 2

    def squared(error):
        return (error**2).flatten(1).sum(1)

    image = squared(x0 - estimate.x0)
    v = squared(V().target(x0, noise, level) - V().target(estimate.x0, estimate.epsilon, level))
    # Differences of numbers up to 1e3 that leave 1e-2 or more: relative 1e-16 x 1e5 = 1e-11, doubled by the square.
    torch.testing.assert_close(squared(noise - estimate.epsilon), snr * image, rtol=1e-10, atol=0)
    torch.testing.assert_close(v, (1 + snr) * image, rtol=1e-10, atol=0)


def optimal(prediction, level, variance):
    """Slope of the best linear answer to x_t for N(0, variance), and its loss, both by least squares in (x0, noise)."""
    one, zero = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    of_image, of_noise = prediction.target(one, zero, level), prediction.target(zero, one, level)
    slope = (of_image * level.signal * variance + of_noise * level.noise) / (level.signal**2 * variance + level.noise**2)
    return slope, variance * (of_image - slope * level.signal) ** 2 + (of_noise - slope * level.noise) ** 2


@pytest.mark.parametrize(
    ("prediction", "loss", "spread"),
    [
        (X0(), lambda a, v, total: v * (1 - a) / total, 2500),
        (Epsilon(), lambda a, v, total: a * v / total, 99_070),
        (V(), lambda a, v, total: v / total, 4.0),
    ],
    ids=["X0", "Epsilon", "V"],
)
def test_optimal_losses_for_gaussian_data(prediction, loss, spread):
    abar, variance = LinearSchedule(1000).alphas_cumprod, 0.25
    level = Level(abar.sqrt(), (1 - abar).sqrt())
    slope, losses = optimal(prediction, level, variance)
    # Cancellation leaves losses of 1e-5 and more of terms below 1: relative 1e-11.
    np.testing.assert_allclose(losses, loss(abar, variance, abar * variance + 1 - abar), rtol=1e-10)
    assert (losses.max() / losses.min()).item() == pytest.approx(spread, rel=5e-4)  # four digits are given
    # The best answer of every type stands for the same image, E[x0 | x_t] = sqrt(abar) v / (abar v + 1 - abar) x_t.
    x_t = torch.full_like(abar, 1.5)
    expected = level.signal * variance / (abar * variance + 1 - abar) * x_t
    torch.testing.assert_close(prediction.x0(slope * x_t, x_t, level), expected, rtol=0, atol=1e-10)


def test_clipping_limits_the_image_and_recomputes_the_noise():
    level = Level(0.6, 0.8)
    x_t = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    fraction = torch.tensor([0.1, 0.2, 0.3])
    clipped = Estimate(torch.tensor([-3.0, 0.5, 1.5], dtype=torch.float64), torch.zeros(3), fraction).clipped(x_t, level)
    assert clipped.x0.tolist() == [-1, 0.5, 1]
    np.testing.assert_allclose(clipped.epsilon, [0.6 / 0.8, (1 - 0.3) / 0.8, (2 - 0.6) / 0.8], rtol=1e-15)
    assert clipped.variance_fraction is fraction


def test_network_output_is_split_into_prediction_and_variance():
    schedule = LinearSchedule(1000)
    t = torch.tensor([0, 500])
    x_t = torch.tensor([0.3, -0.4]).view(2, 1, 1, 1)
    output = torch.tensor([[0.1, -1.0], [0.2, 1.0]]).view(2, 2, 1, 1)
    estimate = NetworkDenoiser(Answer(output.bfloat16()), LearnedVariance(Epsilon()), schedule)(x_t, t)
    assert estimate.x0.dtype == torch.float32  # bfloat16 ends at the network
    assert estimate.variance_fraction.flatten().tolist() == [0, 1]
    abar = schedule.alphas_cumprod[t].numpy()
    answer = output[:, 0].bfloat16().double().flatten().numpy()
    expected = (x_t.flatten().numpy() - np.sqrt(1 - abar) * answer) / np.sqrt(abar)
    # float32 roundings of numbers below 1, divided by sqrt(abar_500) = 0.28.
    np.testing.assert_allclose(estimate.x0.flatten().detach(), expected, atol=6e-7)
    np.testing.assert_allclose(estimate.epsilon.flatten().detach(), answer, atol=5e-5)  # divided by 0.01 at t = 0
    plain = NetworkDenoiser(Answer(output[:, :1]), Epsilon(), schedule)(x_t, t)
    assert plain.variance_fraction is None


@pytest.mark.parametrize(("output", "bound"), [(1, "beta"), (-1, "beta-tilde")])
def test_variance_output_of_plus_and_minus_one(output, bound):
    schedule = LinearSchedule(1000)
    t = torch.tensor([1, 400, 999])
    network = Answer(torch.full((3, 2, 1, 1), float(output)))
    estimate = NetworkDenoiser(network, LearnedVariance(Epsilon()), schedule)(torch.ones(3, 1, 1, 1), t)
    log_variance = schedule.learned_log_variance(estimate.variance_fraction, t).flatten().detach()
    expected = schedule.betas if bound == "beta" else schedule.posterior_variance
    np.testing.assert_allclose(log_variance, expected[t].log(), atol=1e-6)  # half a unit in the last place near -10


@pytest.mark.parametrize(("scale", "x0", "calls"), [(0.0, 1.0, 2), (1.0, 3.0, 1), (2.0, 5.0, 2), (-0.5, 0.0, 2)])
def test_guidance_extrapolates_from_unconditional_to_conditional(scale, x0, calls):
    seen = []

    def says(x_t, t, labels):
        seen.append(labels)
        value, fraction = (1.0, 0.25) if labels is None else (3.0, 0.75)
        return Estimate(torch.full_like(x_t, value), torch.full_like(x_t, -value), torch.full_like(x_t, fraction))

    denoiser = Says(LinearSchedule(100), says)
    x_t, t, labels = torch.zeros(2, 1, 1, 1), torch.zeros(2).long(), torch.zeros(2).long()
    estimate = Guided(denoiser, scale)(x_t, t, labels)
    assert estimate.x0.flatten().tolist() == [x0, x0]
    assert estimate.epsilon.flatten().tolist() == [-x0, -x0]
    assert estimate.variance_fraction.flatten().tolist() == [0.75, 0.75]
    assert len(seen) == calls
    unlabelled = Guided(denoiser, scale)(x_t, t)
    assert unlabelled.x0.flatten().tolist() == [1, 1] and unlabelled.variance_fraction.flatten().tolist() == [0.25, 0.25]
    assert len(seen) == calls + 1
