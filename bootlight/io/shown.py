"""Images as people can look at them: numbers without a range, any number of channels, and points.

What is shown: uint8 images of 1 or 3 channels as they are. Numbers are scaled so that black is the least and white the largest
of a reference. Of 2 channels the first two are red and green; of more than 3, the channels stand below each other, grey.
Points, (D, 1, 1), are one picture of all of them: their first two coordinates, or a histogram where there is one.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

REFERENCE = 1000  # real images by whose range numbers are shown
EDGE = 192  # of a picture of points, pixels
MARGIN = 0.15  # around the reference points, as a share of their range
BACKGROUND, FRAME, REAL, DRAWN = (255, 255, 255), (220, 220, 220), (120, 120, 120), (210, 50, 10)
FEW = 4  # points in one pixel
BAR = 6  # pixels of a bar of a histogram; divides EDGE
INK = 0.25  # of a pixel's color that the first point in it takes

Show = Callable[[NDArray[Any]], NDArray[np.uint8]]


def is_points(shape: tuple[int, ...]) -> bool:
    """Whether images of shape (C, H, W) are points."""
    return tuple(shape[1:]) == (1, 1)


def shower(reference: NDArray[Any] | Iterable[NDArray[Any]]) -> Show:
    """What makes a picture (H, W, 1 or 3) of an image (H, W, C).

    Args:
        reference: images, by whose least and largest number the others are shown too; of uint8 none is needed.
    """
    whole = [reference] if isinstance(reference, np.ndarray) else reference
    images = [image for image in whole if image.dtype != np.uint8 and image.size]
    low = min((float(image.min()) for image in images), default=0.0)
    high = max((float(image.max()) for image in images), default=255.0)

    def show(image: NDArray[Any]) -> NDArray[np.uint8]:
        if image.dtype != np.uint8:
            scaled = (image.astype(np.float64) - low) / (high - low or 1.0)
            image = np.clip(np.round(255 * scaled), 0, 255).astype(np.uint8)
        return in_colors(image)

    return show


def in_colors(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, C) as (H, W, 1 or 3), or with more than three channels as (C * H, W, 1)."""
    height, width, channels = image.shape
    if channels in (1, 3):
        return image
    if channels == 2:
        return np.concatenate([image, np.zeros_like(image[:, :, :1])], 2)
    return image.transpose(2, 0, 1).reshape(channels * height, width, 1)


def squared(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image (H, W, C) in the middle of a white square as large as its longer edge: rows of pictures are rows of squares."""
    height, width, channels = image.shape
    edge = max(height, width)
    if height == width:
        return image
    square = np.full((edge, edge, channels), 255, np.uint8)
    top, left = (edge - height) // 2, (edge - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def tiles(images: NDArray[Any], reference: NDArray[Any] | Iterable[NDArray[Any]]) -> NDArray[np.uint8]:
    """Pictures (K, E, E, 1 or 3), squares, of images (K, H, W, C); see `shower`."""
    show = shower(reference)
    return np.stack([squared(show(image)) for image in images])


def scatter(real: NDArray[Any], drawn: NDArray[Any] | None = None) -> NDArray[np.uint8]:
    """Points in one picture (EDGE, EDGE, 3): real ones grey, drawn ones red above them; what lies outside is on the border.

    The axes are those of the real points in every picture, so that pictures of generations can be compared.

    Args:
        real: (N, D), or (N, 1, 1, D) as stored.
        drawn: (M, D) likewise, or None.
    """
    real = real.reshape(len(real), -1).astype(np.float64)
    canvas = np.full((EDGE, EDGE, 3), BACKGROUND, np.float64)
    canvas[[0, -1]] = canvas[:, [0, -1]] = FRAME
    low, high = real.min(0), real.max(0)
    span = np.where(high > low, high - low, 1.0)
    low, span = low - MARGIN * span, (1 + 2 * MARGIN) * span
    for points, color in ((real, REAL), (drawn, DRAWN)):
        if points is None or not len(points):
            continue
        places = (points.reshape(len(points), -1).astype(np.float64) - low) / span
        places = np.clip((places * EDGE).astype(np.int64), 0, EDGE - 1)
        ink = _histogram(places[:, 0]) if real.shape[1] == 1 else _inked(places[:, 0], places[:, 1])
        canvas += ink[..., None] * (np.array(color) - canvas)
    return np.round(canvas).astype(np.uint8)


def _inked(across: NDArray[np.int64], up: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much ink each pixel has, from 0 to 1: more where more points lie."""
    counts = np.bincount((EDGE - 1 - up) * EDGE + across, minlength=EDGE * EDGE).reshape(EDGE, EDGE)
    if counts.max() < FEW:  # single pixels would hardly be seen: each point is a dot of nine
        wide = np.pad(counts, 1)
        counts = FEW * np.sum([wide[i : i + EDGE, j : j + EDGE] for i in range(3) for j in range(3)], axis=0)
    return 1 - np.power(1 - INK, counts.astype(np.float64))


def _histogram(across: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bars of which the highest is as high as the picture, less a margin."""
    counts = np.repeat(np.bincount(across // BAR, minlength=EDGE // BAR), BAR)
    heights = np.ceil((1 - MARGIN) * EDGE * counts / counts.max())
    return np.where(np.arange(EDGE)[::-1, None] < heights[None], 0.6, 0.0)
