"""When a GAN leaves the plateau of its first losses: the step at which the discriminator's loss changes its level.

The curve is smoothed by a running median, and the step is sought that splits it best into two constant levels (least squares).
There the curve crosses the middle of both levels. The plateau counts as left when one change of level explains at least half
of the variance of the smoothed curve, and more of it than a straight line: noise explains less, a steady drift is no plateau.
Otherwise the time is censored: the training was too short to see it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bootlight.metrics.score import Score

PLATEAU_STEPS = "plateau_steps"
PLATEAU_PASSES = "plateau_passes"
LOSS = "train/loss_d"
SETTLE = 0.02  # share of the points at the start: networks of any kind begin at the loss of a coin
WINDOW = 0.025  # share of the points of the running median
MARGIN = 0.05  # share of the points that either level has at least
MIN_POINTS = 40
EXPLAINED = 0.5


class Plateau(NamedTuple):
    """Where a curve changes its level.

    Attributes:
        step: the change, or the last step where none was found.
        left: whether one was found.
        levels: means of the smoothed curve before and after it.
        explained: share of the variance of the smoothed curve that the two levels explain.
    """

    step: int
    left: bool
    levels: tuple[float, float]
    explained: float


def find_plateau(steps: Sequence[int], losses: Sequence[float]) -> Plateau | None:
    """The change of level of a loss curve.

    Args:
        steps: rising.
        losses: as many; those that are no numbers are left out.

    Returns:
        None with fewer than `MIN_POINTS` finite losses.
    """
    values = np.asarray(losses, dtype=np.float64)
    kept = np.isfinite(values) & (abs(values) < 1e100)
    values, positions = values[kept], np.asarray(steps)[kept]
    if len(values) < MIN_POINTS:
        return None
    start = round(SETTLE * len(values))
    smooth, positions = running_median(values, max(3, round(WINDOW * len(values)) | 1))[start:], positions[start:]
    split, within = _best_split(smooth)
    total = float(((smooth - smooth.mean()) ** 2).sum())
    explained = 1 - within / total if np.ptp(smooth) > 0 else 0.0  # sums of equal values differ by rounding
    left = explained >= EXPLAINED and explained > _line_explains(smooth)
    levels = (float(smooth[:split].mean()), float(smooth[split:].mean()))
    return Plateau(int(positions[split] if left else positions[-1]), left, levels, explained)


def plateau_scores(history: Mapping[str, tuple[list[int], list[float]]], *, batch_size: float, size: int) -> dict[str, Score]:
    """The time on the plateau in steps, and in passes over the training set; nothing where the run logged no such loss.

    A censored time is that of the whole training, so that a mean over seeds is then a lower bound; the protocol says `left`.

    Args:
        history: training curves, as `tracking.history.read_history` gives them.
        batch_size: images of one step.
        size: images of the training set.
    """
    plateau = find_plateau(*history[LOSS]) if LOSS in history else None
    if plateau is None:
        return {}
    last = history[LOSS][0][-1]
    units = {PLATEAU_STEPS: 1.0} | ({PLATEAU_PASSES: batch_size / size} if size else {})
    return {
        name: Score(plateau.step * unit, None, 1, {"curve": LOSS, **plateau._asdict(), "trained": last * unit})
        for name, unit in units.items()
    }


def num_stayed(scores: Iterable[Score]) -> int:
    """How many of these times are censored: the plateau was not left."""
    return sum(score.protocol.get("curve") == LOSS and score.protocol.get("left") is False for score in scores)


def restricted(first: Mapping[int, Score], second: Mapping[int, Score]) -> tuple[dict[int, Score], dict[int, Score]]:
    """Times of two arms as far as both trained, where some are censored; other scores as they are.

    The mean time up to a common end is comparable between arms that trained for different times, the plain mean is not.
    """
    scores = [*first.values(), *second.values()]
    if not num_stayed(scores):
        return dict(first), dict(second)
    end = min(score.protocol["trained"] for score in scores if score.protocol.get("curve") == LOSS)
    cut = [{seed: s._replace(value=min(s.value, end)) for seed, s in arm.items()} for arm in (first, second)]
    return cut[0], cut[1]


def running_median(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Median of each value and its neighbours, `window` (odd) of them, fewer at the ends."""
    half = window // 2
    padded = np.pad(values, half, constant_values=np.nan)
    medians: NDArray[np.float64] = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)
    return medians


def _best_split(values: NDArray[np.float64]) -> tuple[int, float]:
    """Where to cut so that both parts are as constant as can be: length of the first, and the sum of squares within both."""
    n, values = len(values), values - values.mean()
    counts = np.arange(1, n)
    left = values.cumsum()[:-1]
    between = left**2 * n / (counts * (n - counts))  # the total, which the mean taken away makes 0, is left + right
    margin = max(1, round(MARGIN * n))
    between[: margin - 1] = between[n - margin :] = -1.0
    best = int(between.argmax())
    return best + 1, float((values**2).sum() - between[best])


def _line_explains(values: NDArray[np.float64]) -> float:
    """Share of the variance that a straight line explains."""
    x = np.arange(len(values)) - (len(values) - 1) / 2
    y = values - values.mean()
    return float((x @ y) ** 2 / ((x @ x) * (y @ y))) if np.ptp(values) > 0 else 0.0
