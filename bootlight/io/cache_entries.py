"""What of a cache is bootlight's own: each entry with its size and its last use, and how it is removed.

Entries are known by their names and by all that lies in them; what anybody else has put into a cache stays, and so do the
Inception weights, which only a network could bring back. Symbolic links are not followed.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bootlight.io.lock import LOCK_NAME, try_lock
from bootlight.io.owner import owner_lives, temporary_name

RECENT_SECONDS = 600  # what was used since is in use
LEFTOVER_SECONDS = 24 * 3600  # after which a thing is taken for abandoned, where nobody knows its process or there are no locks
STORES, FEATURES, NETWORKS, LISTS = "decoded images", "features", "trained networks", "lists of bad pictures"
FOLDERS = ("features", "judges", "classifiers")
HALF, LOCKS = "half-written", "locks of killed processes"
own_locks: set[Path] = set()  # that this process holds: to look at one would give it back
_KEY = "[0-9a-f]{64}"
_STORE_FILES = {"images.npy", "labels.npy", "store.json"}
_LIST = re.compile(rf"{_KEY}\.(bad\.json|skipped\.txt)")
_FEATURES = re.compile(rf"{_KEY}\.safetensors")
_HALF = re.compile(rf"\.({_KEY}|judge|classifier).*\.[0-9a-f-]+\.tmp", re.DOTALL)
_LOCK = re.compile(rf"\.{_KEY}\.lock")
_NETWORK_FILE = re.compile(r"[\w.-]+\.(json|safetensors)")


@dataclass(frozen=True)
class Entry:
    """One thing that can be removed by itself.

    Args:
        path: file or folder.
        what: kind, in words.
        size: bytes of all its files.
        used: seconds since 1970, when it was written or read last.
    """

    path: Path
    what: str
    size: int
    used: float

    @property
    def is_recent(self) -> bool:
        """Whether it was used a moment ago; times of a clock that runs ahead count as now."""
        return time.time() - self.used < RECENT_SECONDS


def entries(cache: Path) -> list[Entry]:
    """All that is whole, the least recently used first."""
    found = [*_in_root(cache), *_in_features(cache / "features")]
    for name in FOLDERS[1:]:
        found += [
            _entry(item, NETWORKS)
            for item in _listed(cache / name)
            if re.fullmatch(_KEY, item.name) and _holds(item, lambda name: name == LOCK_NAME or _NETWORK_FILE.fullmatch(name))
        ]
    return sorted(found, key=lambda entry: entry.used)


def _in_root(cache: Path) -> Iterator[Entry]:
    for item in _listed(cache):
        if _LIST.fullmatch(item.name) and item.is_file(follow_symlinks=False):
            yield _entry(item, LISTS)
        elif re.fullmatch(_KEY, item.name) and _holds(item, _STORE_FILES.__contains__):
            yield _entry(item, STORES)


def _in_features(folder: Path) -> Iterator[Entry]:
    for item in _listed(folder):
        if _FEATURES.fullmatch(item.name) and item.is_file(follow_symlinks=False):
            yield _entry(item, FEATURES)


def leftovers(cache: Path) -> list[Entry]:
    """What processes that were killed have left half-written, and their locks."""
    folders = [cache, *(cache / name for name in FOLDERS)]
    folders += [Path(item.path) for name in FOLDERS[1:] for item in _listed(cache / name) if _is_folder(item)]
    items = [item for folder in folders for item in _listed(folder)]
    half = [_entry(item, HALF) for item in items if _HALF.fullmatch(item.name) and not item.is_symlink()]
    locks = [_entry(item, LOCKS) for item in items if _LOCK.fullmatch(item.name) and item.is_file(follow_symlinks=False)]
    return [entry for entry in half if _is_abandoned(entry)] + [entry for entry in locks if not _is_held(entry.path)]


def remove_leftovers(cache: Path) -> None:
    """Remove them."""
    for entry in leftovers(cache):
        remove(entry)


def remove(entry: Entry) -> bool:
    """Remove an entry, unless it is in use; a kill in the middle leaves something half-written, which the next one removes."""
    if entry.what == LOCKS:
        return _with_lock(entry.path, entry.path.unlink)
    if not os.path.isdir(entry.path):
        with suppress(OSError):
            entry.path.unlink()
        return not os.path.lexists(entry.path)
    if entry.what == HALF:
        shutil.rmtree(entry.path, ignore_errors=True)
        return not os.path.lexists(entry.path)
    aside = entry.path.with_name(temporary_name(entry.path.name))
    if not (_rename_store if entry.what == STORES else _rename_network)(entry.path, aside):
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return not os.path.lexists(aside)


def note_use(path: Path) -> None:
    """Let the time of a file or folder be that of its last use; what was not used for the longest time is removed first."""
    with suppress(OSError):  # a cache that is only read
        os.utime(path)


def hold(file: int) -> None:
    """Let a file of decoded images be known as in use, for as long as it is open or mapped, by whatever process."""
    with suppress(OSError):  # no locks here: the time of the last use protects it
        fcntl.flock(file, fcntl.LOCK_SH)


def is_in_use(entry: Entry) -> bool:
    """Whether another part of this process, or another process, has it open."""
    if entry.what == STORES:
        try:
            with open(entry.path / "images.npy", "r+b") as file:  # NFS locks alone only what may be written
                alone = _try_flock(file.fileno())
        except FileNotFoundError:
            return False
        except OSError:  # somebody else's, so that nobody can know
            return True
        return time.time() - entry.used < LEFTOVER_SECONDS if alone is None else not alone
    return entry.what == NETWORKS and _is_held(entry.path / LOCK_NAME)


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder; nothing where that is missing, a link, or cannot be read."""
    try:
        if folder.is_symlink() and folder.name in FOLDERS:
            return []
        with os.scandir(folder) as items:
            return list(items)
    except OSError:
        return []


def _is_folder(item: os.DirEntry[str]) -> bool:
    return item.is_dir(follow_symlinks=False)


def _holds(item: os.DirEntry[str], is_ours: Callable[[str], object]) -> bool:
    """Whether it is a folder of files with such names, and nothing else."""
    return _is_folder(item) and all(
        inner.is_file(follow_symlinks=False) and is_ours(inner.name) for inner in _listed(Path(item.path))
    )


def _entry(item: os.DirEntry[str], what: str) -> Entry:
    size, used = 0, 0.0
    for part in [item, *(_listed(Path(item.path)) if _is_folder(item) else ())]:
        with suppress(OSError):  # another process removes it
            status = part.stat(follow_symlinks=False)
            size += 0 if part.is_dir(follow_symlinks=False) else status.st_size
            used = max(used, status.st_mtime)
    return Entry(Path(item.path), what, size, used)


def _is_abandoned(entry: Entry) -> bool:
    lives = owner_lives(entry.path.name)
    return not lives if lives is not None else time.time() - entry.used > LEFTOVER_SECONDS


def _rename_store(folder: Path, aside: Path) -> bool:
    try:
        with open(folder / "images.npy", "r+b") as file:
            if _try_flock(file.fileno()) is False:
                return False
            os.rename(folder, aside)
    except FileNotFoundError:  # another process is faster, or it is damaged
        with suppress(OSError):
            os.rename(folder, aside)
        return aside.exists()
    except OSError:
        return False
    return True


def _rename_network(folder: Path, aside: Path) -> bool:
    lock = folder / LOCK_NAME
    return _with_lock(lock, lambda: os.rename(folder, aside)) if lock.exists() else _done(lambda: os.rename(folder, aside))


def _try_flock(file: int) -> bool | None:
    """Whether nobody holds a file; None where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _with_lock(lock: Path, action: Callable[[], object]) -> bool:
    """Do something while nobody else has the lock; whether it was done."""
    if lock in own_locks:
        return False
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return _taken(descriptor) and _done(action)
    finally:
        os.close(descriptor)


def _is_held(lock: Path) -> bool:
    if lock in own_locks:
        return True
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # somebody else's
    try:
        return not _taken(descriptor)
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        return try_lock(descriptor)
    except OSError:  # no locks here
        return True


def _done(action: Callable[[], object]) -> bool:
    try:
        action()
    except OSError:
        return False
    return True
