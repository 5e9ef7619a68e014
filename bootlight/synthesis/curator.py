"""Which drawn images are worth training on."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from bootlight.runs.context import GenerationContext
from bootlight.runs.curation import Row


class Images(Protocol):
    """Pictures that are decoded when they are asked for."""

    def batches(self, size: int) -> Iterator[Tensor]:
        """Batches (B, C, H, W), uint8 or float32, of at most `size` images, in order."""

    def pick(self, indices: list[int]) -> Sequence[NDArray[Any]]:
        """Some images, arrays (H, W, C)."""


class Curator(ABC):
    """Looks at the images of a generation when they have been drawn."""

    @abstractmethod
    def rows(self, rows: list[Row], images: Images, context: GenerationContext) -> Sequence[Row]:
        """One row for each image, in the same order; which are not kept is as good as not drawn for later generations.

        Args:
            rows: of the manifest, all kept.
            images: in the order of the rows.
            context: run, generation and seed.
        """


class KeepAll(Curator):
    """Everything stays as it was drawn."""

    def rows(self, rows: list[Row], images: Images, context: GenerationContext) -> Sequence[Row]:
        """See `Curator`."""
        return rows
