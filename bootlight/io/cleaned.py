"""Things that `bootlight clean` removes or keeps, and why."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Thing:
    """A file or folder.

    Args:
        path: of it.
        size: bytes.
        used: seconds since 1970, its last use.
        goes: whether it is to be removed.
        why: it is, or is not.
    """

    path: Path
    size: int
    used: float
    goes: bool
    why: str
