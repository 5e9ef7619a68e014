"""Before a run folder is read or written: nothing in it leads out of it."""

import os
from pathlib import Path

from bootlight.errors import BootlightError

MARKS = ("checkpoints", "train.jsonl", "metadata.jsonl", "00000")


def check_links(run: Path) -> None:
    """Refuse a run folder that holds links out of it, pipes or devices where bootlight reads or writes.

    With a folder that came from somewhere else, a report could otherwise quote any file of this machine, and a run that is
    continued overwrite it. The run folder itself may be a link.

    Args:
        run: the folder; one that is missing holds nothing.

    Raises:
        BootlightError: names what is wrong there.
    """
    root = Path(os.path.realpath(run))
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        parts = waiting.pop()
        for entry in _entries(root.joinpath(*parts)):
            if entry.is_symlink():
                # Not Path.resolve(), which refuses links that go round in a circle.
                if not Path(os.path.realpath(entry.path)).is_relative_to(root):
                    raise BootlightError(f"{entry.path} is a link that leaves {run}; put the file or folder itself there")
            elif entry.is_dir():
                waiting += [(*parts, entry.name)] * _is_ours(root, *parts, entry.name)
            elif not entry.is_file():
                raise BootlightError(f"{entry.path} is neither a file nor a folder; remove it")


def _is_ours(root: Path, folder: str, *below: str) -> bool:
    """Whether bootlight reads or writes in a folder; others, as those of a tracker, may hold what they like."""
    if not folder.startswith("gen_"):
        return folder == "references" and not below
    if not below or below[0] in ("checkpoints", "samples"):
        return True
    return any(os.path.lexists(root / folder / below[0] / mark) for mark in MARKS)  # of a part, of a folder of images


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BootlightError(f"{folder} cannot be listed ({error.strerror}); correct it") from error
