"""Noise levels first, then an image that may be trained at each: levels are met as often as if all images were clean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.rng import derive_key, random_words, split_key, to_uniform

if TYPE_CHECKING:
    from bootlight.data.mixing import Source

TRIES = (4, 64)  # random images of which the first that may be trained there is taken; after that all are looked at
SLACK = np.float32(1e-6)  # of sigma, which is computed in float32


class Levels(Protocol):
    """How a model draws the noise levels of a step; a copy on the CPU that can be sent to a worker process."""

    def draw(self, u: Tensor, position: Tensor) -> tuple[Tensor, Tensor | None]:
        """`t` (B,) and weights; see `TimestepSampler.draw`."""

    def sigma(self, t: Tensor) -> Tensor:
        """Noise over signal at `t`, (B,)."""

    def usable(self, ranges: NDArray[np.float32]) -> NDArray[np.float32]:
        """The ranges of sigma, (n, 2), that images are trained at whose `Source.noise` is `ranges`."""

    def met(self) -> NDArray[np.float64]:
        """The levels that may be drawn: all of a table, rising, or the lowest and the highest of a continuum."""

    @property
    def continuous(self) -> bool:
        """Whether what lies between the levels of `met` may be drawn too."""


def ranges_of(sources: Sequence[Source]) -> NDArray[np.float32]:
    """`Source.noise` of each image (n, 2), one source after the other."""
    found = np.tile(np.array([0, np.inf], np.float32), (sum(map(len, sources)), 1))
    start = 0
    for source in sources:
        if source.noise is not None:
            found[start : start + len(source)] = source.noise
        start += len(source)
    return found


class Eligible:
    """Which of many images may be trained at a level.

    Args:
        ranges: float32 (n, 2), the least and the largest sigma of each.
    """

    def __init__(self, ranges: NDArray[np.float32]) -> None:
        self.low, self.high = ranges[:, 0] * (1 - SLACK), ranges[:, 1] * (1 + SLACK)
        self.order = np.argsort(self.low, kind="stable")
        self.rising = self.low[self.order]
        self.ends = np.sort(self.high)

    def count(self, sigma: NDArray[np.float64] | NDArray[np.float32]) -> NDArray[np.int64]:
        """How many images may be trained at levels (k,)."""
        begun = np.searchsorted(self.rising, sigma, "right")
        return begun - np.searchsorted(self.ends, sigma, "left")

    def choose(self, sigma: NDArray[np.float32], key: int, rows: Tensor) -> NDArray[np.int64]:
        """One of the images at each level (B,), all alike: a function of the key and its row (B,) alone."""
        begun = np.searchsorted(self.rising, sigma, "right")
        if (begun == 0).any():
            raise _none_at(float(sigma[begun == 0][0]))
        chosen = np.full(len(sigma), -1)
        for tries in TRIES:
            left = np.flatnonzero(chosen < 0)
            if len(left):
                words = random_words(split_key(key), rows[torch.from_numpy(left)][:, None], tries).numpy()
                tried = self.order[words * begun[left, None] >> 32]  # of the images that have begun, all alike
                good = self.high[tried] >= sigma[left, None]
                first = tried[np.arange(len(left)), good.argmax(1)]
                chosen[left] = np.where(good.any(1), first, -1)
        for place in np.flatnonzero(chosen < 0):  # few of those that have begun have not ended
            can = np.flatnonzero((self.low <= sigma[place]) & (self.high >= sigma[place]))
            if not len(can):
                raise _none_at(float(sigma[place]))
            word = random_words(split_key(key), rows[place].reshape(1, 1), TRIES[-1] + 1)[0, -1]
            chosen[place] = can[int(word) * len(can) >> 32]
        return chosen

    def lacking(self, levels: Levels) -> float | None:
        """A level that may be drawn and that no image may be trained at; None where there is none."""
        wanted = levels.met()
        if levels.continuous:  # an image that ends there leaves a gap just above
            low, high = float(wanted[0]), float(wanted[-1])
            ends = np.unique(self.ends[np.isfinite(self.ends)]).astype(np.float64)
            wanted = np.concatenate([[low, high], np.nextafter(ends[(ends >= low) & (ends < high)], np.inf)])
        without = wanted[self.count(wanted) == 0]
        return float(without[0]) if len(without) else None


@dataclass(frozen=True)
class LevelsFirst:
    """What chooses levels and images of a step.

    Args:
        levels: of the model.
        eligible: by the ranges that the model makes of those of the images.
    """

    levels: Levels
    eligible: Eligible

    def choose(self, seed: int, start: int, count: int, total: int) -> tuple[NDArray[np.int64], Tensor, Tensor | None]:
        """Positions of images, `t` and weights of a rank's share of a step.

        The levels are those that the model would draw itself: of the same stream, `Batch.uniform("t")`.

        Args:
            seed: of the step.
            start: of the share.
            count: images of the share.
            total: images of the step.
        """
        rows = torch.arange(total)
        u = to_uniform(random_words(split_key(derive_key(seed, "t")), rows[:, None], 1))[:, 0]
        own = rows[start : start + count]
        t, weight = self.levels.draw(u, own)
        sigma = self.levels.sigma(t).numpy().astype(np.float32)
        return self.eligible.choose(sigma, derive_key(seed, "eligible image"), own), t, weight


def levels_first(model: Any, sources: Sequence[Source]) -> LevelsFirst | None:
    """For a training set of which some images may not be trained at every level; None for others.

    Args:
        model: None, or what is trained; where it has no `noise_levels` it may see images in shuffled passes.
        sources: the training set.

    Raises:
        BootlightError: a range is empty, at some level no image may be trained, or the model draws levels after the images.
    """
    if all(source.noise is None for source in sources):
        return None
    ranges = ranges_of(sources)
    check_ranges(ranges)
    asked = getattr(model, "noise_levels", None)
    levels: Levels | None = asked() if callable(asked) else None
    if levels is None:
        return None
    eligible = Eligible(levels.usable(ranges))
    gap = eligible.lacking(levels)
    if gap is not None:
        raise _none_at(gap)
    return LevelsFirst(levels, eligible)


def check_ranges(ranges: NDArray[np.float32]) -> None:
    """Refuse ranges that are none.

    Raises:
        BootlightError: says one.
    """
    wrong = ~((ranges[:, 0] >= 0) & (ranges[:, 0] <= ranges[:, 1]))
    if wrong.any():
        low, high = ranges[wrong][0].tolist()
        raise BootlightError(
            f"data.mixing: {int(wrong.sum()):,} images may be trained from sigma {low:g} to {high:g}, where nothing lies; give "
            "the least and then the largest sigma"
        )


def _none_at(sigma: float) -> BootlightError:
    return BootlightError(
        f"no image may be trained at sigma {sigma:.3g}, which the model's schedule has: add clean images, or keep the schedule "
        "to the levels that the images allow (model.schedule.sigma_min of bootlight.SigmaSchedule)"
    )
