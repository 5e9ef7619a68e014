"""The one place for private names of Lightning: what it lacks publicly, as of 2.6; `tests/test_compat.py` says if they move."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

ScriptLauncher = _SubprocessScriptLauncher


def listen_instead(trainer: Trainer, listen: Callable[[], None]) -> None:
    """Let `listen` set the handlers of signals in every stage, in the place of Lightning.

    There is no setting for it; handlers set before `fit` are taken over by its own (since 2.0 in every stage).
    """
    trainer._signal_connector.register_signal_handlers = listen  # type: ignore[method-assign]


def cluster_environment(trainer: Trainer) -> ClusterEnvironment:
    """What has started the processes; `trainer.strategy` has it only where there are several (connector private since 1.6)."""
    return trainer._accelerator_connector.cluster_environment


def starts_scripts(launcher: Any) -> TypeGuard[ScriptLauncher]:
    """Whether a strategy's launcher runs the same script again for each process; the classes are private since 1.6."""
    return isinstance(launcher, ScriptLauncher)


def is_last_batch(trainer: Trainer) -> bool:
    """Whether the batch in hand ends the training; the loops are nobody's interface since 2.0, and nothing else says so."""
    return trainer.fit_loop.epoch_loop.batch_progress.is_last_batch


def values_to_log(trainer: Trainer) -> dict[str, Any] | None:
    """What Lightning will give to the loggers once the callbacks of this step are through; None where it logs no step.

    `trainer.logged_metrics` has what was logged before (private since 1.6).
    """
    connector = trainer._logger_connector
    return dict(connector.metrics["log"]) if connector.should_update_logs else None


def logged_step(trainer: Trainer) -> int:
    """The step under which Lightning logs the batch in hand: `global_step` counts one too many there (since 1.6.5)."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def not_counted(optimizer: LightningOptimizer) -> None:
    """Leave the steps of an optimizer in this batch out of `global_step`, which counts those of all under manual optimization.

    There is no setting for it (counted since 1.6). Lightning sets these hooks anew for each batch.
    """
    optimizer._on_before_step = optimizer._on_after_step = lambda: None


class WatchedCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint with a hook before a file is written.

    `on_save_checkpoint` is too late and too often: it is called for the files of every callback, when the state is taken.
    """

    def before_saving(self, trainer: Any, path: Path) -> None:
        """Called on all ranks."""

    def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
        self.before_saving(trainer, Path(filepath))
        super()._save_checkpoint(trainer, filepath)


def wandb_arguments(logger: WandbLogger) -> dict[str, Any]:
    """Arguments with which a logger will call `wandb.init`, to be changed in place; it shows none of them."""
    return logger._wandb_init


def wandb_run(logger: WandbLogger) -> Any:
    """The `wandb.Run` of a logger, None before it has begun; `logger.experiment` would begin one."""
    return logger._experiment


def set_wandb_run(logger: WandbLogger, run: Any) -> None:
    """Give a logger another run, or None when it is closed: Lightning has no way to close one and begin another."""
    logger._experiment = run
