"""How the images of a generation are drawn from its model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bootlight.generators.base import GeneratorModule
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import SAMPLES
from bootlight.synthesis.folder import image_seeds, label_seed, stratified_labels


@dataclass(frozen=True)
class Requests:
    """What is to be drawn; image i has the i-th seed and label.

    Args:
        seeds: one for each image.
        labels: int64 (n,), or None.
    """

    seeds: Sequence[int]
    labels: Tensor | None = None

    def __getitem__(self, which: slice) -> "Requests":
        """A part of them, by a slice."""
        return Requests(self.seeds[which], None if self.labels is None else self.labels[which])


class Synthesizer(ABC):
    """Which images are asked for, and how a generator answers.

    An image is a function of the weights and its request alone, so that a folder that is half written can be completed.
    """

    @abstractmethod
    def requests(
        self, generator: GeneratorModule, context: GenerationContext, count: int, real: NDArray[np.int64], into: str = SAMPLES
    ) -> Requests:
        """What is drawn.

        Args:
            generator: that will be asked.
            context: run, generation and seed.
            count: images.
            real: int64, labels of the real images in use.
            into: name of the folder of images; another one has other seeds.
        """

    @abstractmethod
    def draw(self, generator: GeneratorModule, requests: Requests) -> Tensor:
        """Float images (B, C, H, W), about [-1, 1], in the order of the requests."""

    def protocol(self, generator: GeneratorModule) -> dict[str, Any]:
        """What, besides weights and requests, decides the images; a part of each row of the manifest."""
        return generator.protocol()


class Draw(Synthesizer):
    """Each image from noise of its own; labels, of a class-conditional model, in the proportions of the real images."""

    def requests(
        self, generator: GeneratorModule, context: GenerationContext, count: int, real: NDArray[np.int64], into: str = SAMPLES
    ) -> Requests:
        """See `Synthesizer`."""
        labels = None
        if generator.num_classes is not None:
            labels = torch.from_numpy(stratified_labels(real, count, label_seed(context, into)))
        return Requests(image_seeds(context, count, into), labels)

    def draw(self, generator: GeneratorModule, requests: Requests) -> Tensor:
        """See `Synthesizer`."""
        return generator.sample(requests.seeds, labels=requests.labels)
