"""A `.npy` file that is a set of images alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bootlight.data.left_out import LeftOut
from bootlight.data.reader_names import composed
from bootlight.io.arrays import sized_file


class OneFile:
    """A `.npy` file that stands alone.

    Args:
        root: which.
    """

    def __init__(self, root: Path) -> None:
        self.where = str(root)
        self.names = [composed(root.name)]
        self.left_out = LeftOut()
        self._root = root

    def size(self, name: str) -> int:
        """Bytes of the file."""
        return self._root.stat().st_size

    def read(self, name: str) -> bytes:
        """See `Files`."""
        return self._root.read_bytes()

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See `Files`."""
        with self._root.open("rb") as file:
            yield file

    def opened(self, name: str) -> tuple[IO[bytes], int]:
        """The file, to be closed by the caller, and its size in bytes.

        Raises:
            BootlightError: it cannot be read.
        """
        return sized_file(self._root, self.where)

    def close(self) -> None:
        """Nothing is held open."""
