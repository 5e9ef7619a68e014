"""Sizes of images as people write them: the edge of a square, or height and width."""

from collections.abc import Sequence

from bootlight.errors import BootlightError, check_range

ImageSize = int | list[int]  # edge of square images, or [height, width]
Shape = tuple[int, int, int]  # (C, H, W)
PICTURE_CHANNELS = (1, 3)  # grey and RGB: what a PNG, JPEG or WebP file holds


def height_width(image_size: int | Sequence[int], key: str = "data.image_size") -> tuple[int, int]:
    """Height and width in pixels.

    Args:
        image_size: edge of a square, or [height, width].
        key: of the setting, for messages.

    Raises:
        BootlightError: it is neither, or an edge is below 1.
    """
    edges = [image_size, image_size] if isinstance(image_size, int) else list(image_size)
    if len(edges) != 2 or not all(type(edge) is int for edge in edges):
        raise BootlightError(f"{key} is {image_size}; give the edge of square images, or [height, width]")
    for edge in edges:
        check_range(key, edge, 1)
    return edges[0], edges[1]


def shape_of(image_size: int | Sequence[int], channels: int, section: str = "data.") -> Shape:
    """(C, H, W).

    Args:
        image_size: edge of a square, or [height, width].
        channels: 1 or more.
        section: of the two settings, for messages.

    Raises:
        BootlightError: no such image can be.
    """
    height, width = height_width(image_size, f"{section}image_size")
    check_range(f"{section}channels", channels, 1)
    return channels, height, width


def is_picture(shape: Shape, dtype: str) -> bool:
    """Whether images are written as pictures, PNG: grey or RGB of 8 bits. All others go into `.npy` files.

    Args:
        shape: (C, H, W).
        dtype: uint8 or float32.
    """
    return dtype == "uint8" and shape[0] in PICTURE_CHANNELS


def as_size(height: int, width: int) -> ImageSize:
    """The shortest way to write a size."""
    return height if height == width else [height, width]


def size_words(height: int, width: int) -> str:
    """`64 x 48`, width first, as sizes of pictures are told."""
    return f"{width} x {height}"
