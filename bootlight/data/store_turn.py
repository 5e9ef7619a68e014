"""One process decodes, the others wait for it."""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bootlight.distributed.processes import in_group
from bootlight.distributed.stopping import leave_if_asked
from bootlight.io.cache_entries import own_locks
from bootlight.io.lock import holder, is_still, sign, try_lock

POLL_SECONDS = 0.1


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Be the one process that writes a folder of the cache; wait, with a line that says for whom, until no other does.

    The lock ends with its process, however that ends. Where there are no locks, or none can be made, nobody waits: all
    write, and what is written first stays.

    Args:
        folder: final place; whoever has waited must look whether it is there now.

    Raises:
        SystemExit: this process was asked to stop while it waited.
    """
    path = folder.with_name(f".{folder.name}.lock")
    if path in own_locks:  # of this process, which cannot wait for itself
        yield
        return
    descriptor = _waited_for(path)
    own_locks.add(path)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)  # and with it goes the lock
        own_locks.discard(path)


def _waited_for(path: Path) -> int | None:
    """The open file once this process has locked it; None where that is not possible."""
    told = False
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError:
            return None
        try:
            if try_lock(descriptor) and is_still(path, descriptor):
                sign(descriptor)
                return descriptor
            other = holder(descriptor)
        except OSError:
            os.close(descriptor)
            return None
        os.close(descriptor)
        if not told:
            warnings.warn(f"waiting for {other}, which decodes the same images", stacklevel=4)
        told = True
        if not in_group():  # there the others, which wait for this process, could not follow
            leave_if_asked()
        time.sleep(POLL_SECONDS)
