"""Whether images can have the shape that a user asks for."""

from bootlight.data.reader import ImageSet
from bootlight.errors import BootlightError
from bootlight.io.shape import PICTURE_CHANNELS, Shape, as_size


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
