"""What a picture's file says of it before it is decoded: its size, and what one program reads in another way than the next."""

import io
import struct
from collections import Counter, deque
from typing import NamedTuple

from PIL import ExifTags, Image

from bootlight.io.pictures import FORMATS
from bootlight.io.png_notes import without_notes

UPRIGHT = 1  # EXIF 2.32, tag 0x0112; 2 to 8 turn or mirror
PNG_METADATA = (b"eXIf", b"exif", b"XML:com.adobe.xmp")  # Pillow would decode a PNG without them to look behind its pixels


class Header(NamedTuple):
    """Of one picture.

    Attributes:
        width: in pixels, as stored.
        height: likewise.
        transparent: whether there is an alpha channel or a transparent colour, whether or not anything is hidden by it.
        turned: whether EXIF says that it is to be turned or mirrored.
        wide: whether it is grey of 16 bits.
    """

    width: int
    height: int
    transparent: bool
    turned: bool
    wide: bool


def read_header(data: bytes) -> Header | None:
    """The header of an encoded picture; None where there is none that can be read: decoding it tells why."""
    try:
        with Image.open(io.BytesIO(without_notes(data)), formats=FORMATS) as picture:
            width, height = picture.size
            return Header(width, height, picture.has_transparency_data, _is_turned(picture, data), picture.mode.startswith("I"))
    except (OSError, ValueError, SyntaxError, OverflowError, EOFError, struct.error, Image.DecompressionBombError, Warning):
        return None


def _is_turned(picture: Image.Image, data: bytes) -> bool:
    if picture.format == "PNG" and not any(mark in data for mark in PNG_METADATA):
        return False
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, UPRIGHT) in range(2, 9)
    except (OSError, ValueError, SyntaxError, struct.error):  # unreadable EXIF turns nothing
        return False


class Headers:
    """Headers of the pictures that a pass over all files, in several threads, holds in its hands anyway."""

    def __init__(self) -> None:
        self._found: deque[Header | None] = deque()  # threads may append at the same time

    def note(self, data: bytes) -> None:
        """Look at one encoded picture."""
        self._found.append(read_header(data))

    def counted(self) -> Counter[Header]:
        """How often each occurs."""
        return Counter(header for header in self._found if header is not None)
