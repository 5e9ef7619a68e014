"""Folders that are whole or absent: written under a temporary name, renamed; several processes may write the same one."""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bootlight.errors import BootlightError
from bootlight.io.arrays import DTYPES
from bootlight.io.atomic import file_sha256
from bootlight.io.cache_entries import hold
from bootlight.io.owner import temporary_name

_checked: set[tuple[Path, int, int, int]] = set()


def publish_folder(folder: Path, write: Callable[[Path], None], is_whole: Callable[[Path], bool]) -> None:
    """Have a folder written and move it to its place.

    Where another process has put the same folder there meanwhile, that one stays, and this one is thrown away.

    Args:
        folder: final place; its parent is created.
        write: fills an empty folder, every file flushed to disk.
        is_whole: whether what lies at the final place is complete; if not, it is replaced.

    Raises:
        BootlightError: the parent cannot be written.
    """
    temporary = folder.with_name(temporary_name(folder.name))
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        while not _rename(temporary, folder) and not is_whole(folder):
            _move_away(folder)
    except OSError as error:
        raise BootlightError(
            f"cannot write {folder.parent}: {error.strerror or error}; set data.cache to a folder that can be written"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(source: Path, target: Path) -> bool:
    """Rename a folder; False if a folder that is not empty is in the way."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _move_away(folder: Path) -> None:
    """Delete a damaged folder, renaming it first: who has a file of it open keeps it, and nobody sees half of it."""
    damaged = folder.with_name(temporary_name(folder.name))
    with suppress(FileNotFoundError):  # another process did it
        os.rename(folder, damaged)
    shutil.rmtree(damaged, ignore_errors=True)


def mapped(path: Path) -> "np.memmap[Any, np.dtype[Any]]":
    """The images of a store, (N, H, W, C) uint8 or float32, read-only; as long as they are mapped, nobody removes them.

    Raises:
        ValueError: the file is cut off, or holds something else.
    """
    with open(path, "rb") as file:
        hold(file.fileno())  # the map keeps it
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{path.name} is of another format")
        shape, by_columns, kind = np.lib.format.read_array_header_1_0(file)
        if by_columns or kind.str not in DTYPES:
            raise ValueError(f"{path.name} holds something else than images")
        return np.memmap(file, kind, "r", file.tell(), shape)  # a ValueError if the file is shorter


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 of the arrays of a store, by file."""
    return {path.name: file_sha256(path) for path in sorted(folder.glob("*.npy"))}


def check_sums(folder: Path, about: dict[str, Any]) -> None:
    """Compare the files of a store with their checksums, once in a process as long as they do not change.

    Raises:
        ValueError: one is another, or earlier versions have written no checksum.
    """
    if "sha256" not in about:
        raise ValueError("it has no checksums, as an earlier version left it")
    for name in ("images.npy", "labels.npy"):
        path = folder / name
        status = path.stat()
        mark = (path, status.st_size, status.st_mtime_ns, status.st_ino)
        if mark in _checked:
            continue
        if file_sha256(path) != about["sha256"][name]:
            raise ValueError(f"{name} was changed")
        _checked.add(mark)
