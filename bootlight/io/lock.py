"""Locks of files, which end with the process that holds them, however it ends: nothing has to be deleted by hand.

They are the operating system's record locks: data loader workers do not inherit them, and NFS 4 has them between machines
too. The `filelock` that torch brings takes `flock` instead, which knows nothing of them: a run of an earlier version would not
be seen. Closing any descriptor of a file in a process gives up that process's lock on it.
"""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bootlight.errors import BootlightError

LOCK_NAME = ".lock"  # of the file, in the folder that is locked
POLL_SECONDS = 0.05
MOVE_STUDY = "put the study's folder on one that has"


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this process, unless another process has locked it.

    Args:
        descriptor: of a file that is open for writing.

    Returns:
        Whether this process holds the lock now.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def taken(descriptor: int, path: Path, cure: str) -> bool:
    """`try_lock`, where work must not go on without.

    Raises:
        BootlightError: the file system has no locks.
    """
    try:
        return try_lock(descriptor)
    except OSError as error:
        raise BootlightError(f"{path}: this file system has no locks ({error.strerror}); {cure}") from error


def is_still(path: Path, descriptor: int) -> bool:
    """Whether a path leads to the file that was opened; one that has just given up removes it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def sign(descriptor: int) -> None:
    """Write into a lock's file who holds it, for people."""
    os.ftruncate(descriptor, 0)
    with suppress(OSError):  # a full disk: the lock holds all the same, and what comes next says so
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def holder(descriptor: int) -> str:
    """Who holds it, in words."""
    return os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, on rank 0; the other processes of a run belong to it.

    Args:
        folder: of the run; must exist.

    Raises:
        BootlightError: another process holds it, or its file cannot be written.
    """
    from lightning.pytorch.utilities import rank_zero_only  # slow to import, and of use to a run only

    if getattr(rank_zero_only, "rank", 0) != 0:
        yield
        return
    path = folder / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BootlightError(
            f"bootstrap.run_dir: cannot write {path} ({error.strerror}); correct it or choose another folder"
        ) from error
    try:
        if not (taken(descriptor, path, "put --bootstrap.run_dir on one that has") and is_still(path, descriptor)):
            raise BootlightError(
                f"{folder} is in use by {holder(descriptor)}; wait until that run has ended, or give this one its own "
                "--bootstrap.run_dir"
            )
        sign(descriptor)
        try:
            yield
        except BaseException:
            if os.listdir(folder) == [LOCK_NAME]:  # refused before anything was written
                path.unlink()
            raise
    finally:
        os.close(descriptor)


@contextmanager
def claimed(lock: Path, run: Path) -> Iterator[bool]:
    """Try to become the one that runs an arm of a study.

    Args:
        lock: file for it; its folder is created.
        run: folder of the run; its own lock says that a `bootlight fit` is at work there, perhaps of a worker that was killed.

    Yields:
        Whether this process is the one.

    Raises:
        BootlightError: the folder cannot be written, or its file system has no locks.
    """
    with _opened(lock) as descriptor:
        yield taken(descriptor, lock, MOVE_STUDY) and not _is_held(run / LOCK_NAME)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process is inside; for what takes a moment.

    Raises:
        BootlightError: the folder cannot be written, or its file system has no locks.
    """
    with _opened(lock) as descriptor:
        while not taken(descriptor, lock, MOVE_STUDY):
            time.sleep(POLL_SECONDS)
        yield


@contextmanager
def _opened(lock: Path) -> Iterator[int]:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BootlightError(f"cannot write {lock.parent}: {error.strerror or error}; choose another folder") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)  # and with it goes the lock


def _is_held(lock: Path) -> bool:
    """Whether another process holds a lock; a file that is missing is held by nobody."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        return not taken(descriptor, lock, MOVE_STUDY)
    finally:
        os.close(descriptor)  # the lock that was taken goes with it
