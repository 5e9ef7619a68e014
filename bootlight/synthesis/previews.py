"""Pictures of what is drawn, for people: images side by side, or all points in one."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bootlight.data.mixing import Source
from bootlight.generators.base import GeneratorModule
from bootlight.io.atomic import write_bytes
from bootlight.io.pictures import encode_png, row_of_tiles, to_arrays
from bootlight.io.shape import is_picture
from bootlight.io.shown import is_points, scatter, tiles
from bootlight.synthesis.written import Written, as_numbers


def shows_points(generator: GeneratorModule) -> bool:
    """Whether what it draws is shown as points, all of them in one picture."""
    return is_points(generator.image_shape) and not is_picture(generator.image_shape, generator.image_dtype)


def some(real: Source | None, count: int | None = None) -> NDArray[Any] | None:
    """The first real images in use (n, H, W, C); None where nobody knows them."""
    return None if real is None else np.asarray(real.store.images)[real.indices[:count]]


def write_previews(path: Path, images: torch.Tensor, dtype: str = "uint8", reference: NDArray[Any] | None = None) -> None:
    """Write images side by side into one picture, each in a square; see `io.shown` for what is shown of numbers.

    Args:
        path: of the PNG.
        images: float (B, C, H, W).
        dtype: of the data.
        reference: real images (n, H, W, C), by whose range float data are shown; without them by their own.
    """
    arrays: NDArray[Any] = to_arrays(images) if dtype == "uint8" else as_numbers(images)
    write_bytes(path, encode_png(row_of_tiles(tiles(arrays, arrays if reference is None else reference))))


def write_scatter(path: Path, written: Written, count: int, real: NDArray[Any] | None = None) -> None:
    """Write a picture of all real points and all that a folder has.

    Args:
        path: of the PNG.
        written: the folder, with all points.
        count: points in it.
        real: (N, 1, 1, D).
    """
    drawn = written.read(range(count)).flatten(1).numpy()
    write_bytes(path, encode_png(scatter(drawn, drawn) if real is None else scatter(real, drawn)))
