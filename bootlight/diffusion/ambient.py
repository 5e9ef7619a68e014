"""Training on images that have noise of a known level in them, as if they were clean (Daras et al. 2024 and 2025)."""

from __future__ import annotations

import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.grid import Level
from bootlight.diffusion.objective import DSM
from bootlight.diffusion.weighting import Weighting
from bootlight.errors import check_range


class Ambient(DSM):
    """Denoising score matching for images that are noisy themselves; a clean image is trained on as by `DSM`.

    `Batch.noise` says the least sigma that an image may be trained at: its own noise, sigma_n, of which it holds one draw,
    y = x0 + sigma_n e. At sigma > sigma_n it becomes z = y + sqrt(sigma^2 - sigma_n^2) e', as noisy as a clean image at sigma
    would be, and what is learned is y: by Tweedie's formula

        E[y | z] = r z + (1 - r) E[x0 | z],    r = sigma_n^2 / sigma^2,

    so the network's estimate of x0 makes an estimate of y (Daras et al. 2025, "Ambient Diffusion Omni"; 2024, "Consistent
    Diffusion Meets Tweedie", section 3). Its squared error is weighted with sigma^4 / (sigma^2 - sigma_n^2)^2 = 1 / (1 - r)^2,
    which makes it that of x0: the loss is that of `DSM` with (y - r z) / (1 - r) in the place of the image, whose mean given z
    is E[x0 | z]. The variance of this target beyond that of x0 is sigma_n^2 / (1 - r), without a bound near sigma_n.

    Args:
        weighting: see `DSM`.
        buffer: a noisy image is trained on from (1 + buffer) sigma_n on. The target's variance there is that of the image's own
            noise times (1 + buffer)^2 / ((1 + buffer)^2 - 1).

    Raises:
        BootlightError: a buffer that is not above 0.
    """

    def __init__(self, weighting: Weighting | None = None, buffer: float = 0.2) -> None:
        super().__init__(weighting)
        check_range("model.objective.buffer", buffer, 1e-3)
        self.buffer = buffer

    def usable(self, ranges: Tensor) -> Tensor:
        """See `Objective.usable`: a little above the noise of each image."""
        return ranges * torch.tensor([1 + self.buffer, 1.0])

    def noised(self, denoiser: Denoiser, batch: Batch, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Level]:
        """What stands for clean images and for their noise, the images at `t`, and its level."""
        x0, noise, x_t, level = super().noised(denoiser, batch, t)
        if batch.noise is None:
            return x0, noise, x_t, level
        sigma = torch.as_tensor(level.noise / level.signal)
        own = batch.noise[:, :1, None, None].to(sigma)
        r = (own / sigma).square()
        r = torch.where(r < 1, r, 0)  # not trained at such a level; the loss must be a number all the same
        added = (1 - r).sqrt()
        z = x0 + sigma * added * noise
        target = x0 - r / added * sigma * noise
        return target, (z - target) / sigma, level.signal * z, level
