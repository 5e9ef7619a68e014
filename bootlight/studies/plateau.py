"""When a training leaves the plateau of its first losses, or that it has none.

The curve is taken in blocks of `BLOCK_STEPS` steps, each by its median, which single spikes do not move; level means the mean
of `SMOOTH` blocks. What came before the first `SETTLE` blocks is the start of a new network. At each step from the margin on
(`SETTLE` + `LENGTH` blocks) three questions are asked, of the curve so far and of the next `HOLD` blocks:

- far: do all levels from the third block on lie beyond all levels before, on one side, by `FAR` times their range and
  `FAR` x `NOISE` standard errors of a level, which come from the differences of successive blocks?
- flat: is the curve before without memory? Von Neumann's ratio, half the mean square of successive differences over the
  variance (1 of independent blocks, near 0 of a drift or a random walk), is at least `RATIO`; or the change is `VERY_FAR`
  times the range.

The first step with both is where the plateau was left. No answer looks further than `HOLD` blocks ahead, so how long a
training went on does not change when it left. Decays and drifts change before a step at least as much as after it, and random
walks nearly so: they are "no plateau". What changes between the third block and the margin, from flat to flat, is told apart
as having left before the margin. A curve that never left is a plateau only while its level is constant: see `_uneven`.

The constants were chosen, and the rates of false answers measured, by `benchmarks/coverage_plateau.py`; docs/studies.md has
the figures. Sources: von Neumann (1941), Annals of Mathematical Statistics 12, 367, for the ratio.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import stats

LEFT, EARLY, STAYED, NO_PLATEAU = "left", "left before the margin", "never left", "no plateau"
BLOCK_STEPS = 8  # or one logged loss, where they are logged less often
SETTLE = 5  # blocks
LENGTH = 15  # blocks that a plateau has at least
HOLD = 10  # blocks that a change must last
SMOOTH = 5  # blocks
TRANSITION = 2  # blocks that a change may take
FAR, VERY_FAR, NOISE, RATIO = 3.0, 10.0, 3.0, 0.5
MARGIN = SETTLE + LENGTH
MIN_BLOCKS = MARGIN + TRANSITION + LENGTH  # then it is known whether the plateau was left before the margin
FALSE_UNEVEN = 0.05  # share of constant levels with independent noise that are called "no plateau", however long
SHORT_MEMORY = 1.5  # times that the variance over `HOLD` blocks may be that of independent blocks
MEMORY = 0.65  # von Neumann's ratio below which noise is no noise about a level but wanders
LARGEST = 1e100
ROUNDING = 1e-9  # of a level; means of equal values differ by less


class Plateau(NamedTuple):
    """What became of a curve; all in steps.

    Attributes:
        state: `LEFT`, `EARLY`, `STAYED` or `NO_PLATEAU`, at the end of the curve.
        step: the first at the new level; None where no plateau was left.
        uneven: by when the level was known not to be constant; None where it is.
        margin: before it a plateau cannot be told from the start of a network.
        hold: what must follow a change for it to be known.
        last: of the curve.
    """

    state: str
    step: int | None
    uneven: int | None
    margin: int
    hold: int
    last: int


def find_plateau(steps: Sequence[int], losses: Sequence[float]) -> Plateau | None:
    """Whether, and when, a loss curve left its plateau.

    Args:
        steps: rising, logged at equal distances.
        losses: as many; those that are no numbers are left out.

    Returns:
        None with fewer than `MIN_BLOCKS` blocks.
    """
    values = np.asarray(losses, dtype=np.float64)
    kept = np.isfinite(values) & (abs(values) < LARGEST)
    values, positions = values[kept], np.asarray(steps)[kept]
    if len(values) < MIN_BLOCKS:
        return None
    spacing = int(np.diff(positions[:MIN_BLOCKS]).min())  # of neighbours: some losses may be left out
    points = max(1, BLOCK_STEPS // spacing)
    if len(values) < MIN_BLOCKS * points:
        return None
    blocks = np.median(values[: len(values) // points * points].reshape(-1, points), axis=1)
    margin, hold, last = MARGIN * points * spacing, HOLD * points * spacing, int(positions[-1])
    looks = _uneven(blocks)
    uneven = None if looks is None else int(positions[looks * points - 1])
    if (early := _early(blocks)) is not None and (found := _locate(values, blocks, early, points)) < MARGIN * points:
        return Plateau(EARLY, int(positions[found]), uneven, margin, hold, last)
    change = _first_change(blocks)
    step = None if change is None else int(positions[max(_locate(values, blocks, change, points), change * points)])
    return Plateau(state_at(last, step, uneven, hold), step, uneven, margin, hold, last)


def state_at(end: float, step: float | None, uneven: float | None, hold: float) -> str:
    """What is known of a plateau that was not left early when the training ends at `end`; all in one unit."""
    if step is not None and step + hold <= end:
        return LEFT
    return STAYED if uneven is None or uneven > end - hold else NO_PLATEAU


def _first_change(blocks: NDArray[np.float64]) -> int | None:
    """The first block at which a plateau is known to have been left."""
    at = np.arange(MARGIN, len(blocks) - HOLD + 1)
    levels = sliding_window_view(blocks, SMOOTH).mean(axis=1)
    lowest, highest = (f.accumulate(levels[SETTLE:])[at - SMOOTH - SETTLE] for f in (np.minimum, np.maximum))
    after = sliding_window_view(levels, HOLD - SMOOTH - TRANSITION + 1)[at + TRANSITION]
    away = np.maximum(lowest - after.max(axis=1), after.min(axis=1) - highest)
    squares = (np.diff(blocks[SETTLE:]) ** 2).cumsum()[at - SETTLE - 2] / (at - SETTLE - 1)
    ranges = highest - lowest + ROUNDING * np.maximum(abs(highest), abs(lowest))
    found = _is_change(away, ranges, squares, _variances(blocks[SETTLE:])[at - SETTLE - 1])
    return int(at[found.argmax()]) if found.any() else None


def _is_change(
    away: NDArray[np.float64], ranges: NDArray[np.float64], squares: NDArray[np.float64], variances: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The questions of this module: far, and flat."""
    scale = np.maximum(ranges, NOISE * np.sqrt(squares / 2 / SMOOTH))
    flat = (squares / 2 >= RATIO * variances) | (away >= VERY_FAR * scale)
    answer: NDArray[np.bool_] = (away > 0) & (away >= FAR * scale) & flat
    return answer


def _variances(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of the first 1, 2, ... values; of one it is 0."""
    counts, shifted = np.arange(1, len(values) + 1), values - values[0]  # equal values have 0
    squares: NDArray[np.float64] = (shifted**2).cumsum() - shifted.cumsum() ** 2 / counts
    return squares.clip(min=0) / np.maximum(counts - 1, 1)


def _early(blocks: NDArray[np.float64]) -> int | None:
    """The first block before the margin at which a flat start, of three blocks or more, gives way to a plateau."""
    at = np.arange(3, MARGIN)
    means = [np.convolve(blocks[:k], np.full(max(1, k // 4), 1 / max(1, k // 4)), "valid") for k in at.tolist()]
    lowest, highest = np.array([mean.min() for mean in means]), np.array([mean.max() for mean in means])
    raw = sliding_window_view(blocks, LENGTH)[at + TRANSITION]
    levels = sliding_window_view(sliding_window_view(blocks, SMOOTH).mean(axis=1), LENGTH - SMOOTH + 1)[at + TRANSITION]
    away = np.maximum(lowest - levels.max(axis=1), levels.min(axis=1) - highest)
    ranges = np.maximum(highest - lowest, np.ptp(levels, axis=1)) + ROUNDING * np.maximum(abs(highest), abs(lowest))
    found = _is_change(away, ranges, (np.diff(raw) ** 2).mean(axis=1), raw.var(axis=1, ddof=1))
    return int(at[found.argmax()]) if found.any() else None


def _locate(values: NDArray[np.float64], blocks: NDArray[np.float64], at: int, points: int) -> int:
    """The loss, within `HOLD` blocks of a change, that begins the new level: least squares between both levels."""
    start = max(0, at - HOLD) * points
    old, new = np.median(blocks[max(0, at - HOLD) : at]), np.median(blocks[at + HOLD - SMOOTH : at + HOLD])
    near = values[start : (at + HOLD) * points].clip(min(old, new), max(old, new))
    costs = np.concatenate([[0.0], ((near - old) ** 2 - (near - new) ** 2).cumsum()])
    return start + int(costs[:-1].argmin())


def _uneven(blocks: NDArray[np.float64]) -> int | None:
    """The number of blocks by which the level is known not to be constant; None where it may be.

    Two tests since the start has settled, looked at again with each stretch of `HOLD` blocks: analysis of variance of the
    stretches, and von Neumann's ratio of the blocks, which is nearly normal with variance 1/n where they are independent. The
    k-th look has 1 / (k (k - 1)) of the rate of false answers, so that all together keep it.
    """
    count = (len(blocks) - SETTLE) // HOLD
    blocks = blocks[SETTLE : SETTLE + count * HOLD]
    stretches, looks = blocks.reshape(count, HOLD), np.arange(2, count + 1)
    numbers, rate = looks * HOLD, FALSE_UNEVEN / 2 / (looks * (looks - 1))
    between, within = HOLD * _variances(stretches.mean(axis=1))[1:], stretches.var(axis=1, ddof=1).cumsum()[1:] / looks
    differ = between > SHORT_MEMORY * within * stats.f.isf(rate, looks - 1, looks * (HOLD - 1))
    squares, variances = (np.diff(blocks) ** 2).cumsum()[numbers - 2] / (numbers - 1), _variances(blocks)[numbers - 1]
    remember = squares / 2 < variances * np.minimum(MEMORY, 1 - stats.norm.isf(rate) / np.sqrt(numbers))
    found = differ | remember
    return SETTLE + HOLD * int(looks[found.argmax()]) if found.any() else None
