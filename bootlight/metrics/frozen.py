"""A network that a metric looks through and never changes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Frozen:
    """Calls a network in evaluation mode, in full precision and without gradients.

    Not an `nn.Module`, so the network is absent from the state dict, `parameters()` and `train()` of the metric that holds it:
    as a submodule it would add its weights to each checkpoint and to each copy that averages weights. The network is owned
    from here on: it stays in evaluation mode and on the device of the images seen last.

    Args:
        network: any module.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(self, images: Tensor) -> Tensor:
        """The network's answer to `images`, on their device."""
        answer: Tensor = self._ask(self.network, images)
        return answer

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """All answers in one pass, by name: those of the network's method `outputs`, or `features` alone if it has none."""
        outputs = getattr(self.network, "outputs", None)
        if outputs is None:
            return {"features": self(images)}
        answers: dict[str, Tensor] = self._ask(outputs, images)
        return answers

    def _ask(self, what: Callable[[Tensor], Any], images: Tensor) -> Any:
        # Autocast is off: bfloat16 moves Inception features by a tenth, and the trainer's precision is in no protocol.
        self.network.eval().to(images.device)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return what(images)
