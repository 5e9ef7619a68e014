"""Training curves of one generation as JSON lines that survive a kill."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from bootlight.errors import BootlightError

FLUSH_SECONDS = 1.0
FLUSH_LINES = 50


class HistoryLogger(Logger):
    """Append scalars to a file of JSON lines: ``{"step": 100, "train/loss": 0.12}``.

    A line reaches the file system with the next line that comes a second or 50 lines after the last flush, or when the
    fit ends. Only rank 0 writes. After a kill the same object or a new one goes on at the end of the file: steps since
    the last checkpoint then stand twice, and `read_history` takes the later line. A resumed run repeats every step of
    the one that was killed, so no point of the abandoned attempt survives it.

    Args:
        path: file to append to; its folder is created.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._file: IO[str] | None = None
        self._flushed_at = 0.0
        self._waiting = 0
        self._last_line = ""

    @property
    def name(self) -> str:
        """Name of the logger; Lightning asks for one."""
        return "history"

    @property
    def version(self) -> str:
        """Lightning would number versions; here a run has one file for each generation."""
        return ""

    @property
    def save_dir(self) -> str:
        """Folder of the file."""
        return str(self.path.parent)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run folder holds the resolved configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one line.

        Args:
            metrics: scalars by name; `epoch`, which Lightning adds, is left out: a generation is one epoch.
            step: training step within the generation, required.

        Raises:
            BootlightError: `step` is missing, or the file cannot be written.
        """
        if step is None:
            raise BootlightError(f"{self.path}: metrics were logged without a step; pass step= to log_metrics")
        line = json.dumps({"step": step} | {key: float(value) for key, value in metrics.items() if key != "epoch"})
        if line == self._last_line:  # a checkpoint had it written before Lightning logs it
            return
        with self._errors_named():
            self._open().write(line + "\n")
            self._last_line = line
            self._waiting += 1
            if self._waiting >= FLUSH_LINES or time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
                self._flush()

    @rank_zero_only
    def save(self) -> None:
        """Write what is waiting: the stages after training read the file.

        Raises:
            BootlightError: the file cannot be written.
        """
        if self._file is not None:
            with self._errors_named():
                self._flush()

    @rank_zero_only
    def sync(self) -> None:
        """Write what is waiting to the disk itself: no checkpoint is to outlast a power cut without the lines before it.

        Raises:
            BootlightError: the file cannot be written.
        """
        self.save()
        if self._file is not None:
            with self._errors_named():
                os.fsync(self._file.fileno())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is waiting and close the file; a later `log_metrics` opens it again.

        Args:
            status: `failed` when an error is on its way; one of closing the file would hide it.

        Raises:
            BootlightError: the file cannot be written, and nothing else has failed.
        """
        if self._file is None:
            return
        file, self._file, self._last_line = self._file, None, ""
        try:
            with self._errors_named():
                file.close()
        except BootlightError:
            if status != "failed":
                raise

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BootlightError(f"cannot write {self.path}: {error.strerror or error}; free space and run again") from error

    def _open(self) -> IO[str]:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torn = not _ends_with_newline(self.path)
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - stays open over many calls
            self._flushed_at = time.monotonic()
            if torn:
                self._file.write("\n")
        return self._file

    def _flush(self) -> None:
        self._open().flush()
        self._waiting = 0
        self._flushed_at = time.monotonic()


def _ends_with_newline(path: Path) -> bool:
    """Whether a line appended now would start on a line of its own."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    with open(path, "rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
