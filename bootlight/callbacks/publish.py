"""Publishing a trained generator: the state to resume from, and the weights to use."""

import hashlib
from typing import Any

import safetensors.torch
from lightning.pytorch import Trainer

from bootlight.atomic import write_bytes, write_json
from bootlight.callbacks.checkpoints import check_finite
from bootlight.callbacks.generation_end import GenerationEnd
from bootlight.clock import clock
from bootlight.generators.base import GeneratorModule
from bootlight.processes import gather, take_from_rank_0


class Publish(GenerationEnd):
    """Writes `trained.ckpt`, `model.safetensors` (EMA weights) and `model.json`, in this order; then earlier checkpoints go."""

    def run(self, trainer: Trainer, module: GeneratorModule) -> None:
        """Save what is missing."""
        with clock.part("publishing"):
            self._publish(trainer, module)

    def _publish(self, trainer: Trainer, module: GeneratorModule) -> None:
        assert self.context is not None
        folder = self.context.folder
        published = all(gather(folder.is_trained))
        take_from_rank_0(module.buffers())  # batch norm's running statistics are of each rank's own batches
        if not self.restored_from_the_end(trainer):
            check_finite(module, folder)
            trainer.save_checkpoint(folder.trained_checkpoint)
        if self.writes(trainer):
            if not published:
                weights = safetensors.torch.save(module.published_state())
                write_bytes(folder.weights, weights)
                write_json(folder.model_config, self._config(weights, trainer, module))
            for periodic in set(folder.checkpoints.glob("*.ckpt")) - {folder.trained_checkpoint}:
                periodic.unlink(missing_ok=True)  # another node may have the same folder

    def _config(self, weights: bytes, trainer: Trainer, module: GeneratorModule) -> dict[str, Any]:
        assert self.context is not None
        return {
            "generation": self.context.generation,
            "image_size": module.image_size,
            "channels": module.channels,
            "class_names": class_names(trainer),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "model": self.context.model,
        }


def class_names(trainer: Trainer) -> list[str] | None:
    """What the labels stand for, by position; None where a stock Trainer has data that do not say."""
    real = getattr(getattr(trainer, "datamodule", None), "real", None)
    return None if real is None else list(real.store.class_names)
