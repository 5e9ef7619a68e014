"""What callbacks keep in a checkpoint: it can be read back, and names no place on the disk."""

import os
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, SpikeDetection
from torch import Tensor
from torch.optim import Optimizer

from bootlight.errors import BootlightError
from bootlight.training.checkpoint_claims import why_unreadable
from bootlight.training.checkpoints import CURE

Found = TypeVar("Found", bound=Callback)
PLACES = ("best_model_path", "kth_best_model_path", "last_model_path")


class PortableStates(Callback):
    """Stands first among the callbacks of a generation.

    Lightning's ModelCheckpoint keeps absolute paths of what it has saved, and deletes what they name: in a run that was moved
    they lead nowhere, in one that someone else has made, anywhere. Here they are names below the folder of that callback, and
    taken back only where they name a checkpoint there.

    Args:
        folder: of the generation; callbacks that save elsewhere begin anew when a run is continued, and leave there what is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at all states before the first step.

        Raises:
            BootlightError: one could not be read back, so that the run could not be continued; or those of an optimizer, from a
                checkpoint, do not fit the model.
        """
        for wrong in filter(None, map(_misfit, trainer.optimizers if trainer.ckpt_path else ())):
            raise BootlightError(
                f"{trainer.ckpt_path} cannot be continued from ({wrong}); delete it and run the same command again"
            )
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if (state := callback.state_dict()) and (why := why_unreadable(state)):
                name = f"{type(callback).__module__}.{type(callback).__qualname__}"
                raise BootlightError(f"trainer.callbacks: the state of {name} could not be read back ({why}); {CURE}")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Names in the place of paths."""
        for _, state in _states(trainer, checkpoint, SpikeDetection):
            state["bad_batches_path"] = None
        for callback, state in _states(trainer, checkpoint, ModelCheckpoint):
            for key in PLACES:
                if key in state:
                    state[key] = _name(state[key], callback)
            if "best_k_models" in state:
                kept = state["best_k_models"].items()
                state["best_k_models"] = {_name(path, callback): score for path, score in kept if _name(path, callback)}
            state["dirpath"] = ""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Paths again, of what is there; before any callback sees its state."""
        for spikes, state in _states(trainer, checkpoint, SpikeDetection):
            state["bad_batches_path"] = spikes.exclude_batches_path
            spikes.running = spikes.running_mean  # type: ignore[attr-defined]  # by this name its `load_state_dict` looks for it
        for callback, state in _states(trainer, checkpoint, ModelCheckpoint):
            before = state.get("dirpath")
            state |= {key: self._path(state.get(key), callback, before) for key in PLACES}
            models = state.get("best_k_models")
            scores = {
                self._path(name, callback, before): score
                for name, score in (models.items() if isinstance(models, dict) else ())
                if _is_score(score)
            }
            scores.pop("", None)
            state |= {"best_k_models": scores, "dirpath": callback.dirpath}
            state["best_model_score"] = state["best_model_score"] if _is_score(state.get("best_model_score")) else None
            if scores:
                worst = (max if callback.mode == "min" else min)(scores, key=lambda path: float(scores[path]))
                state |= {"kth_best_model_path": worst, "kth_value": scores[worst]}
            else:
                state.pop("kth_value", None)

    def _path(self, name: Any, callback: ModelCheckpoint, before: Any) -> str:
        """The path of a checkpoint that a callback has saved before; nothing where there is none."""
        if not isinstance(name, str) or not name or "\0" in name:
            return ""
        if os.path.isabs(name) and isinstance(before, str):  # older checkpoints have paths
            name = os.path.relpath(name, before or "/")
        folder = os.path.realpath(str(callback.dirpath))
        path = os.path.realpath(os.path.join(folder, name))
        inside = Path(path).is_relative_to(folder) and Path(folder).is_relative_to(os.path.realpath(self.folder))
        return path if inside and path.endswith(callback.FILE_EXTENSION) and os.path.isfile(path) else ""


def _misfit(optimizer: Optimizer) -> str:
    """What an optimizer keeps that does not fit its weights; a fused one would not look, and write beyond its end."""
    for group in optimizer.param_groups:
        for weights in group["params"] if group.get("fused") else ():
            for key, value in optimizer.state.get(weights, {}).items():
                shape = torch.Size() if key == "step" else weights.shape
                if isinstance(value, Tensor) and not _is_whole(value, shape):
                    return f"{key} of an optimizer is {list(value.shape)} for weights {list(weights.shape)}"
    return ""


def _is_whole(value: Tensor, shape: torch.Size) -> bool:
    """Whether there is memory for every number."""
    if value.shape != shape or value.layout is not torch.strided:
        return False
    room = value.untyped_storage().nbytes() // value.element_size() - value.storage_offset()
    return bool(room >= value.numel())


def _states(trainer: Trainer, checkpoint: dict[str, Any], kind: type[Found]) -> list[tuple[Found, dict[str, Any]]]:
    """All callbacks of a class or a subclass of it that have a state."""
    states = checkpoint.get("callbacks")
    if not isinstance(states, dict):
        return []
    callbacks = [callback for callback in trainer.callbacks if isinstance(callback, kind)]  # type: ignore[attr-defined]
    found = [(callback, states.get(callback.state_key)) for callback in callbacks]
    return [(callback, state) for callback, state in found if isinstance(state, dict) and state]


def _name(path: Any, callback: ModelCheckpoint) -> str:
    """A path below the folder of a callback, from there; nothing for others."""
    if not isinstance(path, str) or not path or callback.dirpath is None:
        return ""
    name = os.path.relpath(os.path.realpath(path), os.path.realpath(callback.dirpath))
    return "" if name.startswith("..") else name


def _is_score(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1
