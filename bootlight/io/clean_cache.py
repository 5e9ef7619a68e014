"""What of a cache goes: what is old, and what is beyond a limit."""

import time
from dataclasses import replace
from pathlib import Path

from bootlight.io.cache_entries import RECENT_SECONDS, Entry, entries, is_in_use, leftovers
from bootlight.io.cleaned import Thing

DAY = 24 * 3600
FREE = "within the limit"


def things_in(cache: Path, limit: int | None, older_than: float | None) -> list[tuple[Entry, Thing]]:
    """All of bootlight's own, in the order of their last use, and whether it goes.

    Args:
        cache: the folder.
        limit: bytes that may stay; None = all.
        older_than: days since the last use, beyond which a thing goes whatever the limit; None = whatever its age.
    """
    left = [(entry, _thing(entry, True, entry.what)) for entry in leftovers(cache)]
    found = [(entry, _judged(entry, older_than)) for entry in entries(cache)]
    total = sum(thing.size for _, thing in found if not thing.goes)
    for i, (entry, thing) in enumerate(found):
        if limit is not None and total > limit and not thing.goes and thing.why == FREE:
            found[i] = entry, replace(thing, goes=True, why=f"{entry.what}, beyond the limit")
            total -= thing.size
    return left + found


def _judged(entry: Entry, older_than: float | None) -> Thing:
    if entry.is_recent:
        return _thing(entry, False, f"used in the last {RECENT_SECONDS // 60} minutes")
    if is_in_use(entry):
        return _thing(entry, False, "in use")
    if older_than is not None and time.time() - entry.used > older_than * DAY:
        return _thing(entry, True, f"{entry.what}, not used for {older_than:g} days")
    return _thing(entry, False, FREE)


def _thing(entry: Entry, goes: bool, why: str) -> Thing:
    return Thing(entry.path, entry.size, entry.used, goes, why)
