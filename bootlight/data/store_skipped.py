"""Bad pictures that are left out because the user allows it: remembered, so that they are decoded once, and listed."""

import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json, write_bytes, write_json
from bootlight.io.cache_folder import can_keep

MAX_RECORD = 2**30  # bytes; a line for each bad picture
SHOWN = 5  # names in the line that is told


def known_bad(cache: Path, key: str, count: int) -> dict[int, str]:
    """What is wrong with pictures of a set that was decoded before, by position; empty where nothing is known."""
    try:
        found = {int(position): str(reason) for position, reason in read_json(cache / f"{key}.bad.json", MAX_RECORD).items()}
    except (BootlightError, OSError, ValueError, AttributeError):
        return {}
    return found if all(0 <= position < count for position in found) else {}


def keep_bad(cache: Path, key: str, bad: Mapping[int, str]) -> None:
    """Remember it, where the cache can be written."""
    if can_keep(cache):
        with suppress(BootlightError, OSError):
            write_json(cache / f"{key}.bad.json", {str(position): reason for position, reason in sorted(bad.items())})


def listing(skipped: Mapping[str, str]) -> str:
    """A line for each picture that was left out, with the reason."""
    return "".join(f"{name}\t{' '.join(reason.split())}\n" for name, reason in sorted(skipped.items()))


def tell_skipped(where: str, skipped: Mapping[str, str], count: int, cache: Path, key: str) -> None:
    """Warn that pictures were left out, and list them beside the decoded ones.

    Args:
        where: the set, as messages call it.
        skipped: the reasons, by name.
        count: pictures that are left.
        cache: of decoded images.
        key: of those that are left.
    """
    if not skipped:
        return
    path = cache / f"{key}.skipped.txt"
    kept = ""
    if can_keep(cache):
        with suppress(BootlightError, OSError):
            write_bytes(path, listing(skipped).encode(errors="backslashreplace"))
            kept = f"; all of them, with the reasons, in {path}"
    names = sorted(skipped)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    warnings.warn(
        f"{where}: {len(names)} of {count + len(names)} pictures cannot be used and are left out, as max_bad allows: "
        f"{', '.join(names[:SHOWN])}{more}{kept}",
        stacklevel=2,
    )
