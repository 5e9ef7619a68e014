"""Mixing policies around a mixing policy: what another one chooses, and more images beside it."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bootlight.data.mixing import Accumulate, MixingPolicy, Source, fewer
from bootlight.errors import BootlightError, check_named, check_range
from bootlight.rng import numpy_rng

if TYPE_CHECKING:
    from bootlight.data.archive import Archive


class AroundPolicy(MixingPolicy):
    """So many images beside those of another policy, in every generation.

    Args:
        mixing: the other policy; Accumulate if left out.
        number: of images that join.
        fraction: the same as a share of all real training images, in use or not.
    """

    def __init__(self, mixing: MixingPolicy | None, number: int | None, fraction: float | None) -> None:
        self.mixing = Accumulate() if mixing is None else mixing
        self.number = number
        self.fraction = fraction
        if number is not None and fraction is not None:
            raise BootlightError(f"data.mixing: {type(self).__name__} takes either number or fraction; leave one out")
        if number is not None or fraction is not None:
            check_range(f"data.mixing.{self._key}", number if fraction is None else fraction, 0)

    @property
    def _key(self) -> str:
        return "number" if self.fraction is None else "fraction"

    @property
    def _said(self) -> str:
        """The setting, for messages."""
        return f"data.mixing.{self._key} is {self.number if self.fraction is None else f'{self.fraction:g}'}"

    def wanted(self, archive: Archive) -> int | None:
        """How many images join; None where neither number nor share was chosen."""
        return self.number if self.fraction is None else round(self.fraction * len(archive.available))

    def _some(self, source: Source, archive: Archive, name: str, cure: str) -> Source:
        """As many images of a source as are wanted, all if that was not said; `cure` where there are fewer."""
        wanted = self.wanted(archive)
        if wanted is None:
            return source
        if wanted > len(source):
            raise BootlightError(f"{self._said}: {wanted} images of {name}, which has {len(source)}; {cure}")
        order = numpy_rng(archive.subset_seed, "teacher").permutation(len(source))
        return source.take(np.sort(order[:wanted]))

    def sources(self, generation: int, archive: Archive) -> list[Source]:
        """Those of the other policy, then those that join."""
        mixed = self.mixing.sources(generation, archive)
        joining = self.joining(mixed, archive)
        return [*mixed, joining] if len(joining) else mixed

    @abstractmethod
    def joining(self, mixed: list[Source], archive: Archive) -> Source:
        """The images that join what the other policy has chosen."""

    def scaled(self, share: float) -> MixingPolicy:
        """With fewer images on both sides."""
        found = copy(self)
        found.mixing, found.number = self.mixing.scaled(share), fewer(self.number, share) if self.number else self.number
        return found


class WithTeacher(AroundPolicy):
    """Images that another model has drawn, or of a set of their own, beside those of another policy.

    Args:
        root: a run and generation (`runs/x@0`), a folder or a zip. Labels are known by the names of their classes.
        number: take so many of them; a smaller number is a subset of a larger one.
        fraction: take so many as a share of all real training images, in use or not; without either, all are taken.
        mixing: the other policy; Accumulate if left out.
    """

    def __init__(
        self, root: str, number: int | None = None, fraction: float | None = None, mixing: MixingPolicy | None = None
    ) -> None:
        super().__init__(mixing, number, fraction)
        check_named("data.mixing.root", root)
        self.root = root

    def joining(self, mixed: list[Source], archive: Archive) -> Source:
        """A random subset of the images, the same one in every generation."""
        return self._some(archive.teacher(self.root), archive, self.root, "draw more there")


class WithOrigin(AroundPolicy):
    """Images of another origin beside those of another policy.

    Args:
        origin: which of `data.origins`.
        number: take so many of them; a smaller number is a subset of a larger one.
        fraction: take so many as a share of all real training images, in use or not; without either, all are taken.
        mixing: the other policy; Accumulate if left out.
    """

    def __init__(
        self, origin: str, number: int | None = None, fraction: float | None = None, mixing: MixingPolicy | None = None
    ) -> None:
        super().__init__(mixing, number, fraction)
        self.origin = origin

    def joining(self, mixed: list[Source], archive: Archive) -> Source:
        """A random subset of the images, the same one in every generation."""
        return self._some(archive.origin(self.origin), archive, f"data.origins.{self.origin}", "take fewer")


class WithCopies(AroundPolicy):
    """Real images of the generation for a second time: the null control of a teacher, since nothing in them is new.

    Args:
        number: of copies.
        fraction: the same as a share of all real training images, in use or not.
        mixing: the other policy; Accumulate if left out.
    """

    def __init__(self, number: int | None = None, fraction: float | None = None, mixing: MixingPolicy | None = None) -> None:
        super().__init__(mixing, number, fraction)
        if number is None and fraction is None:
            raise BootlightError("data.mixing: WithCopies needs number or fraction: how many real images are there twice")

    def joining(self, mixed: list[Source], archive: Archive) -> Source:
        """A random subset of the real images that the other policy has chosen."""
        count = self.wanted(archive) or 0
        real = next((source for source in mixed if source.role == "real"), archive.real.take(np.arange(0)))
        if count > len(real):
            raise BootlightError(
                f"{self._said}: {count} copies, but only {len(real)} real images are in use; lower it, "
                "or take a mixture that keeps the real images"
            )
        chosen = np.sort(numpy_rng(archive.subset_seed, "duplicates").permutation(len(real))[:count])
        return replace(real.take(chosen), role="copy")
