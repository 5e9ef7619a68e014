"""A box of another image in each image, and of its label in proportion."""

from __future__ import annotations

import torch
from scipy.special import betaincinv
from torch import Tensor

from bootlight.classifiers.augment import Augmentation, Uniform, inside
from bootlight.errors import BootlightError, check_range


class CutMix(Augmentation):
    """Pastes a box of the next image of the batch into each image; targets are mixed by area (Yun et al. 2019, equations 1, 2).

    The next image is that of this process: of several devices, each mixes its own share.

    Args:
        alpha: of the Beta(alpha, alpha) that the share of the image itself is drawn from.
        probability: of each image.
    """

    def __init__(self, alpha: float = 1.0, probability: float = 0.5) -> None:
        if not alpha > 0:
            raise BootlightError(f"alpha is {alpha}; it must be above 0")
        check_range("probability", probability, 0, 1)
        self.alpha, self.probability = alpha, probability

    def __call__(self, images: Tensor, targets: Tensor, uniform: Uniform) -> tuple[Tensor, Tensor]:
        """See `Augmentation`; an image without a label neither gives nor takes."""
        u = uniform("cutmix", 4)
        height, width = images.shape[2:]
        own = torch.from_numpy(betaincinv(self.alpha, self.alpha, u[:, :1].cpu().double().numpy())).to(u)
        edge = (1 - own).sqrt()
        partner, other = images.roll(1, 0), targets.roll(1, 0)
        mixes = (u[:, 1:2] < self.probability) & (targets.sum(1, keepdim=True) > 0) & (other.sum(1, keepdim=True) > 0)
        sides = []
        for size, place in ((height, u[:, 2:3]), (width, u[:, 3:4])):
            middle, half = (place * size).floor(), (edge * size / 2).floor()
            low, high = (middle - half).clamp(0, size), (middle + half).clamp(0, size)
            sides.append(inside(low, high - low, size))
        box = sides[0][:, :, None] & sides[1][:, None, :] & mixes[:, :, None]
        share = box.flatten(1).to(targets.dtype).mean(1, keepdim=True)
        return torch.where(box[:, None], partner, images), (1 - share) * targets + share * other
