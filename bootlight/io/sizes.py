"""Numbers of bytes as people write and read them."""

import re

from bootlight.errors import BootlightError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt]i?)?b?", re.ASCII)


def parse_size(text: str, key: str) -> int:
    """`20GB`, `1.5 GiB`, `500M` or a number of bytes; in any case.

    Args:
        text: what the user has written.
        key: of the setting, for the message.

    Raises:
        BootlightError: it is none of these.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise BootlightError(f"{key} is {text!r}, which is no size; write it as 20GB, 500MB or a number of bytes")
    return round(float(match[1]) * _UNITS[match[2] or ""])


def size_text(count: int) -> str:
    """Bytes in a unit of a thousand: `11.3 GB`."""
    value, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{count} bytes" if units[0] == "bytes" else f"{value:,.1f} {units[0]}"
