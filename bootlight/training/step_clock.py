"""How much of training is spent in the steps themselves."""

import json
from contextlib import suppress
from typing import Any

from lightning.pytorch import Callback, Trainer

from bootlight.errors import BootlightError
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.timing import REST, clock


class StepClock(Callback):
    """Counts forward, backward, optimizer and average under one name, and everything between two steps apart.

    A GPU works on while the program prepares the next step: there all of training counts, but for what has a name of its own.

    Args:
        part: the name.
        folder: where the times are noted when training is left early; None = nowhere.
    """

    def __init__(self, part: str, folder: GenerationFolder | None = None) -> None:
        self.part = part
        self.folder = folder

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """A batch is there."""
        clock.switch(self.part)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The step is done, on a CPU; on other devices it has been asked for."""
        if trainer.strategy.root_device.type == "cpu":
            clock.switch(REST)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """What follows has names of its own."""
        clock.switch(REST)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Training, or a stage after it, is left early: the time was spent all the same."""
        clock.switch(REST)
        if self.folder is not None and trainer.is_global_zero:
            with suppress(BootlightError):  # the exception is the one to tell
                note_times(self.folder)


def note_times(folder: GenerationFolder) -> None:
    """Write down where the time went since this was last done; one process of a run does."""
    for part, seconds in clock.take().items():
        append_timing(folder, part, seconds)


def append_timing(folder: GenerationFolder, stage: str, seconds: float) -> None:
    """Note how long a stage took; not part of the results, so a plain append is enough.

    Raises:
        BootlightError: the file cannot be written.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        with open(folder.timing, "a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "seconds": round(seconds, 3)}) + "\n")
    except OSError as error:
        raise BootlightError(
            f"cannot write {folder.timing}: {error.strerror or error}; free space, then run the same command"
        ) from error
