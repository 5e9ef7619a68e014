"""Schedules against independent evaluations, and the posterior against Bayes' rule."""

import math

import numpy as np
import pytest
import torch
from oracle import linear_abar

from bootlight.diffusion.schedule import DiscreteSchedule
from bootlight.diffusion.schedules import CosineSchedule, LinearSchedule

SCHEDULES = {
    "linear": LinearSchedule(1000),
    "cosine": CosineSchedule(1000),
    "linear, 40 of 4000": DiscreteSchedule(LinearSchedule(4000).alphas_cumprod[99::100]),
}
schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


@pytest.mark.parametrize(("num_steps", "first", "last"), [(1000, 1e-4, 0.02), (4000, 2.5e-5, 5e-3), (100, 1e-3, 0.2)])
def test_linear_endpoints_scale_with_the_number_of_steps(num_steps, first, last):
    schedule = LinearSchedule(num_steps)
    # beta is 1 - a ratio near 1: a few roundings of 1.1e-16 each.
    assert schedule.betas[0].item() == pytest.approx(first, abs=1e-15)
    assert schedule.betas[-1].item() == pytest.approx(last, abs=1e-15)
    # Equal steps between: second differences vanish to the same roundings.
    assert schedule.betas.diff(n=2).abs().max() < 2e-15
    assert schedule.grid().t.tolist() == list(range(num_steps))[::-1]


@pytest.mark.parametrize("num_steps", [100, 1000])
def test_linear_alphas_cumprod(num_steps):
    # `num_steps` products, each rounded to 1.1e-16, in two independent orders.
    np.testing.assert_allclose(
        LinearSchedule(num_steps).alphas_cumprod.numpy(), linear_abar(num_train=num_steps)[1:], rtol=num_steps * 3e-16
    )


def test_cosine_is_the_squared_cosine_up_to_the_clipped_last_step():
    num_steps = 1000
    expected = [
        math.cos((k / num_steps + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        for k in range(1, num_steps)
    ]
    expected.append(expected[-1] * 0.001)  # the last beta would be 1 and is limited to 0.999
    # At the end the cosine is about 1.6e-3 and its argument is rounded to 2.2e-16: relative 3e-13, doubled by the square.
    np.testing.assert_allclose(CosineSchedule(num_steps).alphas_cumprod.numpy(), expected, rtol=2e-12)


@schedules
def test_posterior_is_bayes_rule(schedule):
    """Product of N(x_{t-1}; sqrt(abar_prev) x0, 1 - abar_prev) and N(x_t; sqrt(alpha) x_{t-1}, beta), by precisions."""
    abar = schedule.alphas_cumprod.numpy()
    before, now = abar[:-1], abar[1:]
    alpha = now / before
    precision = 1 / (1 - before) + alpha / (1 - alpha)
    x0, x_t = 0.7, -1.3
    mean = (np.sqrt(before) / (1 - before) * x0 + np.sqrt(alpha) / (1 - alpha) * x_t) / precision
    # 1 - abar and 1 - alpha are at least 2.5e-5, from rounded operands: relative error up to a few 2.2e-16 / 2.5e-5 = 1e-11.
    np.testing.assert_allclose(schedule.posterior_variance[1:].numpy(), 1 / precision, rtol=5e-11)
    ours = schedule.posterior_mean_x0 * x0 + schedule.posterior_mean_xt * x_t
    np.testing.assert_allclose(ours[1:].numpy(), mean, rtol=0, atol=5e-11)


@schedules
def test_the_first_step_has_the_clean_image_as_posterior(schedule):
    assert schedule.alphas_cumprod_prev[0] == 1
    assert schedule.posterior_variance[0] == 0
    assert schedule.posterior_mean_x0[0] == 1  # beta / (1 - abar), the same number above and below
    assert schedule.posterior_mean_xt[0] == 0


def test_posterior_mean_and_noisy_image_for_each_image_of_a_batch():
    schedule = LinearSchedule(1000)
    t = torch.tensor([0, 10, 999])
    x0 = torch.tensor([0.5, -1.0, 0.25]).view(3, 1, 1, 1)
    noise = torch.tensor([1.0, 2.0, -3.0]).view(3, 1, 1, 1)
    abar = linear_abar()
    a, before = abar[1:][t], abar[:-1][t]
    x_t = np.sqrt(a) * x0.flatten().numpy() + np.sqrt(1 - a) * noise.flatten().numpy()
    beta = 1 - a / before
    mean = np.sqrt(before) * beta / (1 - a) * x0.flatten().numpy() + np.sqrt(1 - beta) * (1 - before) / (1 - a) * x_t
    # Two products and a sum in float32: 3 roundings of 6e-8 of numbers below 3.
    np.testing.assert_allclose(schedule.level(t).noisy(x0, noise).flatten().numpy(), x_t, atol=6e-7)
    ours = schedule.posterior_mean(x0, torch.from_numpy(x_t).float().view(3, 1, 1, 1), t)
    np.testing.assert_allclose(ours.flatten().numpy(), mean, atol=6e-7)


@pytest.mark.parametrize("num_steps", [2, 3, 10, 50, 999, 1000])
def test_a_grid_keeps_both_ends_and_the_noise_levels(num_steps):
    training = LinearSchedule(1000)
    grid = training.grid(num_steps)
    assert grid.num_steps == num_steps == len(grid.signal) - 1 == len(grid.noise) - 1
    assert grid.t[0] == 999 and grid.t[-1] == 0 and (grid.signal[-1], grid.noise[-1]) == (1, 0)
    assert torch.equal(grid.signal[:-1], training.alphas_cumprod[grid.t].sqrt())
    gaps = -grid.t.diff()
    assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1  # even, up to rounding
    # The product of all alphas telescopes to the last abar; 1000 roundings.
    alphas = np.array([1 - grid.reverse(i).high for i in range(num_steps)])
    assert alphas.prod() == pytest.approx(training.alphas_cumprod[-1].item(), rel=1e-12)


def test_a_grid_of_one_step_keeps_the_noisiest():
    one = LinearSchedule(1000).grid(1)
    assert one.t.tolist() == [999]
    # The posterior given the image is the image: 1 - abar = noise^2, two roundings.
    assert one.reverse(0) == pytest.approx((1, 0, 0, 1 - LinearSchedule(1000).alphas_cumprod[-1].item()), rel=1e-15)


@pytest.mark.parametrize("num_steps", [0, -1, 1001])
def test_a_grid_refuses_what_it_cannot_have(num_steps):
    with pytest.raises(ValueError, match=r"num_steps is .* allows 1 to 1000"):
        LinearSchedule(1000).grid(num_steps)


@schedules
def test_every_step_of_a_grid_is_the_posterior_of_the_schedule(schedule):
    grid = schedule.grid()
    steps = np.array([grid.reverse(i) for i in range(len(schedule))])[::-1]
    ours = (schedule.posterior_mean_x0, schedule.posterior_mean_xt, schedule.posterior_variance, schedule.betas)
    for column, table in zip(steps.T, ours, strict=True):
        # 1 - abar and 1 - alpha are at least 2.5e-5, from rounded operands: relative error up to a few 2.2e-16 / 2.5e-5.
        np.testing.assert_allclose(column, table, rtol=1e-10, atol=1e-17)


@schedules
def test_learned_variance_runs_from_beta_tilde_to_beta(schedule):
    t = torch.tensor([1, 5, len(schedule) - 1])
    ones = torch.ones(3, 1, 1, 1)
    low = schedule.learned_log_variance(0 * ones, t).flatten()
    high = schedule.learned_log_variance(ones, t).flatten()
    middle = schedule.learned_log_variance(0.5 * ones, t).flatten()
    # float32 logarithms down to -11: half a unit in the last place is 5e-7.
    np.testing.assert_allclose(low, schedule.posterior_variance[t].log(), atol=1e-6)
    np.testing.assert_allclose(high, schedule.betas[t].log(), atol=1e-6)
    np.testing.assert_allclose(middle, (schedule.posterior_variance[t] * schedule.betas[t]).sqrt().log(), atol=1e-6)
    assert (low < high).all()


@schedules
def test_smallest_variance_of_the_first_step_is_that_of_the_second(schedule):
    assert schedule.min_log_variance[0] == schedule.posterior_variance[1].log()
    assert torch.equal(schedule.min_log_variance[1:], schedule.posterior_variance[1:].log())
    assert torch.equal(schedule.max_log_variance, schedule.betas.log())


def test_noise_level_next_to_the_data_is_exact_to_float32():
    """1 - abar from float32 would be wrong by 6e-8 / 2.5e-5, a quarter of a per cent; from float64 only the result rounds."""
    schedule = LinearSchedule(4000)
    t = torch.arange(4000)
    level = schedule.level(t)
    assert level.noise.dtype == torch.float32 and level.noise.shape == (4000, 1, 1, 1)
    abar = linear_abar(num_train=4000)[1:]
    # One rounding to float32, 6e-8, and the float64 error of 1 - abar, 1e-11.
    np.testing.assert_allclose(level.noise.flatten().numpy(), np.sqrt(1 - abar), rtol=6.1e-8)
    np.testing.assert_allclose(level.signal.flatten().numpy(), np.sqrt(abar), rtol=6.1e-8)
