"""Where decoded images, features and networks that were trained once are kept."""

import os
from pathlib import Path


def default_cache() -> Path:
    """$BOOTLIGHT_CACHE, else ~/.cache/bootlight."""
    return Path(os.environ.get("BOOTLIGHT_CACHE", "~/.cache/bootlight")).expanduser()
