"""A limit of time for a job, not for a generation."""

from datetime import timedelta
from typing import Any

from lightning.pytorch.callbacks import Timer

from bootlight.run_folder import GenerationFolder


class JobTimer(Timer):
    """Stops training when a job's time is up, after saving the state to continue from.

    Lightning's own `max_time` counts the time of earlier jobs too: the same command, run again, would stop at once for ever.

    Args:
        duration: of this job's training.
        folder: of the generation.
    """

    def __init__(self, duration: timedelta | dict[str, int] | str, folder: GenerationFolder) -> None:
        super().__init__(duration=duration)
        self.folder = folder

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        """Save between two steps; a state saved at the end of the epoch would say that it is complete."""
        super().on_train_batch_end(trainer, *args, **kwargs)
        if trainer.should_stop:
            trainer.save_checkpoint(self.folder.checkpoints / "last.ckpt")

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the next job has its own time."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing."""
