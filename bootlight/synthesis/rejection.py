"""Curators that keep an image by chance, the more likely the better it is; by counters, so that a run can be repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from bootlight.errors import check_range
from bootlight.metrics.realism import JudgeLogit
from bootlight.rng import numpy_rng
from bootlight.synthesis.curator import RewardCurator, check_positive

if TYPE_CHECKING:
    from bootlight.metrics.reward import Reward
    from bootlight.runs.curation import Row
    from bootlight.runs.generation import Generation

Floats = NDArray[np.float64]
EPSILON = 1e-14  # of Azadi et al. 2019, section 3.3: the best image too has a finite F


class RejectionSampling(RewardCurator):
    """Keeps an image with a probability in proportion to exp(reward); of the best one it is 1.

    Where the reward is the logarithm of the ratio of two densities, wanted over drawn, what is kept has the wanted one. With
    the judge's logit it is discriminator rejection sampling (Azadi et al. 2019), which is as exact as the judge. In high
    dimensions few images are kept: `percentile` shifts the logits so that more are, at the price of the law.

    Args:
        reward: logarithm of a ratio of densities but for a constant; the logit of the run's judge if left out.
        percentile: of the images, in percent, that get a probability below one half (gamma of equation 8); None = no shift.
    """

    identity: Mapping[str, Any] | None = None

    def __init__(self, reward: Reward | None = None, percentile: float | None = None) -> None:
        if percentile is not None:
            check_range("percentile", percentile, 0, 100)
        super().__init__(reward or JudgeLogit())
        self.percentile = percentile

    def judged(self, rows: list[Row], found: list[float], generation: Generation) -> Sequence[Row]:
        """See `RewardCurator`."""
        chances = acceptance(np.array(found), self.percentile)
        drawn = numpy_rng(generation.context.seed, generation.number, "rejection").random(len(rows))
        if not (drawn < chances).any():
            drawn[chances.argmax()] = 0  # with a shift even the best one may be rejected, and somebody must stay
        return [
            row._replace(keep=bool(u < chance), why=f"accepted with {chance:.3g}")
            for row, u, chance in zip(rows, drawn.tolist(), chances.tolist(), strict=True)
        ]


def acceptance(logits: Floats, percentile: float | None = None) -> Floats:
    """Probabilities (n,) with which images are kept: exp(logit - largest), or sigmoid(F - gamma) with equation 8's F.

    Args:
        logits: (n,).
        percentile: see `RejectionSampling`.
    """
    below = logits - logits.max()
    if percentile is None:
        return np.exp(below)
    f = below - np.log(-np.expm1(below - EPSILON))
    found: Floats = expit(f - np.percentile(f, percentile))
    return found


class KChoice(RewardCurator):
    """Of every k images one is kept, with a probability in proportion to exp(reward / temperature) among them.

    The choice of Bradley and Terry (k = 2) and of Luce, as users of a generator make it (Ferbach et al. 2024, section 2.1). So
    with `bootstrap.num_synthetic` k times as large as wanted; images follow each other in the order of their numbers, the last
    ones compete in a smaller group.

    Args:
        k: images that compete; 1 keeps all.
        reward: of images; all alike where it is left out together with k = 1.
        temperature: by which rewards are divided; towards 0 the best is always chosen.
    """

    identity: Mapping[str, Any] | None = {"k": 1}

    def __init__(self, reward: Reward, k: int = 4, temperature: float = 1.0) -> None:
        check_range("k", k, 1)
        check_positive("temperature", temperature)
        super().__init__(reward)
        self.k = k
        self.temperature = temperature

    def judged(self, rows: list[Row], found: list[float], generation: Generation) -> Sequence[Row]:
        """See `RewardCurator`."""
        uniform = numpy_rng(generation.context.seed, generation.number, "choice").random(-(-len(rows) // self.k))
        kept = set(winners(np.array(found) / self.temperature, self.k, uniform))
        return [row._replace(keep=i in kept, why=f"reward {found[i]:.6g}") for i, row in enumerate(rows)]


def winners(rewards: Floats, k: int, uniform: Floats) -> list[int]:
    """Position of the one that is chosen of every k, by the inverse of the distribution function.

    Args:
        rewards: (n,).
        k: that compete.
        uniform: one number in [0, 1) for each group.
    """
    groups = [range(start, min(start + k, len(rewards))) for start in range(0, len(rewards), k)]
    chances = [softmax(rewards[group.start : group.stop]) for group in groups]
    return [
        group[min(int(np.searchsorted(np.cumsum(chance), u, side="right")), len(group) - 1)]
        for group, chance, u in zip(groups, chances, uniform, strict=True)
    ]
