"""Whether a run ended before all generations that were asked for: a file of its last one says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from bootlight.runs.folder import GenerationFolder


def decision_file(folder: GenerationFolder) -> Path:
    """Where a generation says whether another one follows: `{"ends": true}` and what else there is to say."""
    return folder.path / "early_stop.json"


def ends_run(folder: GenerationFolder) -> bool:
    """Whether no generation follows this one, though more may have been asked for.

    Raises:
        BootlightError: the file that says so is damaged.
    """
    file = decision_file(folder)
    if not file.exists():
        return False
    content = read_json(file)
    ends = content.get("ends") if isinstance(content, dict) else None
    if not isinstance(ends, bool):
        raise BootlightError(f"{file} does not say whether it ends the run; delete it and run the same command again")
    return ends
