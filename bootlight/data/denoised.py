"""A mixing policy for generations that learn from restored images, beside a few clean ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootlight.data.mixing import MixingPolicy, Source
from bootlight.errors import BootlightError, check_range
from bootlight.runs.references import check_name

if TYPE_CHECKING:
    from bootlight.data.archive import Archive


class Denoised(MixingPolicy):
    """Clean images, and noisy ones as the generation before has restored them, in the place of all earlier ones.

    Generation 0 trains on the clean images alone, as do all where there are no noisy ones (Lu, Wu and Yu 2025, "SFBD",
    algorithm 1; its text trains on the restored images alone from generation 1 on, its code on both).

    Args:
        folder: into which noisy images are restored.
        origin: which of `data.origins` has the noisy images.
        include_clean: train on the clean images in later generations too.
        ramp: generations over which the weight of restored images rises from 0 to 1, on a line; None = it is 1.
    """

    def __init__(
        self, folder: str = "restored", origin: str = "noisy", include_clean: bool = True, ramp: int | None = None
    ) -> None:
        check_name("data.mixing.folder", folder)
        if ramp is not None:
            check_range("data.mixing.ramp", ramp, 1)
            if not include_clean:
                raise BootlightError("data.mixing.ramp needs clean images, whose weight stays; set include_clean to true")
        self.folder, self.origin, self.include_clean, self.ramp = folder, origin, include_clean, ramp

    def sources(self, generation: int, archive: Archive) -> list[Source]:
        """See `MixingPolicy`."""
        if generation == 0 or len(archive.origin(self.origin)) == 0:
            return [archive.real]
        restored = archive.drawn(generation - 1, self.folder)
        if self.ramp is not None and generation < self.ramp:
            restored = restored.weighted(generation / self.ramp)
        return [archive.real, restored] if self.include_clean else [restored]
