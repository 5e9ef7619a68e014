"""A training of a few steps by Lightning, straight through or continued from a checkpoint."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from torch.utils.data import Dataset

from bootlight.batch import Batch
from bootlight.checking.trials import noise
from bootlight.data.loader import StepLoader
from bootlight.io.quiet import quiet
from bootlight.rng import derive_key
from bootlight.training.checkpoints import AtomicCheckpointIO

STEPS, BATCH = 4, 4  # the checkpoint is in the middle
NAME = "half.ckpt"


class Pictures(Dataset[Batch]):
    """Batches of smooth random images with as much dark as light in each, a function of the step alone.

    Args:
        shape: (C, H, W).
        num_classes: of their labels; None = without.
    """

    seed = 0
    accumulate = 1

    def __init__(self, shape: tuple[int, int, int], num_classes: int | None) -> None:
        self.shape = shape
        self.num_classes = num_classes

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < STEPS:
            raise IndexError(step)
        _, height, width = self.shape
        ramp = torch.linspace(-0.7, 0.7, height).view(1, 1, -1, 1) + torch.linspace(-0.2, 0.2, width)
        images = (ramp + 0.2 * noise(BATCH, *self.shape, name=f"pictures {step}")).clamp(-1, 1)
        labels = None if self.num_classes is None else (torch.arange(BATCH) + step) % self.num_classes
        ids = torch.arange(BATCH) + step * BATCH
        return Batch(images, labels, derive_key("check", step), 0, BATCH, ids=ids)


class SaveHalfway(Callback):
    """Saves a checkpoint after half of the steps.

    Args:
        path: of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *more: Any) -> None:
        """Save, after the update."""
        if more[-1] + 1 == STEPS // 2:
            trainer.save_checkpoint(self.path)


def train(module: Any, folder: Path, *, resume: bool = False) -> Trainer:
    """Train for a few steps on the CPU.

    Args:
        module: a generator.
        folder: where the checkpoint is written, or read to continue.
        resume: continue from it.
    """
    quiet()
    loader: Any = StepLoader(Pictures(tuple(module.image_shape), module.num_classes))  # type: ignore[arg-type]
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as elsewhere:
        warnings.simplefilter("ignore")
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=1,
            logger=DummyLogger(),  # nobody listens, but a module may log
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[] if resume else [SaveHalfway(folder / NAME)],
            plugins=[AtomicCheckpointIO(folder), LightningEnvironment()],  # alone, also inside of a job of a cluster
            default_root_dir=elsewhere,
        )
        trainer.fit(module, loader, ckpt_path=str(folder / NAME) if resume else None, weights_only=True)
    return trainer
