"""Training objectives against torch.distributions, the error function, and the entropy of Gaussian data."""

import math

import numpy as np
import pytest
import torch
from oracle import beta_and_tilde, linear_abar, normal_cdf, optimal_variances
from torch.distributions import Normal, kl_divergence

from bootlight.diffusion.prediction import per_image
from bootlight.diffusion.schedule import DiscreteSchedule
from bootlight.diffusion.schedules import LinearSchedule
from bootlight.diffusion.variational import discretized_gaussian_nll, gaussian_kl, variational_term

LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1  # the 8-bit values in [-1, 1]


def column(*values):
    return torch.tensor(values).view(-1, 1, 1, 1)


def test_per_image_is_the_mean_of_everything_but_the_batch():
    values = torch.arange(24.0).view(2, 3, 2, 2)
    assert per_image(values).tolist() == [5.5, 17.5]


def test_kl_is_that_of_torch_distributions():
    mean_q, log_q, mean_p, log_p = torch.randn(4, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    expected = kl_divergence(Normal(mean_q, (log_q / 2).exp()), Normal(mean_p, (log_p / 2).exp()))
    torch.testing.assert_close(gaussian_kl(mean_q, log_q, mean_p, log_p), expected, rtol=1e-12, atol=1e-14)
    assert gaussian_kl(mean_q, log_q, mean_q, log_q).abs().max() == 0


@pytest.mark.parametrize("mean", [-0.999, -0.3, 0.0, 0.5, 1.2])
@pytest.mark.parametrize("deviation", [0.003, 0.01, 0.1, 1.0])
def test_probabilities_of_all_256_values_sum_to_one(mean, deviation):
    log_variance = torch.tensor(2 * math.log(deviation), dtype=torch.float64)
    total = (-discretized_gaussian_nll(LEVELS, torch.tensor(mean, dtype=torch.float64), log_variance)).exp().sum()
    # The edges of 256 bins are rounded to 2e-16 in units of a deviation of 0.003 or more: 1e-13 for each bin at the most.
    assert total.item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("mean", "deviation"), [(0.1, 0.01), (-0.7, 0.1), (0.99, 0.02), (0.0, 0.5)])
def test_nll_is_the_integral_of_the_density_over_each_bin(mean, deviation):
    edges = [-math.inf, *((k - 0.5) / 127.5 - 1 for k in range(1, 256)), math.inf]

    def probability(low, high):  # mirrored where needed: the function is accurate in its lower tail
        a, b = (low - mean) / deviation, (high - mean) / deviation
        return normal_cdf(b) - normal_cdf(a) if a + b < 0 else normal_cdf(-a) - normal_cdf(-b)

    chosen = [k for k in range(256) if abs(k / 127.5 - 1 - mean) < 6 * deviation] + [0, 255]
    expected = [-math.log(max(probability(edges[k], edges[k + 1]), 1e-300)) for k in chosen]
    ours = discretized_gaussian_nll(
        LEVELS[chosen], torch.tensor(mean, dtype=torch.float64), torch.tensor(2 * math.log(deviation), dtype=torch.float64)
    )
    # Bin edges are rounded to 2e-16 and the density's slope there is at most 6 / deviation = 600 per bin: relative 1e-12;
    # open ends further than exp(-690) have no expected value.
    keep = np.array(expected) < 600
    np.testing.assert_allclose(ours.numpy()[keep], np.array(expected)[keep], rtol=1e-10)


def test_outermost_bins_are_open():
    log_variance = torch.tensor(0.0, dtype=torch.float64)
    ends = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    ours = discretized_gaussian_nll(ends, torch.tensor(0.5, dtype=torch.float64), log_variance)
    expected = [-math.log(normal_cdf(-1.5 + 1 / 255)), -math.log(normal_cdf(-0.5 + 1 / 255))]
    np.testing.assert_allclose(ours, expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nll_is_the_same_in_both_tails_and_has_finite_gradients(dtype):
    x0 = torch.tensor([-0.8, -0.2, 0.6], dtype=dtype)
    mean = torch.tensor([0.8, 0.4, 0.0], dtype=dtype)
    log_variance = torch.tensor(2 * math.log(0.02), dtype=dtype, requires_grad=True)  # 80, 30 and 30 deviations
    left, right = discretized_gaussian_nll(x0, mean, log_variance), discretized_gaussian_nll(-x0, -mean, log_variance)
    assert torch.equal(left, right)
    # Far out the bin's edge next to the mean decides: z^2 / 2 + log(z sqrt(2 pi)), up to log1p(1 / z^2) < 2e-3 and, for the
    # other edge, log1p(-exp(-z * bin)) < 1e-5.
    z = ((x0 - mean).abs().double() - 1 / 255) / 0.02
    expected = z**2 / 2 + (z * math.sqrt(2 * math.pi)).log()
    np.testing.assert_allclose(left.detach().double(), expected, rtol=2e-6, atol=2e-3)
    (gradient,) = torch.autograd.grad(right.sum(), log_variance)
    # d/d(log variance) of z^2 / 2 is -z^2 / 2, of log z is -1/2; the next term is of order 1 / z^2.
    assert gradient.item() == pytest.approx(-(z**2 / 2 + 0.5).sum().item(), rel=1e-3)


def test_variational_term_by_hand():
    """One image for the likelihood (t = 0) and one for the divergence (t = 300), with means and variances from the paper."""
    schedule, abar = LinearSchedule(1000), linear_abar()
    beta, tilde = beta_and_tilde(abar)
    t, x0, x_t, guess, fraction = [0, 300], [51 / 127.5 - 1, -0.2], [-0.59, 0.7], [-0.597, 0.3], [0.25, 0.6]
    ours = variational_term(
        schedule,
        x0=column(*x0),
        x_t=column(*x_t),
        t=torch.tensor(t),
        estimate_x0=column(*guess),
        variance_fraction=column(*fraction),
    )

    deviation = math.sqrt(tilde[1] ** 0.75 * beta[0] ** 0.25)  # at t = 0 the mean is the estimate itself
    bin_ = normal_cdf((x0[0] + 1 / 255 - guess[0]) / deviation) - normal_cdf((x0[0] - 1 / 255 - guess[0]) / deviation)
    # float32: (x0 - mean) is 3e-3 rounded to 6e-8, in deviations of 0.008: 1e-5 of the result.
    assert ours[0].item() == pytest.approx(-math.log2(bin_), rel=3e-5)

    factor = math.sqrt(abar[300]) * beta[300] / (1 - abar[301])  # of x0 in the posterior mean
    q, p = tilde[300], tilde[300] ** 0.4 * beta[300] ** 0.6
    kl = 0.5 * (math.log(p / q) + q / p + factor**2 * (x0[1] - guess[1]) ** 2 / p - 1) / math.log(2)
    # The squared difference of the means is 1e-2 of means near 0.6, in float32: 2 x 6e-8 x 0.6 / 3e-3.
    assert ours[1].item() == pytest.approx(kl, rel=1e-4)


def random_arguments(fraction=None):
    rng = torch.Generator().manual_seed(0)
    x0, x_t, guess, share = torch.rand(4, 8, 3, 4, 4, generator=rng) * 2 - 1
    t = torch.tensor([0, 0, 1, 2, 50, 300, 700, 999])
    return {"x0": x0, "x_t": x_t, "t": t, "estimate_x0": guess, "variance_fraction": share if fraction is None else fraction}


def test_the_true_posterior_has_no_divergence():
    arguments = random_arguments(fraction=torch.zeros(8, 3, 4, 4))
    arguments["estimate_x0"] = arguments["x0"]
    terms = variational_term(LinearSchedule(1000), **arguments)
    assert (terms[2:] == 0).all()  # the same numbers on both sides
    assert (terms[:2] > 0).all()


def test_half_precision_does_not_reach_the_bound():
    arguments = random_arguments()
    plain = variational_term(LinearSchedule(1000), **arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = variational_term(LinearSchedule(1000), **arguments)
    assert torch.equal(plain, under_autocast) and plain.isfinite().all()
    # Half-precision arguments are converted before anything is computed, not after.
    half = {k: v.bfloat16() if v.is_floating_point() else v for k, v in arguments.items()}
    back = {k: v.float() if v.is_floating_point() else v for k, v in half.items()}
    assert torch.equal(variational_term(LinearSchedule(1000), **half), variational_term(LinearSchedule(1000), **back))


@pytest.mark.parametrize("num_steps", [10, 1000])
def test_the_bound_of_an_optimal_model_is_the_entropy_of_gaussian_data(num_steps):
    """For N(0, v) the reverse steps are Gaussian, so an optimal model makes the bound tight.

    Its divergences, the density of x0 given the first step, and the divergence of q(x_T | x0) from N(0, 1) add up to the
    entropy of the data plus the divergence of the marginal q(x_T) from N(0, 1). The divergences are quadratic in (x0, noise):
    four sign combinations give their expectation exactly.
    """
    v, schedule, abar = 1 / 16, DiscreteSchedule(torch.from_numpy(linear_abar(num_steps)[1:])), linear_abar(num_steps)
    best = optimal_variances(abar, v)
    beta, tilde = beta_and_tilde(abar)
    fraction = np.log(best[1:] / tilde[1:]) / np.log(beta[1:] / tilde[1:])
    t = torch.arange(1, num_steps).repeat_interleave(4)
    x0 = column(0.25, 0.25, -0.25, -0.25).repeat(num_steps - 1, 1, 1, 1)
    x_t = schedule.level(t).noisy(x0, column(1.0, -1.0, 1.0, -1.0).repeat(num_steps - 1, 1, 1, 1))
    a = torch.from_numpy(abar[1:]).float()[t].view(-1, 1, 1, 1)
    terms = variational_term(
        schedule,
        x0=x0,
        x_t=x_t,
        t=t,
        estimate_x0=a.sqrt() * v / (a * v + 1 - a) * x_t,
        variance_fraction=torch.from_numpy(fraction).float().repeat_interleave(4).view(-1, 1, 1, 1),
    )
    divergences = terms.sum().item() / 4 * math.log(2)
    first = 0.5 * math.log(2 * math.pi * math.e * best[0])
    last, spread = abar[-1], abar[-1] * v + 1 - abar[-1]
    prior = 0.5 * (last * v + (1 - last) - 1 - math.log(1 - last))
    entropy = 0.5 * math.log(2 * math.pi * math.e * v)
    # Terms of about 1e-3 with float32 roundings of 1e-7 each; 1000 of them are off by at most 1e-4 together.
    assert divergences + first + prior == pytest.approx(entropy + 0.5 * (spread - 1 - math.log(spread)), abs=2e-4)
    assert divergences > 0.5
