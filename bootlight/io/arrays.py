"""Images as numbers in `.npy` files, (C, H, W) or (N, C, H, W): what is stored is what is meant, without any range or rounding.

The name of an image is that of its file, with `#` and its row where a file holds several: `00000.npy#00000007`.
"""

from __future__ import annotations

import io
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bootlight.errors import BootlightError

if TYPE_CHECKING:
    from bootlight.io.shape import Shape

SUFFIX = ".npy"
DTYPES = {"|u1": "uint8", "<f4": "float32"}
ROW_DIGITS = 8  # of the number of a row in a name, so that names are sorted as rows are
MAX_HEADER = 10_000  # bytes; NumPy's own limit
OPEN_FILES = 8  # held by a reader
_FAULTS = (ValueError, SyntaxError, TypeError, LookupError, RecursionError, MemoryError, OverflowError)


class ArrayHeader(NamedTuple):
    """What a file says of its numbers.

    Attributes:
        shape: (C, H, W) of an image.
        dtype: uint8 or float32.
        rows: images; None where the file is a single one, without an axis for them.
        offset: bytes before the numbers.
    """

    shape: Shape
    dtype: str
    rows: int | None
    offset: int

    @property
    def row_bytes(self) -> int:
        """Of one image."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def is_array(name: str) -> bool:
    """Whether the name ends like a file of numbers, in any case of letters."""
    return name.lower().endswith(SUFFIX)


def row_name(file: str, row: int) -> str:
    """Name of an image in a file of several."""
    return f"{file}#{row:0{ROW_DIGITS}d}"


def split_row(name: str) -> tuple[str, int | None]:
    """File of an image, and its row; None where the file is a single image, or a picture."""
    file, mark, row = name.rpartition("#")
    if not mark:  # nearly all
        return name, None
    return (file, int(row)) if is_array(file) and row.isascii() and row.isdecimal() and len(row) <= 18 else (name, None)


def sized_file(path: Path | str, name: str) -> tuple[IO[bytes], int]:
    """A file, to be closed by the caller, and its size in bytes.

    Raises:
        BootlightError: it cannot be read.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
        return file, os.fstat(file.fileno()).st_size
    except OSError as error:
        raise BootlightError(f"{name}: cannot be read ({error.strerror}); repair or remove it") from error


def read_header(file: IO[bytes], size: int, name: str) -> ArrayHeader:
    """What a `.npy` file holds; its numbers are not read.

    Args:
        file: at its beginning.
        size: of the file in bytes.
        name: how messages call it.

    Raises:
        BootlightError: it is no such file, holds numbers of another kind or in another order, or is longer or shorter than it
            says.
    """
    start = file.read(8)
    wide = start[6:7] != b"\x01"  # the header's own length has four bytes in versions 2 and 3
    length = file.read(4 if wide else 2)
    claimed = int.from_bytes(length, "little")
    if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00") or claimed > MAX_HEADER:
        raise BootlightError(f"{name}: not a .npy file; write it with numpy.save")
    header = start + length + file.read(claimed)
    try:
        found = _parsed(header)
    except _FAULTS as error:
        raise BootlightError(f"{name}: its header cannot be read ({error}); write it with numpy.save") from error
    if isinstance(found, str):
        raise BootlightError(f"{name}: {found}")
    if found.offset + (1 if found.rows is None else found.rows) * found.row_bytes != size:
        raise BootlightError(f"{name}: it is cut off, or not as long as it says; write it again")
    return found


@lru_cache(maxsize=64)
def _parsed(header: bytes) -> ArrayHeader | str:
    """What a header says, or what is wrong with it; many files have the same one."""
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, kind = read(file)
    if kind.str not in DTYPES:
        return f"its numbers are {kind.name or 'objects'} ({kind.str}); save them as float32 or uint8, of little-endian order"
    if by_columns:
        return "its numbers lie by columns; save numpy.ascontiguousarray of them"
    if len(shape) not in (3, 4) or min(shape[-3:]) < 1:
        return f"its shape is {shape}; images are (C, H, W) or (N, C, H, W), points (N, D, 1, 1)"
    channels, height, width = shape[-3:]
    return ArrayHeader((channels, height, width), DTYPES[kind.str], None if len(shape) == 3 else shape[0], len(header))


class ArrayReader:
    """Reads rows of `.npy` files; may be used from several threads.

    Args:
        opened: opens a file that can be positioned, and gives its size in bytes.
    """

    def __init__(self, opened: Callable[[str], tuple[IO[bytes], int]]) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[IO[bytes], ArrayHeader]] = OrderedDict()

    def header(self, file: str) -> ArrayHeader:
        """What a file holds; see `read_header`."""
        with self._lock:
            return self._find(file)[1]

    def read(self, name: str) -> bytes:
        """The numbers of an image, as they lie in the file: (C, H, W).

        Raises:
            BootlightError: the file cannot be read, or has no such row.
        """
        file, row = split_row(name)
        with self._lock:
            held, header = self._find(file)
            if (row is None) != (header.rows is None) or (row or 0) >= (header.rows or 1):
                raise BootlightError(f"{name}: {file} has no such image; it was changed meanwhile")
            try:
                held.seek(header.offset + (row or 0) * header.row_bytes)
                data = held.read(header.row_bytes)
            except OSError as error:
                raise BootlightError(f"{name}: cannot be read ({error.strerror}); repair or remove it") from error
        if len(data) != header.row_bytes:
            raise BootlightError(f"{name}: the file was cut off meanwhile; write it again")
        return data

    def _find(self, file: str) -> tuple[IO[bytes], ArrayHeader]:
        found = self._held.pop(file, None)
        if found is None:
            opened, size = self._opened(file)
            try:
                found = opened, read_header(opened, size, file)
            except (BootlightError, OSError) as error:
                opened.close()
                if isinstance(error, BootlightError):
                    raise
                raise BootlightError(f"{file}: cannot be read ({error.strerror}); repair or remove it") from error
        self._held[file] = found
        if len(self._held) > OPEN_FILES:
            _, (oldest, _) = self._held.popitem(last=False)
            oldest.close()
        return found

    def close(self) -> None:
        """Close what is held open."""
        with self._lock:
            for opened, _ in self._held.values():
                opened.close()
            self._held.clear()


def open_arrays() -> closing[ArrayReader]:
    """A reader of files by their paths, for a `with` block."""
    return closing(ArrayReader(lambda path: sized_file(path, path)))


def decode_array(data: bytes, name: str, *, shape: Shape, dtype: str) -> NDArray[np.uint8] | NDArray[np.float32]:
    """The numbers of one image as an array (H, W, C).

    Args:
        data: as they lie in the file, (C, H, W).
        name: how messages call it.
        shape: (C, H, W).
        dtype: uint8 or float32.

    Raises:
        BootlightError: a number is NaN or infinite.
    """
    image = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    if dtype == "float32" and not np.isfinite(image).all():
        raise BootlightError(f"{name}: it has numbers that are NaN or infinite; correct or remove it")
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def encode_array(images: NDArray[np.uint8] | NDArray[np.float32]) -> bytes:
    """A `.npy` file of images: (C, H, W), or (N, C, H, W)."""
    file = io.BytesIO()
    order = images.dtype.newbyteorder("<")
    np.lib.format.write_array(file, np.ascontiguousarray(images, order), version=(1, 0), allow_pickle=False)
    return file.getvalue()
