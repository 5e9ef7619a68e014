"""Checkpoints that are whole or absent, and finding the newest that can be read."""

import logging
import os
import pickle
import re
import traceback
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from bootlight.compat import WatchedCheckpoint, is_last_batch, logged_step, values_to_log
from bootlight.errors import BootlightError
from bootlight.io.atomic import atomic_write
from bootlight.loggers.history import HistoryLogger
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.timing import clock
from bootlight.training.checkpoint_claims import check_claims, why_unreadable
from bootlight.training.pickle_claims import Unreadable

log = logging.getLogger(__name__)
PARTS = {"state_dict": dict, "optimizer_states": list, "lr_schedulers": list, "loops": dict, "global_step": int}
CURE = "keep only tensors, numbers, texts and lists and dictionaries of them there"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes next to the target, fsyncs and renames; Lightning's own goes through the system's temporary folder.

    What is written can be read back, what is read takes no more memory than its size accounts for, and nothing is deleted
    because a checkpoint, which may have come from somewhere else, says so.

    Args:
        folder: of the generation; besides files in it, only those that this object has written are deleted.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.folder = folder
        self._written: set[str] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None) -> None:
        """Save a checkpoint.

        Raises:
            BootlightError: the disk is full, the folder cannot be written, or a part of it could not be read back.
        """
        with clock.part("checkpoints"), atomic_write(Path(path)) as file:
            try:
                torch.save(checkpoint, file)
                file.flush()
                check_claims(Path(file.name))
            except RuntimeError as error:  # torch's zip writer hides why the file could not be written
                reason = error.__context__
                if isinstance(reason, OSError):
                    raise OSError(reason.errno, reason.strerror) from error
                raise
            except (Unreadable, pickle.PicklingError, AttributeError, TypeError) as error:
                raise BootlightError(f"{path} is not written: {_culprit(checkpoint, str(error))}") from error
        self._written.add(os.path.realpath(path))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint; with `weights_only`, as all runs do, nothing in it is executed.

        Raises:
            BootlightError: it asks for more than it has, or cannot be read.
        """
        loaded: dict[str, Any]
        if not weights_only:
            loaded = super().load_checkpoint(path, map_location, weights_only)
            return loaded
        try:
            check_claims(Path(path))
            loaded = super().load_checkpoint(path, map_location, weights_only)
        except Exception as error:  # torn files fail in many ways
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BootlightError(f"{path} cannot be read ({reason}); delete it and run the same command again") from error
        return loaded

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete a checkpoint, if that is for this run to decide."""
        place = os.path.realpath(path)
        inside = self.folder is not None and Path(place).is_relative_to(os.path.realpath(self.folder))
        if (inside or place in self._written) and os.path.isfile(place):
            super().remove_checkpoint(Path(path))
        elif os.path.exists(place):
            log.warning("%s is not deleted: it is no checkpoint of %s", path, self.folder)


def _culprit(checkpoint: dict[str, Any], reason: str) -> str:
    """Which part of a checkpoint could not be read back, and the cure."""
    parts = {f"the state of callback {name}": state for name, state in checkpoint.get("callbacks", {}).items()}
    parts |= {f"its part {name}": value for name, value in checkpoint.items() if name != "callbacks"}
    for name, value in parts.items():
        if why := why_unreadable(value):
            return f"{name} could not be read back ({why}); {CURE}"
    return f"it could not be read back ({reason}); {CURE}"


def step_is_done(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the optimizer has just stepped; otherwise a gradient waits for more batches (`accumulate_grad_batches`)."""
    last = is_last_batch(trainer)
    return last or (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def log_step(trainer: Trainer) -> None:
    """Write the line of this step into the training curves, before its checkpoint.

    Lightning logs a step after the callbacks. A run that ended in between would continue behind that step, and its line
    would be lost for good.
    """
    values = values_to_log(trainer)
    if values is None:
        return
    for logger in trainer.loggers:
        if isinstance(logger, HistoryLogger):
            logger.log_metrics({name: float(value) for name, value in values.items()}, step=logged_step(trainer))
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


class PeriodicCheckpoint(WatchedCheckpoint):
    """Saves between steps only, and nothing that is not finite. It has no state: what it has saved lies in its folder."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing; Lightning's has absolute paths, which are others once a run has been moved."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing is taken from a checkpoint, which may have come from somewhere else."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Find the fall-back that an earlier process has left; the next one takes its place."""
        super().on_train_start(trainer, pl_module)
        assert self.dirpath is not None
        names = [re.fullmatch(r"step=(\d{1,18})\.ckpt", path.name) for path in Path(self.dirpath).glob("step=*.ckpt")]
        steps = [int(name[1]) for name in names if name and int(name[1]) <= trainer.global_step]
        step: int = trainer.strategy.broadcast(max(steps, default=-1))  # other nodes may not have the file
        if step >= 0:
            self.best_model_path = self.kth_best_model_path = os.path.join(self.dirpath, f"step={step}.ckpt")
            self.best_model_score = self.kth_value = torch.tensor(step)
            self.best_k_models = {self.best_model_path: self.kth_value}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Not while a gradient waits for more batches: Lightning would save there after a resume, without the gradient."""
        if step_is_done(trainer, batch_idx):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def before_saving(self, trainer: Any, path: Path) -> None:
        """Refuse what is not finite; the line of this step goes first."""
        check_finite(trainer.lightning_module, GenerationFolder(path.parent.parent))
        log_step(trainer)

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
        Exception: of any kind; it is torn, holds something else, asks for more memory than its size accounts for, or is packed:
            torch does not, and so never asks what a packed one will be when it is unpacked.
    """
    check_claims(path)
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # torch does not look at the checksums that it writes
    if damaged:
        raise ValueError(f"{damaged} in it is damaged")
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    for name, kind in PARTS.items():
        if not isinstance(checkpoint.get(name), kind):
            raise ValueError(f"it has no {name} to continue from")


@contextmanager
def restoring_explained(path: Path | None, trainer: Trainer) -> Iterator[None]:
    """Turn what goes wrong when the state in `path` is given to model, optimizers and callbacks into one line.

    What an optimizer keeps is first looked at when it steps.

    Raises:
        BootlightError: the checkpoint is of something else, or a callback does not take its state back.
    """
    before = 0 if path is None else torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"]
    try:
        yield
    except BootlightError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        inside = [frame for frame in frames if Path(frame.filename).name == "checkpoint_connector.py"]
        restoring = any(frame.name.startswith(("restore", "_restore", "resume")) for frame in inside)
        first = trainer.global_step - before < len(trainer.optimizers)
        if path is None or not (restoring or (first and _in_optimizer(frames, error))):
            raise
        what = f"{type(error).__name__}: {' '.join(str(error).split())}, {frames[-1].filename}, line {frames[-1].lineno}"
        raise BootlightError(f"{path} cannot be continued from ({what}); delete it and run the same command again") from error


def _in_optimizer(frames: Sequence[traceback.FrameSummary], error: Exception) -> bool:
    """Whether an optimizer has failed, and not the training step that it calls."""
    last = max((i for i, frame in enumerate(frames) if "lightning" in Path(frame.filename).parts), default=-1)
    inside = last + 1 < len(frames) and Path(frames[last + 1].filename).parent == Path(torch.optim.__file__).parent
    return inside and not isinstance(error, torch.OutOfMemoryError)
