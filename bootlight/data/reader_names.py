"""Which files of a folder or a zip are looked at, and how their names are written."""

import unicodedata
from collections import Counter

from bootlight.errors import BootlightError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

LONG = ("metadata.jsonl", "metadata.csv")
MANIFESTS = (*LONG, "dataset.json")
# What file systems, network drives, archives and trackers put beside pictures, in lower case; besides what begins with
# a dot.
OF_PROGRAMS = frozenset(
    {
        *("__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder"),  # macOS
        *("$recycle.bin", "system volume information", "found.000", "thumbs.db", "desktop.ini"),  # Windows
        *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@__thumb"),  # Synology, QNAP
        *("lost+found", "lost.dir", "~snapshot"),  # Linux, Android, NetApp
        *("wandb", "lightning_logs", "mlruns", "__pycache__"),
    }
)
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


def is_long(name: str) -> bool:
    """Whether a file has a line for each image and is read line by line: it may have any size."""
    return name.rpartition("/")[2] in LONG


def is_hidden(part: str) -> bool:
    """Whether a part of a name says that not a person has put there what lies there, or does not mean to show it."""
    return part.startswith(".") or part.lower() in OF_PROGRAMS


def plain(name: str) -> str:
    """Relative name in NFC with forward slashes: on Windows, some programs write names with the other ones into a zip."""
    return composed(name.replace("\\", "/"))


def compose(found: list[str], spelled: dict[str, str], where: str) -> list[str]:
    """Plain names.

    Args:
        found: names as they are spelled in the container.
        spelled: takes the spelling of each name that differs from it.
        where: how messages call the container.

    Raises:
        BootlightError: two files or folders have one name then, or one leads out of the container.
    """
    names = list(map(plain, found))
    spelled |= {name: other for name, other in zip(names, found, strict=True) if name != other}
    if not spelled:
        return names
    for name in spelled:
        if name.startswith("/") or ".." in name.split("/"):
            raise BootlightError(f"{where}: the name {spelled[name]!r} leads out of it; rename that file")
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise BootlightError(
            f"{where} has two files {twice}, whose names differ in how their accents or slashes are stored; rename one"
        )
    folders: dict[str, str] = {}
    for name, other in zip(names, found, strict=True):
        folder, spelling = name.rpartition("/")[0], other.replace("\\", "/").rpartition("/")[0]
        if folders.setdefault(folder, spelling) != spelling:
            raise BootlightError(f"{where} has two folders {folder}, whose names differ in how accents are stored; rename one")
    return names
