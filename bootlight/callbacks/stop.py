"""Stopping in the middle of a training, at a state from which it continues exactly."""

from typing import Any

from lightning.pytorch import Callback, Trainer

from bootlight.callbacks.checkpoints import check_finite, log_step, step_is_done
from bootlight.processes import in_group
from bootlight.run_folder import GenerationFolder
from bootlight.stopping import leave_if_asked, stop_request

STEPS_BETWEEN_TALKS = 10  # processes ask each other whether to stop: a round trip, and on a GPU a synchronisation


class StopBetweenSteps(Callback):
    """Saves the state of training and ends the program when that was asked for.

    It also takes the place of Lightning's signal handlers, of which one starts a collective in the middle of whatever the
    process is doing, and another saves and requeues in a way of its own.

    Args:
        folder: of the generation; None where nothing is to be saved.
    """

    def __init__(self, folder: GenerationFolder | None) -> None:
        self.folder = folder

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Lightning would register its handlers soon after, and keep them while it makes ready for the first step."""
        trainer._signal_connector.register_signal_handlers = stop_request.listen  # type: ignore[method-assign]

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Between two optimizer steps, the same two on all ranks; after the last one the next stages look themselves."""
        if not step_is_done(trainer, batch_idx) or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return  # a gradient waits for more batches, or the state would say that the generation is complete
        steps = (batch_idx + 1) // trainer.accumulate_grad_batches
        if not in_group() or steps % STEPS_BETWEEN_TALKS == 0:
            leave_if_asked(lambda: self._save(trainer))

    def _save(self, trainer: Trainer) -> None:
        if self.folder is not None:
            check_finite(trainer.lightning_module, self.folder)
            log_step(trainer)
            trainer.save_checkpoint(self.folder.checkpoints / "last.ckpt")
