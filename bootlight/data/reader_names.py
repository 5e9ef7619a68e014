"""Which files of a folder or a zip are looked at, and how their names are written."""

import unicodedata
from collections import Counter

from bootlight.errors import BootlightError
from bootlight.images import SUFFIXES

MANIFESTS = ("metadata.jsonl", "metadata.csv", "dataset.json")
MAX_FILE_BYTES = 256 * 2**20  # larger than any picture of images.MAX_PIXELS pixels; also of a zip's directory


def composed(text: str) -> str:
    """Unicode's form NFC: file systems and archives write one accented letter as one character or as two."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_image(name: str) -> bool:
    """Whether the name ends like a picture, in any case of letters."""
    return name.lower().endswith(SUFFIXES)


def is_wanted(name: str) -> bool:
    """Whether a file is a picture or a manifest."""
    return is_image(name) or name.rpartition("/")[2] in MANIFESTS


def is_hidden(part: str) -> bool:
    """Whether a part of a name says that people do not mean to show what lies there."""
    return part.startswith(".") or part == "__MACOSX"


def compose(found: list[str], spelled: dict[str, str], where: str) -> list[str]:
    """Names in NFC.

    Args:
        found: names as they are spelled in the container.
        spelled: takes the spelling of each name that differs from it.
        where: how messages call the container.

    Raises:
        BootlightError: two files have one name then.
    """
    names = []
    for name in found:
        plain = composed(name)
        names.append(plain)
        if plain != name:
            spelled[plain] = name
    if spelled and len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise BootlightError(f"{where} has two files {twice}, whose names differ in how their accents are stored; rename one")
    return names
