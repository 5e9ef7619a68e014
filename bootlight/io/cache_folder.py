"""Where decoded images, features and networks that were trained once are kept. It saves time; no result depends on it."""

import atexit
import os
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path

from bootlight.errors import BootlightError
from bootlight.io.paths import expanded

FORMER = "~/.cache/bootlight"
_told: set[Path] = set()


def default_cache() -> Path:
    """$BOOTLIGHT_CACHE, else `home_cache`; an empty variable is as none."""
    named = os.environ.get("BOOTLIGHT_CACHE", "").strip()
    return expanded(named) if named else home_cache()


def home_cache() -> Path:
    """$XDG_CACHE_HOME/bootlight where that is a whole path, as its specification wants it, else ~/.cache/bootlight.

    Where only the latter is there, it is used: earlier versions knew no other.
    """
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    if not os.path.isabs(base):
        return expanded(FORMER)
    place = Path(base, "bootlight")
    try:
        former = expanded(FORMER)
    except BootlightError:  # nobody knows the home folder
        return place
    return former if former.is_dir() and not place.is_dir() else place


def can_keep(folder: Path) -> bool:
    """Whether nothing is known against a cache; after a full disk nobody tries it again."""
    return folder not in _told


@cache
def temporary_cache() -> Path:
    """A folder that takes the place of a cache that cannot be used; gone when this process ends.

    Raises:
        BootlightError: there is no place for it either.
    """
    try:
        folder = tempfile.mkdtemp(prefix="bootlight-cache-")
    except OSError as error:
        raise BootlightError(
            f"there is no room for decoded images: {error.strerror or error}; set data.cache (--cache, BOOTLIGHT_CACHE) or "
            "TMPDIR to a folder that can be written"
        ) from error
    atexit.register(_remove, folder, os.getpid())
    return Path(folder)


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # not in workers that were forked
        shutil.rmtree(folder, ignore_errors=True)


def tell_not_kept(folder: Path, what: str, error: Exception) -> None:
    """Warn, once for each cache, that it cannot be used: what it would save is done anew each time.

    Args:
        folder: the cache.
        what: that is not kept, such as `features`.
        error: why.
    """
    if folder not in _told:
        _told.add(folder)
        reason = getattr(error.__cause__ or error, "strerror", None) or error
        warnings.warn(
            f"{what} are not kept: {folder} cannot be used ({reason}); the results are the same, but all is done anew each "
            "time; set data.cache (--cache, BOOTLIGHT_CACHE) to a folder that can be written",
            stacklevel=2,
        )
