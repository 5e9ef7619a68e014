"""What is asked of a generator: one request for each image, kept as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from bootlight.errors import BootlightError


@dataclass(frozen=True, slots=True)
class Request:
    """What one image, or one clip, is to be.

    Args:
        index: its number in the folder, from 0.
        seed: of its noise.
        label: position among the class names; None = none.
        parents: names of the images that it is made of, see `data.generation_images.GenerationImages`.
        parent_seed: the same for all images of one parent, to key what is done to it once, such as its inversion.
    """

    index: int
    seed: int
    label: int | None = None
    parents: tuple[str, ...] = ()
    parent_seed: int | None = None


@dataclass(frozen=True, eq=False)
class Requests(Sequence[Request]):
    """Many requests; a slice of them is made when it is asked for.

    Args:
        seeds: one for each.
        labels: int64 (n,), or None.
        parents: of each, or None where none has any.
        parent_seeds: of each, or None.
        numbers: index of each; their place here if left out.
    """

    seeds: Sequence[int]
    labels: Tensor | None = None
    parents: Sequence[tuple[str, ...]] | None = None
    parent_seeds: Sequence[int | None] | None = None
    numbers: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.seeds)

    @overload
    def __getitem__(self, which: int) -> Request: ...
    @overload
    def __getitem__(self, which: slice) -> Requests: ...

    def __getitem__(self, which: int | slice) -> Request | Requests:
        """One of them, or a part."""
        if isinstance(which, slice):
            return Requests(
                self.seeds[which],
                None if self.labels is None else self.labels[which],
                None if self.parents is None else self.parents[which],
                None if self.parent_seeds is None else self.parent_seeds[which],
                self.indices[which],
            )
        return Request(
            self.indices[which],
            self.seeds[which],
            None if self.labels is None else int(self.labels[which]),
            () if self.parents is None else tuple(self.parents[which]),
            None if self.parent_seeds is None else self.parent_seeds[which],
        )

    @property
    def indices(self) -> Sequence[int]:
        """Number of each image, or clip, in the folder."""
        return range(len(self.seeds)) if self.numbers is None else self.numbers

    @property
    def parent_names(self) -> list[str]:
        """Parents of all of them, one request after the other."""
        return [name for names in self.parents or () for name in names]

    def chosen(self, positions: Sequence[int]) -> Requests:
        """Some of them, in another order."""
        return Requests(
            [self.seeds[i] for i in positions],
            None if self.labels is None else self.labels[torch.tensor(positions, dtype=torch.int64)],
            None if self.parents is None else [self.parents[i] for i in positions],
            None if self.parent_seeds is None else [self.parent_seeds[i] for i in positions],
            [self.indices[i] for i in positions],
        )

    def in_order(self) -> Requests:
        """In the order of their numbers."""
        return self if self.numbers is None else self.chosen(sorted(range(len(self)), key=self.numbers.__getitem__))

    def by_parents(self) -> Requests:
        """Those with equal parents one after the other, the parents in the order in which they first come."""
        if self.parents is None:
            return self
        found: dict[tuple[str, ...], list[int]] = {}
        for position, names in enumerate(self.parents):
            found.setdefault(tuple(names), []).append(position)
        return self.chosen([position for group in found.values() for position in group])


def as_requests(found: Sequence[Request], count: int, who: str) -> Requests:
    """What a synthesizer has answered, as columns.

    Args:
        found: its answer.
        count: requests that it was asked for.
        who: its name.

    Raises:
        BootlightError: there are more or fewer, or their numbers are not those from 0 on, or only some have labels.
    """
    if len(found) != count:
        raise BootlightError(f"{who}.requests answered {len(found)} requests where {count} were asked for; correct it")
    requests = found if isinstance(found, Requests) else _columns(list(found), who)
    if requests.numbers is not None and sorted(requests.numbers) != list(range(count)):
        raise BootlightError(f"{who}.requests must number its {count} requests from 0 to {count - 1}, each once; correct it")
    return requests


def _columns(rows: list[Request], who: str) -> Requests:
    labels = [row.label for row in rows if row.label is not None]
    if labels and len(labels) < len(rows):
        raise BootlightError(f"{who}.requests gave labels to {len(labels)} of {len(rows)} requests; give one to all or none")
    return Requests(
        [row.seed for row in rows],
        torch.tensor(labels, dtype=torch.int64) if labels else None,
        [tuple(row.parents) for row in rows] if any(row.parents for row in rows) else None,
        [row.parent_seed for row in rows] if any(row.parent_seed is not None for row in rows) else None,
        [row.index for row in rows],
    )
