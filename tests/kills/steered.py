"""A plug-in whose state decides how training goes on: where it is lost, the weights are others."""

from typing import Any

from lightning.pytorch import Callback


class Steered(Callback):
    """Lowers the learning rate by what it has seen of the losses so far."""

    def __init__(self) -> None:
        self.total = 0.0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.total += float(batch.images.double().mean())
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = 1e-2 / (2 + self.total % 1)

    def state_dict(self) -> dict[str, float]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.total = state["total"]
