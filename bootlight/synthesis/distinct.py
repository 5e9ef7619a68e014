"""A curator that removes what is there twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bootlight.errors import check_range
from bootlight.evaluation.duplicates import NEAR, exact_pairs, near_pairs, take_prints
from bootlight.synthesis.curator import Curator

if TYPE_CHECKING:
    from torch import Tensor

    from bootlight.evaluation.duplicates import Pair, Prints
    from bootlight.runs.curation import Row
    from bootlight.runs.generation import Generation, Images


class Distinct(Curator):
    """Keeps the first of images that hardly differ, mirrored ones among them; and none that hardly differs from a real one.

    Pictures are compared by thumbnails, as `bootlight data check` does; float data by equality. Images that are near to each
    other in a chain are one group.

    Args:
        limit: largest root-mean-square difference of two thumbnails, pixels in [0, 1]; 0 = equal pixels alone.
        real: leave out what is near to a real image in use: a copy of what it was trained on.
    """

    identity: Mapping[str, Any] | None = None

    def __init__(self, limit: float = NEAR, real: bool = True) -> None:
        check_range("limit", limit, 0, 1)
        self.limit = limit
        self.real = real

    def rows(self, rows: list[Row], images: Images, generation: Generation) -> Sequence[Row]:
        """See `Curator`."""
        prints = prints_of(images, "drawn images")
        copied: set[int] = set()
        if self.real:
            copied = {pair.second for pair in self._pairs(prints_of(generation.real, "real images"), prints)}
        first = list(range(len(rows)))  # of the group of each
        for pair in self._pairs(prints):
            low, high = sorted((_root(first, pair.first), _root(first, pair.second)))
            first[high] = low
        groups: dict[int, int] = {}  # the first one of each group that is no copy
        for i in range(len(rows)):
            if i not in copied:
                groups.setdefault(_root(first, i), i)
        found = []
        for i, row in enumerate(rows):
            same = groups.get(_root(first, i), i)
            why = "like a real image" if i in copied else "" if same == i else f"like {rows[same].file_name}"
            found.append(row._replace(keep=not why, why=why))
        return found

    def _pairs(self, one: Prints, other: Prints | None = None) -> list[Pair]:
        return exact_pairs(one, other) + (near_pairs(one, other, limit=self.limit) if self.limit else [])


def _root(first: list[int], i: int) -> int:
    while first[i] != i:
        i = first[i]
    return i


@dataclass(frozen=True)
class _Looked:
    """Images as `take_prints` asks for them."""

    where: str
    images: Images
    dtype: str
    names: tuple[str, ...] = ()  # for a bar alone

    def batches(self, size: int) -> Iterator[Tensor]:
        return self.images.batches(size)


def prints_of(images: Images, where: str) -> Prints:
    """What is compared of images."""
    batches = images.batches(1)
    dtype = str(next(iter(batches)).dtype).removeprefix("torch.")
    return take_prints(_Looked(where, images, dtype))
