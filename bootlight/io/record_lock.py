"""Record locks of the operating system: they end with the process that holds them, however it ends; NFS 4 has them too."""

import errno
import fcntl
import os
from pathlib import Path

LOCK_NAME = ".lock"  # of the file, in the folder that is locked


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this process, unless another process has locked it.

    Closing any descriptor of the file in this process gives the lock back.

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


def is_still(path: Path, descriptor: int) -> bool:
    """Whether a path leads to the file that was opened; one that has just given up removes it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
