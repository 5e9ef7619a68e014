"""Who runs an arm: a record lock of the operating system, free again however its holder ends."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootlight.errors import BootlightError
from bootlight.io.record_lock import LOCK_NAME, try_lock

POLL_SECONDS = 0.05


@contextmanager
def claimed(lock: Path, run: Path) -> Iterator[bool]:
    """Try to become the one that runs an arm.

    Args:
        lock: file for it; its folder is created.
        run: folder of the run; its own lock says that a `bootlight fit` is at work there, perhaps of a worker that was killed.

    Yields:
        Whether this process is the one.

    Raises:
        BootlightError: the folder cannot be written, or its file system has no locks.
    """
    descriptor = _opened(lock)
    try:
        yield _taken(descriptor, lock) and not is_held(run / LOCK_NAME)
    finally:
        os.close(descriptor)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process is inside; for what takes a moment.

    Raises:
        BootlightError: the folder cannot be written, or its file system has no locks.
    """
    descriptor = _opened(lock)
    try:
        while not _taken(descriptor, lock):
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _opened(lock: Path) -> int:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BootlightError(f"cannot write {lock.parent}: {error.strerror or error}; choose another folder") from error


def is_held(lock: Path) -> bool:
    """Whether another process holds a lock; a file that is missing is held by nobody."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _taken(descriptor, lock)
    finally:
        os.close(descriptor)  # the lock that was taken goes with it


def _taken(descriptor: int, lock: Path) -> bool:
    try:
        return try_lock(descriptor)
    except OSError as error:
        raise BootlightError(
            f"{lock}: this file system has no locks ({error.strerror}); put the study's folder on one that has"
        ) from error
