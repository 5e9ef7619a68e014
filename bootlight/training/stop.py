"""Stopping in the middle of a training, at a state from which it continues exactly."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Timer

from bootlight.compat import is_last_batch, listen_instead
from bootlight.distributed.processes import in_group
from bootlight.distributed.stopping import leave_if_asked, stop_request
from bootlight.runs.folder import GenerationFolder
from bootlight.training.checkpoints import check_finite, log_step, step_is_done

STEPS_BETWEEN_TALKS = 10  # processes ask each other whether to stop: a round trip, and on a GPU a synchronisation


class StopBetweenSteps(Callback):
    """Saves the state of training and ends the program when that was asked for.

    It also takes the place of Lightning's signal handlers, of which one starts a collective in the middle of whatever the
    process is doing, and another saves and requeues in a way of its own.

    A callback that sets `trainer.should_stop` asks too. Lightning would leave the epoch there and then, at a state that says
    that it is complete; that must be kept from it (`min_epochs`).

    Args:
        folder: of the generation; None where nothing is to be saved.
        least_steps: callbacks are not heard before so many optimizer steps.
    """

    def __init__(self, folder: GenerationFolder | None, least_steps: float = 0) -> None:
        self.folder = folder
        self.least_steps = least_steps
        self._asked = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Lightning would register its handlers soon after, and keep them while it makes ready for the first step."""
        listen_instead(trainer, stop_request.listen)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A timer begins anew with each job: one that has run out would leave a single step to every later one."""
        for timer in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(timer, Timer):
                checkpoint.get("callbacks", {}).pop(timer.state_key, None)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Between two optimizer steps, the same two on all ranks; after the last one the next stages look themselves."""
        self._asked |= trainer.should_stop
        trainer.should_stop = False  # else Lightning logs steps that it would not log otherwise
        if not step_is_done(trainer, batch_idx) or is_last_batch(trainer):
            return  # a gradient waits for more batches, or the state would say that the generation is complete
        if self._asked and trainer.global_step >= self.least_steps and stop_request.reason is None:
            stop_request.reason = "a callback (trainer.should_stop)"
        steps = (batch_idx + 1) // trainer.accumulate_grad_batches
        if not in_group() or steps % STEPS_BETWEEN_TALKS == 0:
            leave_if_asked(lambda: self._save(trainer))

    def _save(self, trainer: Trainer) -> None:
        if self.folder is not None:
            check_finite(trainer.lightning_module, self.folder)
            log_step(trainer)
            trainer.save_checkpoint(self.folder.checkpoints / "last.ckpt")
