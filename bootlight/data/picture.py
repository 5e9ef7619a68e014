"""One picture as a set of images: a file, one that comes inside scikit-learn, or one that is computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from bootlight.data.origin import Origin
from bootlight.data.store import Store, store_from_arrays
from bootlight.errors import BootlightError, check_range
from bootlight.io.paths import expanded
from bootlight.io.pictures import decode_whole
from bootlight.io.shape import shape_of, size_words
from bootlight.rng import numpy_rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = ("china.jpg", "flower.jpg")  # both CC BY 2.0, by Ilker Gurcan and by dany13 (README of sklearn/datasets/images)


class OnePicture(Origin, ABC):
    """Images that are one picture, in RGB.

    A subclass gives `pixels`, (H, W, 3) uint8.

    Args:
        name: how messages call it.
        longest: its longer edge in pixels, to which a larger one is shrunk with antialiasing; None = as it is.
    """

    def __init__(self, name: str, longest: int | None = None) -> None:
        self.name, self.longest = name, longest
        if longest is not None:
            check_range(f"{type(self).__name__} longest", longest, 1)

    @property
    @abstractmethod
    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3), at its full size."""

    @cached_property
    def shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        """(3, H, W) of the picture, which is opened for that."""
        return 3, *self._size

    @property
    def _size(self) -> tuple[int, int]:
        height, width, _ = self.pixels.shape
        shrink = 1.0 if self.longest is None else min(1.0, self.longest / max(height, width))
        return max(1, round(shrink * height)), max(1, round(shrink * width))

    def load(self) -> tuple[Store, Store | None]:
        """A set of one image."""
        height, width = self._size
        pixels = self.pixels
        if pixels.shape[:2] != (height, width):
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
        return store_from_arrays(pixels[None], names=(self.name,)), None

    def class_names(self) -> tuple[str, ...]:
        """None."""
        return ()

    def told(self) -> list[str]:
        """The size of the picture, and of what it was made."""
        own, shrunk = self.pixels.shape[:2], self._size
        return [f"one picture of {size_words(*shrunk)} pixels" + (f", shrunk from {size_words(*own)}" if own != shrunk else "")]


class Picture(OnePicture):
    """A file: PNG, JPEG or WebP, turned upright, transparent parts on black, 16-bit grey scaled to 8 bits.

    Args:
        file: of the picture.
        longest: its longer edge in pixels, to which a larger one is shrunk with antialiasing; None = as it is.
    """

    def __init__(self, file: str, longest: int | None = None) -> None:
        super().__init__(file, longest)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """See `OnePicture`.

        Raises:
            BootlightError: there is no such file, or it is no such picture.
        """
        path = expanded(self.name)
        try:
            return decode_whole(path.read_bytes(), self.name)
        except OSError as error:
            raise BootlightError(f"data.origin: {self.name}: {error.strerror or error}; give the file of a picture") from error


class SamplePicture(OnePicture):
    """A photograph that comes inside scikit-learn, 640 x 427 pixels: a temple, or a flower; both CC BY 2.0.

    Args:
        picture: `china.jpg` or `flower.jpg`.
        longest: its longer edge in pixels, to which a larger one is shrunk with antialiasing; None = as it is.
    """

    def __init__(self, picture: Literal["china.jpg", "flower.jpg"] = "china.jpg", longest: int | None = 128) -> None:
        if picture not in SAMPLES:
            raise BootlightError(f"SamplePicture picture is {picture!r}; there are {' and '.join(SAMPLES)}")
        super().__init__(f"scikit-learn's {picture}", longest)
        self.picture = picture

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """See `OnePicture`."""
        from sklearn.datasets import load_sample_image  # 0.5 s to import

        return np.array(load_sample_image(self.picture), np.uint8)


class Lattice(OnePicture):
    """A texture that is computed: tiles of two colours in rows that are shifted against each other, each tile of its own shade.

    Args:
        size: edge of the square picture in pixels, or [height, width].
        tile: edge of a tile in pixels.
        seed: of the shades.
    """

    def __init__(self, size: int | list[int] = 96, tile: int = 8, seed: int = 0) -> None:
        super().__init__("a computed texture")
        _, self.height, self.width = shape_of(size, 3, "Lattice ")
        check_range("Lattice tile", tile, 2)
        self.tile, self.seed = tile, seed

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """See `OnePicture`."""
        rows, columns = np.mgrid[: self.height, : self.width]
        row = rows // self.tile
        column = (columns + (row % 2) * self.tile // 2) // self.tile
        inside = (rows % self.tile > 0) & ((columns + (row % 2) * self.tile // 2) % self.tile > 0)  # seams are dark
        shade = numpy_rng("lattice", self.seed).uniform(0.6, 1.0, (row.max() + 1, column.max() + 1))[row, column]
        colours = np.array([[196, 92, 60], [222, 184, 120]])[(row + column) % 2]
        return np.round(np.where(inside[..., None], colours * shade[..., None], 40)).astype(np.uint8)
