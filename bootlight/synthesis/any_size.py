"""Images of another size than those of the training."""

from __future__ import annotations

from typing import Any

from bootlight.io.shape import height_width
from bootlight.synthesis.synthesizer import Draw


class AnySize(Draw):
    """Each image from noise of its own and of a size of one's choice, by a network that has no size of its own.

    Args:
        size: edge of square images in pixels, or [height, width].
        label_weights: see `Draw`.

    Raises:
        BootlightError: it is no size.
    """

    def __init__(self, size: int | list[int], label_weights: dict[str, float] | None = None) -> None:
        super().__init__(label_weights)
        self.size = height_width(size, "AnySize size")

    def draws_with(self, generator: Any) -> Any:
        """See `Synthesizer`."""
        return generator.at_size(*self.size)

    def relative_cost(self, generator: Any, data: Any) -> float:
        """See `Synthesizer`: pixels against pixels."""
        _, height, width = generator.image_shape
        return self.size[0] * self.size[1] / (height * width)
