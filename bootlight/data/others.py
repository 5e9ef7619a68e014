"""A mixing policy for a part that is to have real images of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bootlight.data.mixing import MixingPolicy, Source, fewer
from bootlight.errors import BootlightError, check_range
from bootlight.rng import numpy_rng

if TYPE_CHECKING:
    from bootlight.data.archive import Archive


class Others(MixingPolicy):
    """Real training images that are not in use: some of those that `data.num_real` or `data.real_fraction` leaves out.

    In one random order, the same in every run and for every view of the same images: parts with ranges that do not overlap
    share no image.

    Args:
        start: how many of the order to pass over.
        count: how many to take; all that are left if left out.
    """

    def __init__(self, start: int = 0, count: int | None = None) -> None:
        check_range("data.mixing.start", start, 0)
        if count is not None:
            check_range("data.mixing.count", count, 1)
        self.start, self.count = start, count

    def sources(self, generation: int, archive: Archive) -> list[Source]:
        """See `MixingPolicy`; the same in every generation."""
        left = np.flatnonzero(~np.isin(archive.available.indices, archive.real.indices, assume_unique=True))
        end = len(left) if self.count is None else self.start + self.count
        if not self.start < end <= len(left):
            wanted = f"start {self.start}" + ("" if self.count is None else f" and count {self.count}")
            raise BootlightError(
                f"data.mixing: bootlight.Others with {wanted} asks for more images than the {len(left)} that are not in use; "
                "lower them, or data.num_real"
            )
        chosen = numpy_rng(archive.subset_seed, "others").permutation(left)[self.start : end]
        return [archive.available.take(np.sort(chosen))]

    def scaled(self, share: float) -> MixingPolicy:
        """Fewer, which still do not overlap with those of another range."""
        return Others(math.floor(share * self.start), fewer(self.count, share))
