"""What a network is built for: what decides the ends of it, and a user need not repeat."""

from typing import NamedTuple

from bootlight.io.shape import Shape


class Sizes(NamedTuple):
    """First argument of every network that a module builds; the others are settings.

    Args:
        shape: (C, H, W) of what the network sees.
        outputs: channels of its answer, which is as high and wide; more than C where a variance is predicted too.
        num_classes: number of labels; None = the network takes none.
    """

    shape: Shape
    outputs: int
    num_classes: int | None = None
