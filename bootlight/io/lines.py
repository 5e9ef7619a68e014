"""Files of one line for each image, read line by line: however many there are, one is in memory at a time."""

from collections.abc import Iterator
from typing import Protocol

from bootlight.errors import BootlightError

MAX_IMAGES = 10_000_000  # of a set or a generation; the lists of their names and hashes then take some gigabytes
MAX_LINE_BYTES = 2**20  # JSON needs up to 40 times its size in memory


class Readable(Protocol):
    """A file that is read line by line."""

    def readline(self, limit: int, /) -> bytes:
        """The next line, or as much as `limit` bytes of it; empty at the end."""


def short_lines(file: Readable, where: str, most: int = MAX_IMAGES) -> Iterator[tuple[str, bytes]]:
    """Where each line is, and its bytes with what ends it.

    Args:
        file: at its beginning.
        where: how messages call it.
        most: lines.

    Raises:
        BootlightError: there are more, or one has more than `MAX_LINE_BYTES`.
    """
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        here = f"{where} line {number}"
        if number > most:
            raise BootlightError(f"{where} has more than {most} lines; remove those that name no image, or split it")
        if len(line) > MAX_LINE_BYTES:
            raise BootlightError(f"{here} is longer than {MAX_LINE_BYTES} bytes; shorten it")
        yield here, line
