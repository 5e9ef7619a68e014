"""How large a cache may become, and what goes when it is larger."""

import os
import shutil
import time
import warnings
from pathlib import Path

from bootlight.io.cache_entries import NETWORKS, entries, is_in_use, remove
from bootlight.io.sizes import parse_size, size_text

VARIABLE = "BOOTLIGHT_CACHE_LIMIT"
LEAST = 20 * 10**9
SHARE = 10  # of the disk
NONE = ("none", "off", "unlimited")


def cache_limit(cache: Path) -> int | None:
    """Bytes: $BOOTLIGHT_CACHE_LIMIT, else a tenth of the disk, and at least 20 GB; None = no limit.

    Raises:
        BootlightError: the variable is no size.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if text.lower() in NONE:
        return None
    if text:
        return parse_size(text, VARIABLE)
    place = cache.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return max(LEAST, shutil.disk_usage(place).total // SHARE)
    except OSError:
        return LEAST


def keep_below(limit: int | None, cache: Path) -> None:
    """Remove decoded images and features, those first that were not used for the longest time, until the rest fits.

    What is in use stays, and networks stay: they are small, and were trained.
    """
    if limit is None:
        return
    found = entries(cache)
    total = sum(entry.size for entry in found)
    removed = []
    for entry in found:
        if total <= limit:
            break
        if entry.what != NETWORKS and not entry.is_recent and not is_in_use(entry) and remove(entry):
            total -= entry.size
            removed.append(entry)
    if removed:
        freed = size_text(sum(entry.size for entry in removed))
        last = time.strftime("%Y-%m-%d %H:%M", time.localtime(removed[-1].used))
        warnings.warn(
            f"{cache}: {freed} in {len(removed)} of its entries, not used since {last}, "
            f"were removed to keep it below {size_text(limit)} ({VARIABLE}); what is needed again is decoded again",
            stacklevel=3,
        )
