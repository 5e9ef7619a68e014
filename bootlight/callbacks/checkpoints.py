"""Checkpoints that are whole or absent, and finding the newest that can be read."""

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from bootlight.atomic import atomic_write
from bootlight.clock import clock
from bootlight.errors import BootlightError
from bootlight.run_folder import GenerationFolder
from bootlight.tracking.history import HistoryLogger

log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes next to the target, fsyncs and renames; Lightning's own goes through the system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None) -> None:
        """Save a checkpoint.

        Raises:
            BootlightError: the disk is full or the folder cannot be written.
        """
        with clock.part("checkpoints"), atomic_write(Path(path)) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch's zip writer hides why the file could not be written
                reason = error.__context__
                if isinstance(reason, OSError):
                    raise OSError(reason.errno, reason.strerror) from error
                raise


def step_is_done(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the optimizer has just stepped; otherwise a gradient waits for more batches (`accumulate_grad_batches`)."""
    last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
    return last or (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def log_step(trainer: Trainer) -> None:
    """Write the line of this step into the training curves, before its checkpoint.

    Lightning logs a step after the callbacks. A run that ended in between would continue behind that step, and its line
    would be lost for good.
    """
    connector = trainer._logger_connector
    if not connector.should_update_logs:
        return
    for logger in trainer.loggers:
        if isinstance(logger, HistoryLogger):
            values = {name: float(value) for name, value in connector.metrics["log"].items()}
            logger.log_metrics(values, step=trainer.fit_loop.epoch_loop._batches_that_stepped)
            logger.sync()


def check_finite(module: LightningModule, folder: GenerationFolder) -> None:
    """Refuse to save a training that has diverged: its checkpoints would take the place of those before.

    Looks at the parameters, the average's among them, which are the same on all ranks. The loss may be infinite in a step that
    float16 skips.

    Raises:
        BootlightError: one is not finite; on every rank.
    """
    if sum((~parameter.isfinite()).any() for parameter in module.parameters()):  # one synchronisation for all
        kept = newest_readable(folder)
        raise BootlightError(
            f"{folder.path} diverged: its weights are not finite after step {module.global_step} (last good state: "
            f"{kept or 'none was saved'}); lower model.learning_rate or set model.gradient_clip, and give that run its own "
            "--bootstrap.run_dir, as this one keeps its settings"
        )


class PeriodicCheckpoint(ModelCheckpoint):
    """Saves between steps only, and nothing that is not finite."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Not while a gradient waits for more batches: Lightning would save there after a resume, without the gradient."""
        if step_is_done(trainer, batch_idx):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
        check_finite(trainer.lightning_module, GenerationFolder(Path(filepath).parent.parent))
        log_step(trainer)
        super()._save_checkpoint(trainer, filepath)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Not here: when training was stopped early, a state saved now would say that the epoch is complete."""


def periodic_checkpoint(folder: GenerationFolder, every_n_steps: int) -> ModelCheckpoint:
    """`last.ckpt` every so many steps, and the same under the number of its step as a fall-back."""
    return PeriodicCheckpoint(
        dirpath=folder.checkpoints,
        filename="{step}",
        every_n_train_steps=every_n_steps,
        save_top_k=1,
        monitor="step",
        mode="max",
        save_last=True,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )


def newest_readable(folder: GenerationFolder) -> Path | None:
    """The checkpoint to resume from: the trained one, else the newest that can be read; unreadable ones are passed over."""
    periodic = set(folder.checkpoints.glob("*.ckpt")) - {folder.trained_checkpoint}
    trained = [folder.trained_checkpoint] if folder.trained_checkpoint.exists() else []
    for path in trained + sorted(periodic, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            check_checkpoint(path)
        except Exception as error:  # torn files fail in many ways
            log.warning("%s cannot be read (%s); continuing from an older checkpoint", path, error)
            continue
        return path
    return None


def check_checkpoint(path: Path) -> None:
    """Read a checkpoint to the last byte (a memory map would not), without running code that may be in it.

    Raises:
        Exception: of any kind; it is torn, holds something else, or is packed: torch does not, and so never asks what a packed
            one will be when it is unpacked.
    """
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("it is compressed")
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, dict):
        raise ValueError(f"it holds a {type(checkpoint).__name__}")
