"""The variational bound, term by term, in bits per dimension (Nichol and Dhariwal 2021, section 3.1)."""

import math

import torch
from torch import Tensor

from bootlight.diffusion.prediction import per_image
from bootlight.diffusion.schedule import DiscreteSchedule


def gaussian_kl(mean_q: Tensor, log_variance_q: Tensor, mean_p: Tensor, log_variance_p: Tensor) -> Tensor:
    """KL(q || p) of diagonal Gaussians in nats, element by element."""
    log_ratio = log_variance_p - log_variance_q
    scaled = (log_variance_q - log_variance_p).exp() + (mean_q - mean_p) ** 2 * (-log_variance_p).exp()
    return 0.5 * (log_ratio + scaled - 1)


def discretized_gaussian_nll(x0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """-log of the probability that a Gaussian gives to the 8-bit bin of each value, in nats (Ho et al. 2020, equation 13).

    Bins are 2/255 wide; the two outermost are open-ended. `x0` lies in [-1, 1].
    """
    inverse = (-0.5 * log_variance).exp()
    distance = x0 - mean
    below = torch.special.log_ndtr((1 / 255 + distance) * inverse)  # log Phi at the bin's right edge
    above = torch.special.log_ndtr((1 / 255 - distance) * inverse)  # log(1 - Phi) at its left edge
    # log(Phi(b) - Phi(a)) = log Phi(b) + log(1 - Phi(a) / Phi(b)), mirrored to the lower tail, where nothing cancels.
    near = torch.special.log_ndtr((1 / 255 - distance.abs()) * inverse)
    far = torch.special.log_ndtr((-1 / 255 - distance.abs()) * inverse)
    inside = near + torch.log((-torch.expm1(far - near)).clamp(min=1e-12))
    return -torch.where(x0 > 0.999, above, torch.where(x0 < -0.999, below, inside))


def variational_term(
    schedule: DiscreteSchedule, *, x0: Tensor, x_t: Tensor, t: Tensor, estimate_x0: Tensor, variance_fraction: Tensor
) -> Tensor:
    """One term of the variational bound for each image, in bits per dimension, (B,).

    KL(q(x_{t-1} | x_t, x0) || p) for t > 0, the likelihood of the 8-bit image for t = 0. The estimate is not clipped.
    Computed in float32 even under autocast: half precision gives NaN here.
    """
    with torch.autocast(x0.device.type, enabled=False):
        x0, x_t, estimate_x0, fraction = x0.float(), x_t.float(), estimate_x0.float(), variance_fraction.float()
        mean_q = schedule.posterior_mean(x0, x_t, t)
        mean_p = schedule.posterior_mean(estimate_x0, x_t, t)
        log_variance_q = schedule.learned_log_variance(torch.zeros_like(fraction), t)
        log_variance_p = schedule.learned_log_variance(fraction, t)
        kl = per_image(gaussian_kl(mean_q, log_variance_q, mean_p, log_variance_p))
        nll = per_image(discretized_gaussian_nll(x0, mean_p, log_variance_p))
        return torch.where(t == 0, nll, kl) / math.log(2)
