"""Denoisers of distributions that are known: E[x0 | x_t] and Var[x0 | x_t] in closed form."""

import torch
from torch import Tensor

from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.grid import Level
from bootlight.diffusion.prediction import Estimate, noise_from
from bootlight.diffusion.schedule import Schedule


class GaussianDenoiser(Denoiser):
    """Of independent normal pixels.

    Args:
        mean: (C, H, W).
        variance: (C, H, W), at least 0.
        schedule: noise levels.
        says_variance: state Var[x0 | x_t] too.
    """

    def __init__(self, mean: Tensor, variance: Tensor, schedule: Schedule, says_variance: bool = True) -> None:
        super().__init__(schedule)
        self.says_variance = says_variance
        self.mean = mean
        self.variance = variance

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """See `Denoiser`; labels make no difference."""
        level = self.schedule.level(t)
        mean, variance = self.mean.to(x_t), self.variance.to(x_t)
        total = level.signal**2 * variance + level.noise**2
        standard = (x_t - level.signal * mean) / total
        x0 = mean + level.signal * variance * standard
        known = variance * level.noise**2 / total if self.says_variance else None
        return Estimate(x0, level.noise * standard, x0_variance=known)


class MixtureDenoiser(Denoiser):
    """Of a mixture of Gaussians over whole images.

    Args:
        weights: (K,), of the components, with sum 1.
        means: (K, D), D the numbers of an image.
        covariances: (K, D, D), symmetric, no negative eigenvalues.
        schedule: noise levels.
        says_variance: state the diagonal of the covariance of x0 given x_t too.
    """

    def __init__(
        self, weights: Tensor, means: Tensor, covariances: Tensor, schedule: Schedule, says_variance: bool = True
    ) -> None:
        super().__init__(schedule)
        self.says_variance = says_variance
        self.log_weights = weights.log()
        self.means = means
        self.values, self.axes = torch.linalg.eigh(covariances)  # (K, D), and (K, D, D) with axes as columns
        self.values = self.values.clamp(min=0)

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """See `Denoiser`; labels make no difference."""
        level = self.schedule.level(t)
        flat = Level(*(torch.as_tensor(value).reshape(-1, 1, 1).double() for value in level))
        x = x_t.flatten(1).double()
        centred = torch.einsum("bkd,kde->bke", x[:, None] - flat.signal * self.means, self.axes)  # along the axes
        total = flat.signal**2 * self.values + flat.noise**2
        logits = self.log_weights - 0.5 * (centred**2 / total + total.log()).sum(2)
        share = logits.softmax(1)[..., None]
        means = self.means + torch.einsum("bke,kde->bkd", flat.signal * self.values / total * centred, self.axes)
        image = (share * means).sum(1).reshape(x_t.shape).to(x_t.dtype)
        if not self.says_variance:
            return Estimate(image, noise_from(image, x_t, level))
        spread = torch.einsum("bke,kde->bkd", self.values * flat.noise**2 / total, self.axes**2)
        variance = (share * (spread + (means - (share * means).sum(1, keepdim=True)) ** 2)).sum(1)
        return Estimate(image, noise_from(image, x_t, level), x0_variance=variance.reshape(x_t.shape).to(x_t.dtype))
