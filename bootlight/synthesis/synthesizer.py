"""How the images of a generation are drawn from its model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.runs.folder import SAMPLES
from bootlight.synthesis.folder import image_seeds, label_seed, parent_seed, shared_labels, stratified_labels
from bootlight.synthesis.requests import Requests

if TYPE_CHECKING:
    from torch import Tensor

    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.generation_images import GenerationImages
    from bootlight.runs.context import GenerationContext
    from bootlight.synthesis.requests import Request


class Synthesizer(ABC):
    """Which images are asked for, and how a generator answers.

    An image is a function of the weights and its request alone, so that a folder that is half written can be completed.

    Attributes:
        references: published networks that it asks besides the generator, by a name of its choice.
        parts: these networks, once they are attached.
        needs: class of the generators that it can ask.
        length: images of one request, the frames of a clip; frame k of request i is image i * length + k.
    """

    references: Mapping[str, str] = MappingProxyType({})
    parts: Mapping[str, Any] = MappingProxyType({})
    needs: ClassVar[type] = GeneratorModule
    length: int = 1

    def attach(self, parts: Mapping[str, Any]) -> None:
        """Take the networks that `references` names, by the same names, frozen; called after the constructor."""
        self.parts = dict(parts)

    @abstractmethod
    def requests(
        self, generator: Any, data: GenerationImages, context: GenerationContext, count: int, into: str = SAMPLES
    ) -> Sequence[Request]:
        """What is drawn.

        Args:
            generator: that will be asked.
            data: labels of the real images in use, and names of images that may be parents.
            context: run, generation and seed.
            count: requests, numbered from 0.
            into: name of the folder of images; another one has other seeds.
        """

    def count(self, data: BootstrapData) -> int | None:
        """How many images it asks for where nobody says how many; None = as many as the run says.

        Args:
            data: of the configuration, not yet open.

        Raises:
            BootlightError: the images that it makes others of are not there.
        """
        return None

    def draws_with(self, generator: Any) -> Any:
        """The generator as this synthesizer asks it: itself, or a copy that shares its weights, such as one of another size.

        Raises:
            BootlightError: it cannot be asked so.
        """
        return generator

    def relative_cost(self, generator: Any, data: BootstrapData) -> float:
        """Time of an image, in units of one that the generator draws plainly; for a plan.

        Args:
            generator: that will be asked.
            data: set up.
        """
        return 1.0

    @abstractmethod
    def draw(self, generator: Any, requests: Requests, parents: Tensor | None, done: Tensor | None) -> Iterator[Tensor]:
        """Yield float images (B, C, H, W), about [-1, 1], in the order of the requests, `length` times: frame after frame.

        Args:
            generator: on its device, in eval mode; gradients are off.
            requests: all images of one parent are in the same call, one after the other.
            parents: float32 (P, C, H, W), those of each request, one request after the other; None where there are none.
            done: float32 (B, k, C, H, W), the first k frames where an interrupted run has left them on the disk. They must
                be yielded too, and need not be drawn again. What is drawn from a frame must be drawn from
                `as_stored(frame, generator.image_dtype)`, as it is on the disk, or it would depend on the interruption.
        """

    def protocol(self, generator: Any) -> dict[str, Any]:
        """What, besides weights and requests, decides the images; a part of each row of the manifest."""
        protocol: dict[str, Any] = generator.protocol()
        return protocol


class Draw(Synthesizer):
    """Each image from noise of its own; labels, of a class-conditional model, in the proportions of the real images.

    Args:
        label_weights: other proportions, by the names of the classes; classes that are not named are not drawn.
    """

    def __init__(self, label_weights: dict[str, float] | None = None) -> None:
        self.label_weights = None if label_weights is None else {str(name): float(w) for name, w in label_weights.items()}
        weights = () if self.label_weights is None else self.label_weights.values()
        if self.label_weights is not None and not (all(0 <= w < float("inf") for w in weights) and sum(weights) > 0):
            raise BootlightError(f"label_weights is {self.label_weights}; give numbers from 0 on, not all of them 0")

    def requests(
        self, generator: Any, data: GenerationImages, context: GenerationContext, count: int, into: str = SAMPLES
    ) -> Requests:
        """See `Synthesizer`.

        Raises:
            BootlightError: there is no such class as `label_weights` names, or the model has none.
        """
        labels = None
        if generator.num_classes is not None:
            labels = torch.from_numpy(self._labels(data, count, label_seed(context, into)))
        elif self.label_weights is not None:
            raise BootlightError("label_weights: the model has no classes; set model.num_classes, or leave label_weights out")
        return Requests(image_seeds(context, count, into), labels)

    def _labels(self, data: GenerationImages, count: int, seed: int) -> NDArray[np.int64]:
        if self.label_weights is None:
            return stratified_labels(data.labels, count, seed)
        if unknown := sorted(self.label_weights.keys() - set(data.class_names)):
            known = ", ".join(data.class_names) or "no names of classes"
            raise BootlightError(f"label_weights: there is no class {unknown[0]!r}; the images have {known}")
        return shared_labels([self.label_weights.get(name, 0.0) for name in data.class_names], count, seed)

    def draw(self, generator: Any, requests: Requests, parents: Tensor | None, done: Tensor | None) -> Iterator[Tensor]:
        """See `Synthesizer`."""
        yield generator.sample(requests.seeds, labels=requests.labels)


def variants(
    data: GenerationImages, context: GenerationContext, parents: Sequence[str], count: int, into: str = SAMPLES
) -> Requests:
    """Requests for images of some parents: as many of each as of the others, or one more; those of one follow each other.

    Labels are those of the parents, where all have one.

    Args:
        data: has the parents.
        context: run, generation and seed.
        parents: names, see `GenerationImages`; of more than `count`, the first ones.
        count: requests.
        into: name of the folder of images.
    """
    parents = parents[:count]
    if not parents:
        raise BootlightError("there are no images that others could be made of; name some")
    names = [parents[i * len(parents) // count] for i in range(count)]
    labels = torch.from_numpy(data.labels_of(names))
    return Requests(
        image_seeds(context, count, into),
        labels if bool((labels >= 0).all()) else None,
        [(name,) for name in names],
        [parent_seed(context, name) for name in names],
    )
