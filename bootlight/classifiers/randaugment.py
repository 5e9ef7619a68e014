"""RandAugment by torchvision's functions, each called once for all images of a batch that it falls to."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as of

from bootlight.classifiers.augment import OfImages, Uniform
from bootlight.errors import BootlightError, check_range
from bootlight.io.pictures import to_float

BINS = 31  # magnitudes, as torchvision counts them
SLACK = 1e-3  # of the range [-1, 1]: float32 of 8 bits

Operation = Callable[[Tensor, float], Tensor]  # uint8 images, and a strength from -1 to 1


def _shear(images: Tensor, strength: float, across: bool) -> Tensor:
    angle = math.degrees(math.atan(0.3 * strength))
    return of.affine(images, 0.0, [0, 0], 1.0, [angle, 0.0] if across else [0.0, angle], center=[0.0, 0.0])


def _move(images: Tensor, strength: float, across: bool) -> Tensor:
    pixels = int(150 / 331 * images.shape[3 if across else 2] * strength)
    return of.affine(images, 0.0, [pixels, 0] if across else [0, pixels], 1.0, [0.0, 0.0])


def _posterize(images: Tensor, strength: float) -> Tensor:
    return of.posterize(images, 8 - round(4 * strength))


# Cubuk et al. 2020, section 3; ranges as in torchvision. The second says whether strengths have a sign.
OPERATIONS: tuple[tuple[Operation, bool], ...] = (
    (lambda images, strength: images, False),
    (partial(_shear, across=True), True),
    (partial(_shear, across=False), True),
    (partial(_move, across=True), True),
    (partial(_move, across=False), True),
    (lambda images, strength: of.rotate(images, 30 * strength), True),
    (lambda images, strength: of.adjust_brightness(images, 1 + 0.9 * strength), True),
    (lambda images, strength: of.adjust_saturation(images, 1 + 0.9 * strength), True),
    (lambda images, strength: of.adjust_contrast(images, 1 + 0.9 * strength), True),
    (lambda images, strength: of.adjust_sharpness(images, 1 + 0.9 * strength), True),
    (_posterize, False),
    (lambda images, strength: of.solarize(images, 255 * (1 - strength)), False),
    (lambda images, strength: of.autocontrast(images), False),
    (lambda images, strength: of.equalize(images), False),
)


class RandAugment(OfImages):
    """Some operations in a row, each chosen at random of fourteen (Cubuk et al. 2020); of 8-bit pictures, grey or RGB.

    Args:
        num_ops: how many in a row.
        magnitude: how strong, from 0 to 30; operations with a sign have it at random.
    """

    def __init__(self, num_ops: int = 2, magnitude: int = 9) -> None:
        check_range("num_ops", num_ops, 0)
        check_range("magnitude", magnitude, 0, BINS - 1)
        self.num_ops, self.magnitude = num_ops, magnitude

    def images(self, images: Tensor, uniform: Uniform) -> Tensor:
        """See `OfImages`.

        Raises:
            BootlightError: they are no pictures.
        """
        if images.shape[1] not in (1, 3) or images.abs().max() > 1 + SLACK:
            raise BootlightError("RandAugment is for 8-bit pictures, grey or RGB; take GaussianJitter, or one of your own")
        u = uniform("randaugment", self.num_ops, 2).cpu()
        pictures = ((images + 1) * 127.5).round().to(torch.uint8)
        strength = self.magnitude / (BINS - 1)
        for step in range(self.num_ops):
            which, negative = (u[:, step, 0] * len(OPERATIONS)).long(), u[:, step, 1] < 0.5
            done = pictures.clone()
            for number, (operation, signed) in enumerate(OPERATIONS):
                for sign in (1, -1) if signed else (1,):
                    chosen = (which == number) & ((negative == (sign < 0)) if signed else True)
                    here = chosen.nonzero()[:, 0].to(pictures.device)
                    if len(here):
                        done[here] = operation(pictures[here], sign * strength)
            pictures = done
        return to_float(pictures).to(images.dtype)
