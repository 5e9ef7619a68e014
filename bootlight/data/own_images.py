"""Mixing policies for a part that trains on what its own generation has drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bootlight.data.mixing import MixingPolicy, OnlyReal, Source
from bootlight.errors import BootlightError, check_range
from bootlight.rng import numpy_rng
from bootlight.runs.folder import SAMPLES
from bootlight.runs.references import check_name

if TYPE_CHECKING:
    from bootlight.data.archive import Archive


class OwnImages(MixingPolicy):
    """The images that the same generation has drawn into a folder before, alone: for an auxiliary network (SIMS, Neon).

    Args:
        folder: of images, into which a stage before the training draws; not `samples`, which are drawn last.
    """

    def __init__(self, folder: str = "probe") -> None:
        check_name("data.mixing.folder", folder)
        self.folder = folder

    def sources(self, generation: int, archive: Archive) -> list[Source]:
        """See `MixingPolicy`."""
        return [archive.drawn(generation, self.folder)]


class WithOwn(MixingPolicy):
    """What the same generation has drawn into a folder before, beside the images of another policy: for a classifier.

    Args:
        folder: of images, into which a stage before the training draws.
        expansion: take so many images for each real one in use, a random subset, a smaller one of it for a smaller number;
            None = all.
        curated: as a curator has left them; False = all, with the labels that they were drawn with.
        labelled: only those that have a label.
        mixing: the other policy; OnlyReal if left out.
    """

    def __init__(
        self,
        folder: str = SAMPLES,
        expansion: float | None = None,
        curated: bool = True,
        labelled: bool = False,
        mixing: MixingPolicy | None = None,
    ) -> None:
        if folder != SAMPLES:
            check_name("data.mixing.folder", folder)
        if expansion is not None:
            check_range("data.mixing.expansion", expansion, 0)
        self.folder, self.expansion, self.curated, self.labelled = folder, expansion, curated, labelled
        self.mixing = mixing or OnlyReal()

    def sources(self, generation: int, archive: Archive) -> list[Source]:
        """See `MixingPolicy`; of the subset, those that the curator has kept.

        Raises:
            BootlightError: fewer were drawn than are asked for.
        """
        mixed = self.mixing.sources(generation, archive)
        drawn = archive.drawn(generation, self.folder, curated=self.curated)
        if self.expansion is not None:
            drawn = drawn.take(np.flatnonzero(np.isin(drawn.indices, self._subset(drawn, archive))))
        if self.labelled:
            drawn = drawn.take(np.flatnonzero(drawn.store.labels[drawn.indices] >= 0))
        return [*mixed, drawn] if len(drawn) else mixed

    def _subset(self, drawn: Source, archive: Archive) -> np.typing.NDArray[np.int64]:
        wanted, there = round((self.expansion or 0) * len(archive.real)), len(drawn.store.images)
        if wanted > there:
            raise BootlightError(
                f"data.mixing.expansion is {self.expansion:g}: {wanted} images of {self.folder}, into which {there} are drawn; "
                "draw more there"
            )
        return numpy_rng(archive.subset_seed, "expansion").permutation(there)[:wanted]

    def scaled(self, share: float) -> MixingPolicy:
        """All that a trial draws, which keeps no proportion to its real images."""
        return WithOwn(self.folder, None, self.curated, self.labelled, self.mixing.scaled(share))
