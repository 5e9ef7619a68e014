"""A network that a metric looks through and never changes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

    def ask(self, method: str, images: Tensor) -> Tensor:
        """What a method of the network answers to `images`, on their device."""
        answer: Tensor = self._ask(getattr(self.network, method), images)
        return answer

    def _ask(self, what: Callable[[Tensor], Any], images: Tensor) -> Any:
        # Autocast is off: bfloat16 moves Inception features by a tenth, and the trainer's precision is in no protocol.
        self.network.eval().to(images.device)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False), full_precision():
            return what(images)


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 numbers are float32 inside, whatever the program has allowed, and as before outside.

    By themselves convolutions on a GPU round their factors to TensorFloat-32, 10 bits; `torch.set_float32_matmul_precision`,
    which trainers recommend, does the same to matrix products, and to bfloat16 on some CPUs.
    """
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    switches: list[tuple[Any, str, Any]] = [(matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]
    if hasattr(matmul, "fp32_precision"):  # torch 2.9; after a program has used these, reading the older switches is an error
        mkldnn: Any = torch.backends.mkldnn
        switches = [(place, "fp32_precision", "ieee") for place in (matmul, cudnn.conv, mkldnn.matmul, mkldnn.conv)]
    before = [getattr(place, name) for place, name, _ in switches]
    for place, name, value in switches:
        setattr(place, name, value)
    try:
        yield
    finally:
        for (place, name, _), value in zip(switches, before, strict=True):
            setattr(place, name, value)
