"""Publishing a trained network: the state to resume from, and the weights to use."""

import hashlib
from pathlib import Path
from typing import Any

import safetensors.torch
from lightning.pytorch import Callback, Trainer

from bootlight.compat import is_last_batch
from bootlight.distributed.processes import agree, gather, take_from_rank_0
from bootlight.distributed.stopping import leave_if_asked
from bootlight.generators.part import PartModule
from bootlight.io.atomic import write_bytes, write_json
from bootlight.runs.context import GenerationContext
from bootlight.runs.timing import clock
from bootlight.training.checkpoints import check_finite
from bootlight.training.step_clock import note_times


class Publish(Callback):
    """Writes `trained.ckpt`, `model.safetensors` (EMA weights) and `model.json`, in this order; then earlier checkpoints go.

    Where nodes see one run folder, rank 0 writes; where each has its own, the first rank of each node does.

    Args:
        context: run, generation and part.
    """

    def __init__(self, context: GenerationContext) -> None:
        self.context = context

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Training ended in an earlier run: its state is restored, `on_train_end` will not be called."""
        if self._restored_from_the_end(trainer):
            self.publish(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Also called when `max_time` or a signal stopped training half-way: then it is not the end."""
        if is_last_batch(trainer):
            self.publish(trainer, pl_module)

    def publish(self, trainer: Trainer, module: PartModule) -> None:
        """Save what is missing."""
        for logger in trainer.loggers:
            logger.save()
        with clock.part("publishing"):
            self._save(trainer, module)
        agree(None)  # here all ranks wait for each other
        if trainer.is_global_zero:
            note_times(self.context.folder)
        leave_if_asked()

    def _restored_from_the_end(self, trainer: Trainer) -> bool:
        """Whether this fit resumed from `trained.ckpt`; that the file exists says nothing, it may be torn."""
        return trainer.ckpt_path is not None and Path(trainer.ckpt_path) == self.context.folder.trained_checkpoint

    def _save(self, trainer: Trainer, module: PartModule) -> None:
        folder = self.context.folder
        published = all(gather(folder.is_trained))
        take_from_rank_0(module.buffers())  # batch norm's running statistics are of each rank's own batches
        if not self._restored_from_the_end(trainer):
            check_finite(module, folder)
            trainer.save_checkpoint(folder.trained_checkpoint)
        if (trainer.global_rank if self.context.shared else trainer.local_rank) == 0:
            if not published:
                weights = safetensors.torch.save(module.published_state())
                write_bytes(folder.weights, weights)
                write_json(folder.model_config, self._config(weights, trainer, module))
            for periodic in set(folder.checkpoints.glob("*.ckpt")) - {folder.trained_checkpoint}:
                periodic.unlink(missing_ok=True)  # another node may have the same folder

    def _config(self, weights: bytes, trainer: Trainer, module: PartModule) -> dict[str, Any]:
        data: Any = getattr(trainer, "datamodule", None)
        return {
            "generation": self.context.generation,
            "image_size": module.image_size,
            "channels": module.channels,
            **noted_dtype(data, module),
            "class_names": class_names(data),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "steps": data.num_steps if hasattr(data, "num_steps") else trainer.global_step,
            **self.context.origin,
            **module.described(self.context.model),
        }


def noted_dtype(data: Any, module: PartModule) -> dict[str, str]:
    """The type of the numbers of the images, where they are not of 8 bits."""
    real = getattr(data, "real", None)
    dtype = module.image_dtype if real is None else real.store.images.dtype.name
    return {} if dtype == "uint8" else {"dtype": dtype}


def class_names(data: Any) -> list[str] | None:
    """What the labels stand for, by position; None where data do not say."""
    real = getattr(data, "real", None)
    return None if real is None else list(real.store.class_names)
