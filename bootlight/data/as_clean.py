"""A mixing policy for noise that is not to be minded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bootlight.data.mixing import Accumulate, MixingPolicy, Source

if TYPE_CHECKING:
    from bootlight.data.archive import Archive


class AsClean(MixingPolicy):
    """The images of another policy at every noise level, whatever noise they are said to have: the naive control.

    Args:
        mixing: the other policy; Accumulate if left out.
    """

    def __init__(self, mixing: MixingPolicy | None = None) -> None:
        self.mixing = Accumulate() if mixing is None else mixing

    def sources(self, generation: int, archive: Archive) -> list[Source]:
        """Those of the other policy, without ranges."""
        found = self.mixing.sources(generation, archive)
        return [source if source.noise is None else replace(source, noise=None) for source in found]

    def scaled(self, share: float) -> MixingPolicy:
        """Around a smaller one."""
        return AsClean(self.mixing.scaled(share))
