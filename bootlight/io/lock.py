"""One run at a time on a run folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from bootlight.errors import BootlightError
from bootlight.io.record_lock import LOCK_NAME, is_still, try_lock


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, on rank 0; the other processes of a run belong to it.

    A record lock of the operating system: it ends with the process, however that ends, so nothing has to be
    deleted by hand; data loader workers do not inherit it; NFS 4 has it too. The file says who holds it, for people.

    Args:
        folder: of the run; must exist.

    Raises:
        BootlightError: another process holds it, or its file cannot be written.
    """
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
    with open(descriptor, "r+", encoding="utf-8") as file:
        try:
            taken = try_lock(file.fileno()) and is_still(path, file.fileno())
        except OSError as error:
            raise BootlightError(
                f"{path}: this file system has no locks ({error.strerror}); put --bootstrap.run_dir on one that has"
            ) from error
        if not taken:
            holder = file.read().strip() or "another process"
            raise BootlightError(
                f"{folder} is in use by {holder}; wait until that run has ended, or give this one its own --bootstrap.run_dir"
            )
        os.ftruncate(file.fileno(), 0)
        with suppress(OSError):  # a full disk: the lock holds all the same, and what comes next says so
            os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        try:
            yield
        except BaseException:
            if os.listdir(folder) == [LOCK_NAME]:  # refused before anything was written
                path.unlink()
            raise
