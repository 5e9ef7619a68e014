"""Real handwritten digits that need no network: 1,797 grey images that come inside scikit-learn's package."""

from functools import cache

import numpy as np
from PIL import Image

from bootlight.data.origin import Origin
from bootlight.data.store import Store, store_from_arrays
from bootlight.io.shape import shape_of


class Digits(Origin):
    """Optical recognition of handwritten digits (Alpaydin and Kaynak 1998), ten classes.

    Args:
        image_size: edge in pixels, or [height, width]; other sizes than 8 are resized.
        channels: 1, the digits being grey; with more, all are equal.
    """

    name = "scikit-learn's digits"

    def __init__(self, image_size: int | list[int] = 8, channels: int = 1) -> None:
        self.shape = shape_of(image_size, channels, "data.origin.")

    def load(self) -> tuple[Store, Store | None]:
        """The digits."""
        return _digits(*self.shape), None


@cache
def _digits(channels: int, height: int, width: int) -> Store:
    from sklearn.datasets import load_digits  # 0.5 s to import

    data = load_digits()
    pictures = (Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)) for image in data.images)  # 17 grey levels
    resized = [np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC)) for picture in pictures]
    images = np.repeat(np.stack(resized)[..., None], channels, axis=3)
    names = tuple(f"digit {i}" for i in range(len(images)))
    return store_from_arrays(images, data.target.astype(np.int64), tuple("0123456789"), names)
