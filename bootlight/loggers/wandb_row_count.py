"""How many rows W&B has of a run: online its server knows, offline its files, and what was noted of them."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json, write_json
from bootlight.loggers.wandb_files import next_row
from bootlight.runs.folder import RunFolder

NOTE = "wandb_rows.json"
WRITING_SECONDS = 10.0  # of W&B's own process, after it has said that it is done


class RowsKept:
    """Counts rows, and keeps a note in the run folder: files may be cleaned away after `wandb sync`, or lie elsewhere.

    Args:
        folder: the run folder; None = keep no note.
    """

    def __init__(self, folder: RunFolder | None) -> None:
        self.file = None if folder is None else folder.path / NOTE

    def at_start(self, run: Any) -> int:
        """Rows that W&B has of earlier starts.

        Args:
            run: a `wandb.Run` that has just begun.
        """
        rows: int = run.starting_step  # not 0 when W&B resumed the run online
        if run.offline:
            noted = self._noted(run.id)
            folders = {_folder(run), Path(noted.get("folder", _folder(run)))}
            rows = max(noted.get("rows", 0), *(next_row(folder, run.id) for folder in folders))
        self._note(run, rows)
        return rows

    def at_end(self, run: Any, logged: int) -> None:
        """Note what W&B has when it has finished.

        Args:
            run: a `wandb.Run` that has finished.
            logged: how many rows W&B was given.
        """
        rows = logged
        if run.offline:
            deadline = time.monotonic() + WRITING_SECONDS
            while (rows := next_row(_folder(run), run.id)) < logged and time.monotonic() < deadline:
                time.sleep(0.05)
            with suppress(OSError), open(run.settings.sync_file, "rb") as file:
                os.fsync(file.fileno())
        self._note(run, rows)

    def noted(self, run_id: str | None) -> int:
        """Rows that W&B is known to have, without asking."""
        rows: int = self._noted(run_id).get("rows", 0)
        return rows

    def _noted(self, run_id: str | None) -> dict[str, Any]:
        try:
            note = {} if self.file is None else read_json(self.file)
            of_this_run = note["id"] == run_id and isinstance(note["rows"], int) and isinstance(note["folder"], str)
        except (BootlightError, LookupError, TypeError):  # none yet, or nothing that was written here
            return {}
        return dict(note) if of_this_run else {}

    def _note(self, run: Any, rows: int) -> None:
        if self.file is not None:
            write_json(self.file, {"id": run.id, "rows": rows, "folder": str(_folder(run))})


def _folder(run: Any) -> Path:
    """Where W&B keeps a folder for each start."""
    return Path(run.dir).absolute().parent.parent
