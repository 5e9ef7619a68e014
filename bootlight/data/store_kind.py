"""Whether images can have the shape that a user asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootlight.data.reader_arrays import described
from bootlight.errors import BootlightError
from bootlight.io.shape import PICTURE_CHANNELS, as_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bootlight.data.contents import Contents
    from bootlight.data.reader import ImageSet
    from bootlight.io.shape import Shape


def check_kind(images: ImageSet, shape: Shape) -> None:
    """Pictures are grey or RGB, and are cut and resized; numbers have their shape.

    Args:
        images: a set.
        shape: (C, H, W) that is asked for.

    Raises:
        BootlightError: names the settings.
    """
    channels = shape[0]
    if images.numbers is None and channels not in PICTURE_CHANNELS:
        raise BootlightError(
            f"data.channels is {channels}, but {images.where} has pictures, which have 1 (grey) or 3 (RGB); images of other "
            "channels are read from .npy files"
        )
    if images.numbers is not None and images.numbers.shape != shape:
        found = images.numbers.shape
        raise BootlightError(
            f"{images.where} has images {found} in .npy files, which are not cut or resized; set data.image_size to "
            f"{as_size(*found[1:])} and data.channels to {found[0]}"
        )


def check_alike(sets: Sequence[tuple[str, Contents]]) -> None:
    """Several sets that are to be one are all of pictures, or all of numbers of one shape and type.

    Raises:
        BootlightError: names two that are not.
    """
    (first, contents), *others = sets
    for other, found in others:
        if found.images.numbers != contents.images.numbers:
            kinds = ["pictures" if n is None else described(n) for n in (contents.images.numbers, found.images.numbers)]
            raise BootlightError(f"{first} has {kinds[0]}, {other} has {kinds[1]}; one set is of one kind, leave one out")


def marked(shape: Sequence[int], images: ImageSet) -> Sequence[int | str]:
    """The part of a key that tells of shape and type."""
    return shape if images.numbers is None or images.numbers.dtype == "uint8" else [*shape, images.numbers.dtype]
