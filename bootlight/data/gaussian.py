"""Real images of which everything is known: independent normal pixels, drawn from a seed; they need no files."""

import math
from functools import cache

import numpy as np

from bootlight.data.origin import Origin
from bootlight.data.store import Store, store_from_arrays
from bootlight.errors import check_range
from bootlight.io.shape import shape_of
from bootlight.rng import numpy_rng


class GaussianImages(Origin):
    """Pixels N(0, deviation^2), for loops whose outcome has a closed form.

    Args:
        image_size: edge in pixels, or [height, width].
        channels: of an image.
        count: number of images, held-out ones included.
        deviation: of a pixel; 0.2 is five deviations from black and white, so that next to nothing is clipped.
        image_seed: of the images.
        rounded: to grey levels, as pictures are; else float32 numbers, of which none is clipped.
    """

    def __init__(
        self,
        image_size: int | list[int] = 8,
        channels: int = 1,
        count: int = 2000,
        deviation: float = 0.2,
        image_seed: int = 0,
        rounded: bool = True,
    ) -> None:
        check_range("data.origin.count", count, 1)
        check_range("data.origin.deviation", deviation, 0, 1 if rounded else math.inf)
        self.shape = shape_of(image_size, channels, "data.origin.")
        self.count, self.deviation, self.image_seed = count, deviation, image_seed
        self.dtype = "uint8" if rounded else "float32"
        self.name = f"{count} images of normal pixels"

    def load(self) -> tuple[Store, Store | None]:
        """The images."""
        return _draw(self.count, self.shape, self.deviation, self.image_seed, self.dtype), None


@cache
def _draw(count: int, shape: tuple[int, int, int], deviation: float, seed: int, dtype: str) -> Store:
    channels, height, width = shape
    pixels = numpy_rng(seed, "gaussian images").normal(0, deviation, (count, height, width, channels))
    images = np.clip(np.round(127.5 * pixels + 127.5), 0, 255) if dtype == "uint8" else pixels
    return store_from_arrays(images.astype(dtype), names=[f"normal {i}" for i in range(count)])
