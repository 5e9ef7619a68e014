"""What a protocol tells of a part by itself."""

import json
from typing import Any


def settings_of(part: object) -> dict[str, Any]:
    """Public attributes that JSON can hold; others, such as tensors and networks, are no settings."""
    return {name: value for name, value in vars(part).items() if not name.startswith("_") and is_plain(value)}


def is_plain(value: Any) -> bool:
    """Whether JSON can hold a value."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
