"""When a generation's training has ended: now, or in an earlier run that was stopped afterwards."""

import json
from abc import abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from bootlight.clock import clock
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.processes import agree
from bootlight.published import published_weights
from bootlight.run_folder import GenerationContext, GenerationFolder, RunFolder
from bootlight.stopping import Stopped, leave_if_asked


class GenerationEnd(Callback):
    """A stage that follows training. Stages run in the order of the trainer's callbacks, and skip what is already done.

    Where nodes see one run folder, rank 0 writes; where each has its own, the first rank of each node does, so that every
    node can train on what the others have drawn.
    """

    context: GenerationContext | None = None

    def attach(self, context: GenerationContext) -> None:
        """Say which generation of which run this object serves; without it, generation 0 in the trainer's root folder."""
        self.context = context

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Serve a stock Trainer too."""
        if self.context is None:
            self.context = GenerationContext(RunFolder(Path(trainer.default_root_dir)), 0, 0)

    @abstractmethod
    def run(self, trainer: Trainer, module: GeneratorModule) -> None:
        """Do the stage's work, on every rank; may raise `Stopped`."""

    def writes(self, trainer: Trainer) -> bool:
        """Whether this rank writes into the run folder that it sees."""
        assert self.context is not None
        return (trainer.global_rank if self.context.shared else trainer.local_rank) == 0

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Training ended in an earlier run: its state is restored, `on_train_end` will not be called."""
        if self.restored_from_the_end(trainer):
            self._timed_run(trainer, pl_module)

    def restored_from_the_end(self, trainer: Trainer) -> bool:
        """Whether this fit skips training or resumed from `trained.ckpt`; that the file exists says nothing, it may be torn."""
        assert self.context is not None
        if trainer.fit_loop.max_epochs == 0:
            return True
        return trainer.ckpt_path is not None and Path(trainer.ckpt_path) == self.context.folder.trained_checkpoint

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Also called when `max_time` or a signal stopped training half-way: then it is not the end."""
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._timed_run(trainer, pl_module)

    def _timed_run(self, trainer: Trainer, module: GeneratorModule) -> None:
        assert self.context is not None
        for logger in trainer.loggers:
            logger.save()
        with suppress(Stopped):
            self.run(trainer, module)
        if not agree(self.context.folder.is_evaluated):  # else the scores are published first
            leave_if_asked()  # here all ranks wait for each other
        if trainer.is_global_zero:
            note_times(self.context.folder)


def skip_training(trainer: Trainer, module: GeneratorModule, folder: GenerationFolder) -> None:
    """Let the next `fit` do the stages that follow training only, with the weights that a generation has published.

    Raises:
        BootlightError: they are missing or damaged.
    """
    module.load_published(published_weights(folder))
    trainer.fit_loop.max_epochs = 0


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
