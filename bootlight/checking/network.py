"""Networks: modules that are built from `Sizes`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bootlight.checking.trials import Trials, demand, near, noise, repeated, tensor
from bootlight.networks.sizes import Sizes

COUNT, CLASSES = 4, 3
SIZES = Sizes((2, 8, 8), 3, CLASSES)
TOLERANCE = 1e-4


class NetworkTrials(Trials):
    """Of a module whose first argument is its `Sizes`, as a denoising network."""

    kind = nn.Module
    name = "network"

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        with torch.no_grad():
            for name, parameter in self.thing.named_parameters():
                if parameter.requires_grad and not parameter.any():  # many begin with an answer that is 0
                    parameter.copy_(0.1 * noise(*parameter.shape, name=name))
        self.thing.eval()

    @classmethod
    def _takes(cls, thing: type) -> bool:
        return issubclass(thing, nn.Module) and _first(thing) is not None

    @classmethod
    def _filled(cls, thing: type) -> Mapping[str, Any]:
        return {str(_first(thing)): SIZES}

    def outputs(self) -> None:
        """It answers (B, outputs, H, W), with labels and without."""
        self._asked()
        self._asked(labels=False)

    def image_alone(self) -> None:
        """In eval mode the answer to an image does not depend on the others, or on random generators."""
        whole = repeated(self._asked, torch.equal, "the network", "in eval mode nothing may be random")
        for i in range(COUNT):
            alone = self._asked([i])
            demand(near(alone, whole[[i]], TOLERANCE), "the answer to an image changes with the other images of the batch")

    def no_label(self) -> None:
        """The label `num_classes` means the same as no labels at all."""
        images, times, _ = self._inputs()
        none = self.thing(images, times, torch.full((COUNT,), CLASSES))
        demand(near(none, self._asked(labels=False), TOLERANCE), f"label {CLASSES}, of {CLASSES} classes, is not `no label`")

    def gradients(self) -> None:
        """Every weight that is trained gets a gradient: one without would stop several processes."""
        self.thing.train()
        self.thing.zero_grad()
        self.thing(*self._inputs()).square().sum().backward()
        self.thing.eval()
        idle = [name for name, weight in self.thing.named_parameters() if weight.requires_grad and weight.grad is None]
        demand(idle == [], f"no gradient reaches {', '.join(idle[:3])}")

    def _inputs(self, chosen: list[int] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        labels = torch.arange(COUNT) % CLASSES
        whole = noise(COUNT, *SIZES.shape, name="x"), torch.linspace(10, 900, COUNT), labels
        one, two, three = (value if chosen is None else value[chosen] for value in whole)
        return one, two, three

    def _asked(self, chosen: list[int] | None = None, labels: bool = True) -> Tensor:
        images, times, label = self._inputs(chosen)
        with torch.no_grad():
            answer = self.thing(images, times, label if labels else None)
        return tensor(answer, (len(images), SIZES.outputs, *SIZES.shape[1:]), "its answer")


def _first(thing: type) -> str | None:
    """Name of the first argument of a module, if it is its `Sizes`."""
    parameter = next(iter(inspect.signature(thing).parameters.values()), None)
    known = parameter is not None and (parameter.name == "sizes" or "Sizes" in str(parameter.annotation))
    return parameter.name if parameter is not None and known else None
