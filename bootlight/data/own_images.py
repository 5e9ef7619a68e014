"""A mixing policy for a part that trains on what its own generation has drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootlight.data.mixing import MixingPolicy, Source
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
