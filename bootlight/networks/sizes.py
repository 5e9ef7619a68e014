"""What a network is built for: what decides the ends of it, and a user need not repeat."""

from typing import NamedTuple


class Sizes(NamedTuple):
    """First argument of every network that a module builds; the others are settings.

    Args:
        shape: (C, H, W) of what the network sees.
        outputs: channels of its answer, which is as high and wide; more than C where a variance is predicted too.
        num_classes: number of labels; None = the network takes none.
    """

    shape: tuple[int, int, int]
    outputs: int
    num_classes: int | None = None

    @property
    def image_size(self) -> int | list[int]:
        """Height and width as a user gives them: one number for a square."""
        _, height, width = self.shape
        return height if height == width else [height, width]
