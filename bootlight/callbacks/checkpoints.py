"""Checkpoints that are whole or absent, and finding the newest that can be read."""

import logging
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from bootlight.atomic import atomic_write
from bootlight.run_folder import GenerationFolder

log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes next to the target, fsyncs and renames; Lightning's own goes through the system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None) -> None:
        """Save a checkpoint."""
        with atomic_write(Path(path)) as file:
            torch.save(checkpoint, file)


class PeriodicCheckpoint(ModelCheckpoint):
    """Saves between steps only."""

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
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # torn files fail in many ways
            log.warning("%s cannot be read (%s); continuing from an older checkpoint", path, error)
            continue
        return path
    return None
