"""Sets of `.npy` files: every row is an image of its own, and all of them have one shape and one type."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING, NamedTuple

from bootlight.data.reader_names import is_image
from bootlight.errors import BootlightError
from bootlight.io.arrays import ArrayReader, is_array, row_name, split_row
from bootlight.io.lines import MAX_IMAGES

if TYPE_CHECKING:
    from bootlight.data.reader_files import ZipFiles
    from bootlight.data.reader_folder import FolderFiles
    from bootlight.data.reader_one import OneFile
    from bootlight.io.shape import Shape


class Numbers(NamedTuple):
    """What the images of a set have in common where they are numbers, not pictures.

    Attributes:
        shape: (C, H, W).
        dtype: uint8 or float32.
    """

    shape: Shape
    dtype: str


class ArrayFiles:
    """The rows of `.npy` files as if each were a file; manifests stay what they are.

    Args:
        files: the container.

    Raises:
        BootlightError: a file is no such one, or has images of another shape or type than the first; or there are too many.
    """

    def __init__(self, files: FolderFiles | ZipFiles | OneFile) -> None:
        self.where = files.where
        self.left_out = files.left_out
        self._files = files
        self._reader = ArrayReader(files.opened)
        arrays = sorted(filter(is_array, files.names))
        try:
            self.numbers, names = self._look(arrays)
        except BootlightError:
            self._reader.close()
            raise
        self.names = names + [name for name in files.names if not is_array(name)]

    def _look(self, arrays: list[str]) -> tuple[Numbers, list[str]]:
        names: list[str] = []
        found: Numbers | None = None
        for file in arrays:
            header = self._reader.header(file)
            numbers = Numbers(header.shape, header.dtype)
            if found is not None and numbers != found:
                raise BootlightError(
                    f"{self.where}: {file} has images {numbers.shape} of {numbers.dtype}, {arrays[0]} has {found.shape} of "
                    f"{found.dtype}; one set has one shape (C, H, W) and one type, take the others away"
                )
            found = numbers
            if len(names) + (header.rows or 1) > MAX_IMAGES:
                raise BootlightError(f"{self.where} has more than {MAX_IMAGES} images; split it")
            names += [file] if header.rows is None else [row_name(file, row) for row in range(header.rows)]
        assert found is not None
        return found, names

    def size(self, name: str) -> int:
        """Bytes that `read` will hold."""
        header = self._reader.header(split_row(name)[0])
        return header.row_bytes

    def read(self, name: str) -> bytes:
        """The numbers of an image, or the content of a manifest.

        Raises:
            BootlightError: it cannot be read.
        """
        return self._reader.read(name) if is_array(split_row(name)[0]) else self._files.read(name)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A manifest, to be read bit by bit."""
        return self._files.open(name)

    def close(self) -> None:
        """Close all."""
        self._reader.close()
        self._files.close()


def with_rows(files: FolderFiles | ZipFiles | OneFile) -> FolderFiles | ZipFiles | OneFile | ArrayFiles:
    """The container, or its rows where it has no pictures but `.npy` files."""
    return ArrayFiles(files) if any(map(is_array, files.names)) else files


def is_named_image(name: str) -> bool:
    """Whether a name is that of a picture, or of an image in a `.npy` file."""
    return is_image(name) or is_array(split_row(name)[0])


def described(numbers: Numbers) -> str:
    """`numbers (2, 1, 1) of float32`, in the line that says what is understood."""
    return f"numbers {numbers.shape} of {numbers.dtype}"
