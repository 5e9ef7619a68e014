"""Windows of two or three frames of a clip at the same place: what networks learn from that predict one from the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bootlight.data.crops import Crops, cropped
from bootlight.data.image_ids import image_ids
from bootlight.data.origin import Origin
from bootlight.data.store import Store
from bootlight.errors import BootlightError, check_range


class FrameWindows(Crops):
    """Crops of frames that are looked up by the numbers of those that a step has chosen.

    Args:
        origin: the clip, in its order.
        size: of a window: edge of a square in pixels, or [height, width].
    """

    def __init__(self, origin: Origin, size: int | list[int]) -> None:
        super().__init__(origin, size)
        self._frames: Tensor | None = None
        self._order = self._sorted = torch.empty(0, dtype=torch.int64)

    def load(self) -> tuple[Store, Store | None]:
        """See `Crops`."""
        store, held_out = super().load()
        if len(store.images) < 3:
            raise BootlightError(
                f"{self.origin.name} has {len(store.images)} frames; to learn how they follow each other takes 3"
            )
        ids = torch.from_numpy(image_ids(store.key, np.arange(len(store.images))))
        self._sorted, self._order = ids.sort()
        self._frames = torch.from_numpy(np.array(store.images)).permute(0, 3, 1, 2)
        return store, held_out

    def _numbers(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """All frames (N, C, H, W), and the number of each that is meant."""
        if self._frames is None:
            self.load()
        assert self._frames is not None
        place = torch.searchsorted(self._sorted, ids).clamp(max=len(self._sorted) - 1)
        if not torch.equal(self._sorted[place], ids):
            raise BootlightError(
                f"{self.name}: images that are no frames of the clip; train on the clip alone (bootlight.OnlyReal)"
            )
        return self._frames, self._order[place]


class FramePairs(FrameWindows):
    """A frame, with one up to `gaps` frames before or after it beside it: `before`, and `gap`, how many frames it is later.

    Gaps become larger in the course of the training: those of 1 at first, one more after each `widen_every` steps. All gaps
    that stay within the clip are equally likely. Steps are counted by the trainer, so that a resumed training goes on.

    Args:
        origin: the clip, in its order.
        size: of a window: edge of a square in pixels, or [height, width].
        gaps: the largest, in frames.
        widen_every: steps; None = all gaps from the start.
    """

    def __init__(self, origin: Origin, size: int | list[int], gaps: int = 3, widen_every: int | None = None) -> None:
        super().__init__(origin, size)
        check_range("FramePairs gaps", gaps, 1)
        if widen_every is not None:
            check_range("FramePairs widen_every", widen_every, 1)
        self.gaps, self.widen_every = gaps, widen_every

    def most(self, step: int) -> int:
        """The largest gap in a step."""
        return self.gaps if self.widen_every is None else min(self.gaps, 1 + step // self.widen_every)

    def view(self, images: Tensor, ids: Tensor, step: int, uniform: Callable[..., Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Origin`: the later frame is to be denoised, where the gap is positive."""
        frames, number = self._numbers(ids)
        most = min(self.most(step), len(frames) - 1)
        every = torch.cat([torch.arange(-most, 0), torch.arange(1, most + 1)])
        inside = ((number[:, None] - every) >= 0) & ((number[:, None] - every) < len(frames))
        chosen = (uniform("gap", 1)[:, 0] * inside.sum(1)).long()  # of those that are inside, counted from 0
        gap = every[(inside.cumsum(1) == chosen[:, None] + 1).int().argmax(1)]
        places, size = uniform("crop", 2), self.shape[1:]
        before = cropped(frames[number - gap], *size, places)
        return cropped(frames[number], *size, places), {"before": before, "gap": gap}


class FrameTriples(FrameWindows):
    """A frame with its neighbors beside it, `before` and `after`; the first and the last one have the place of theirs."""

    def view(self, images: Tensor, ids: Tensor, step: int, uniform: Callable[..., Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Origin`."""
        frames, number = self._numbers(ids)
        number = number.clamp(1, len(frames) - 2)
        places, size = uniform("crop", 2), self.shape[1:]
        target, before, after = (cropped(frames[number + k], *size, places) for k in (0, -1, 1))
        return target, {"before": before, "after": after}
