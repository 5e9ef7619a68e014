"""Networks trained on the real images, kept for all runs that would train the same: arms of a study share one judge."""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bootlight
from bootlight.distributed.stopping import leave_if_asked
from bootlight.errors import BootlightError
from bootlight.io.atomic import read_weights, write_bytes
from bootlight.io.cache_entries import note_use, own_locks
from bootlight.io.cache_folder import tell_not_kept
from bootlight.io.lock import LOCK_NAME, try_lock
from bootlight.runs.environment import describe
from bootlight.terminal import say

POLL_SECONDS = 0.5
WHAT = "networks trained on real images"
SUFFIXES = (".json", ".safetensors")  # in this order: the weights declare a network complete


@contextmanager
def shared(file: Path, cache: Path, setting: dict[str, Any], *, wait: bool = True) -> Iterator[bool]:
    """Look for a trained network in the cache, and put it there when the block has trained it.

    What is found is bit for bit what training would give: the key is made of the name of the file, which stands for images and
    settings, of versions, hardware and number of threads, and of bootlight's own code. Only one process trains; the others
    wait for it, and go on themselves if it is killed.

    Args:
        file: weights in the run folder, `.safetensors`; what is found is copied to it, with its `.json` if there is one.
        cache: folder for such networks; any number of processes may share it.
        setting: what else decides the last bits, such as the precision.
        wait: for a process that is training the same; not where others would wait for this one.

    Yields:
        Whether it was found; if not, the block must write `file`.

    A cache that cannot be written costs a training next time, and a warning.

    Raises:
        SystemExit: this process was asked to stop while it waited.
    """
    folder = cache / _key(file.name, setting)
    kept = folder / file.name
    with _turn(folder, wait):
        found = _is_whole(kept)
        if found:
            _copy(kept, file)
            note_use(folder)
        yield found
        if not found and file.exists():
            try:
                _copy(file, kept)
            except BootlightError as error:
                tell_not_kept(cache.parent, WHAT, error)


def _key(name: str, setting: dict[str, Any]) -> str:
    parts = [name, describe(), setting, _code()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _code() -> str:
    """Hash of the package: a network that other code has trained may be another one."""
    digest = hashlib.sha256()
    for file in sorted(Path(bootlight.__file__).parent.rglob("*.py")):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _is_whole(file: Path) -> bool:
    try:
        read_weights(file, described=file.with_suffix(".json"))
    except BootlightError as error:  # it is trained again
        if file.exists():
            warnings.warn(f"{error}; it is trained again", stacklevel=2)
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    for suffix in SUFFIXES:
        if source.with_suffix(suffix).exists():
            write_bytes(target.with_suffix(suffix), source.with_suffix(suffix).read_bytes())


@contextmanager
def _turn(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the lock of a folder; where there are no locks or files cannot be made, all train, which is only a waste."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        tell_not_kept(folder.parent.parent, WHAT, error)
        yield
        return
    try:
        told = False
        while not _taken(descriptor) and wait:
            if not told:
                say(f"waiting for another run, which trains the same network ({folder.name[:8]})")
            told = True
            leave_if_asked()
            time.sleep(POLL_SECONDS)
        own_locks.add(folder / LOCK_NAME)
        yield
    finally:
        own_locks.discard(folder / LOCK_NAME)
        os.close(descriptor)  # and with it goes the lock


def _taken(descriptor: int) -> bool:
    try:
        return try_lock(descriptor)
    except OSError:  # no locks here: nobody is waited for
        return True
