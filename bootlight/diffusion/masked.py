"""Training on images of which pixels are missing, each other ones, and drawing whole ones (Daras et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.diffusion.compose import Composition
from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.objective import DSM, noisy
from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.weighting import Simple, Weighting
from bootlight.errors import BootlightError, check_range
from bootlight.rng import derive_key, random_words, split_key, to_uniform


class MaskedAmbient(DSM):
    """Of images whose pixels A are seen, further ones are hidden: the network sees less, and answers for all of A.

    That is "Ambient Diffusion" (Daras et al. 2023, "Learning Clean Distributions from Corrupted Data"): of
    x_t = signal * x0 + noise * epsilon the network sees B x_t, where B is A without a random `share`. Masks are chosen without
    a look at the image, so the least loss is that of E[x0 | B x_t] at every pixel that some images show, also where the
    network cannot see. Without further hiding nothing would be learned of such pixels. The loss is the weighted squared error
    of x0, its mean over A. A hidden pixel is exactly 0, which noise makes nowhere else, so the network can tell B from what
    it sees; theirs is told of it by a channel of its own.

    Args:
        weighting: of the squared error in x0; None = `Simple`, the error in the noise.
        share: of the pixels that are seen, how many are hidden further.
        patch: edge in pixels of the squares that are hidden; that of the images' own masks.

    Raises:
        BootlightError: a share that is not above 0 and below 1, or no patch.
    """

    def __init__(self, weighting: Weighting | None = None, share: float = 0.1, patch: int = 1) -> None:
        super().__init__(weighting)
        check_share("model.objective", share, patch, least=1e-3)
        self.share, self.patch = share, patch

    def forward(self, denoiser: Denoiser, batch: Batch, t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`."""
        seen = torch.ones_like(batch.images[:, :1]) if batch.mask is None else batch.mask.to(batch.images)
        kept = seen * self._kept(batch, *batch.images.shape[2:])
        _, x_t, level = noisy(denoiser, batch, t)
        estimate = denoiser(kept * x_t, t, batch.labels, **batch.cond)
        of_pixels = (seen * (estimate.x0 - batch.images) ** 2).mean(1).flatten(1).sum(1)
        error = of_pixels / seen.flatten(1).sum(1).clamp(min=1) * (self.weighting or Simple())(level).flatten()
        return error, {"mse": error}

    def _kept(self, batch: Batch, height: int, width: int) -> Tensor:
        down, across = squares(height, width, self.patch)
        numbers = batch.uniforms("further mask", down, across)
        return spread((numbers >= self.share).to(batch.images)[:, None], self.patch, height, width)


class ThroughMask(Composition):
    """Draws by a network that was trained on masked images: it sees a part, and answers for all pixels.

    The mask is the same at all steps and for all images (the fixed mask of Daras et al. 2023). For `compose` of a Synthesize.

    Args:
        share: of the pixels that are hidden; as in training, 1 - (1 - share of the images' masks) (1 - share of the objective).
        patch: edge in pixels of the squares that are hidden.
        seed: of the mask.

    Raises:
        BootlightError: a share that is not from 0 to below 1, or no patch.
    """

    identity: Mapping[str, Any] | None = {"share": 0.0}

    def __init__(self, share: float, patch: int = 1, seed: int = 0) -> None:
        check_share("ThroughMask", share, patch)
        self.share, self.patch, self.seed = share, patch, seed

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """See `Composition`."""
        return SeenThroughMask(denoiser, self)

    def kept(self, height: int, width: int) -> Tensor:
        """Float (1, 1, H, W), 1 where a pixel is seen."""
        down, across = squares(height, width, self.patch)
        key = split_key(derive_key("through mask", self.seed))
        numbers = to_uniform(random_words(key, torch.zeros(1, 1, dtype=torch.int64), down * across))
        return spread((numbers >= self.share).float().view(1, 1, down, across), self.patch, height, width)


class SeenThroughMask(Denoiser):
    """A denoiser that sees some pixels and answers for all.

    Args:
        denoiser: whose estimates of x0 these are.
        mask: which pixels it sees.
    """

    def __init__(self, denoiser: Denoiser, mask: ThroughMask) -> None:
        super().__init__(denoiser.schedule)
        self.denoiser = denoiser
        self.mask = mask

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """See `Denoiser`; epsilon is what x0 leaves of the whole noisy image."""
        kept = self.mask.kept(x_t.shape[2], x_t.shape[3]).to(x_t)
        own: Estimate = self.denoiser(kept * x_t, t, labels, **cond)
        level = self.schedule.level(t)
        return replace(own, epsilon=(x_t - level.signal * own.x0) / level.noise)


def squares(height: int, width: int, patch: int) -> tuple[int, int]:
    """How many squares, cut at the edge, cover an image: rows and columns."""
    return -(-height // patch), -(-width // patch)


def spread(mask: Tensor, patch: int, height: int, width: int) -> Tensor:
    """A mask (B, 1, H, W) of one of squares."""
    return mask.repeat_interleave(patch, 2).repeat_interleave(patch, 3)[:, :, :height, :width]


def check_share(what: str, share: float, patch: int, least: float = 0.0) -> None:
    """Refuse masks that hide nothing where something must be hidden, or all.

    Raises:
        BootlightError: names the setting.
    """
    check_range(f"{what}.share", share, least)
    check_range(f"{what}.patch", patch, 1)
    if share >= 1:
        raise BootlightError(f"{what}.share is {share}; it must be below 1, or nothing is left to see")
