"""Which drawn images are worth training on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from bootlight.curation import Row
from bootlight.run_folder import GenerationContext


class Curator(ABC):
    """Looks at the images of a generation when they have been drawn."""

    @abstractmethod
    def rows(self, rows: list[Row], images: NDArray[Any], context: GenerationContext) -> Sequence[Row]:
        """One row for each image, in the same order; which are not kept is as good as not drawn for later generations.

        Args:
            rows: of the manifest, all kept.
            images: uint8 (n, H, W, C), in the order of the rows.
            context: run, generation and seed.
        """


class KeepAll(Curator):
    """Everything stays as it was drawn."""

    def rows(self, rows: list[Row], images: NDArray[Any], context: GenerationContext) -> Sequence[Row]:
        """See `Curator`."""
        return rows
