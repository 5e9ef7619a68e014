"""Which drawn images are worth training on."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bootlight.errors import BootlightError, check_range
from bootlight.metrics.reward import check_spread, rewards
from bootlight.rng import numpy_rng

if TYPE_CHECKING:
    from bootlight.metrics.reward import Reward
    from bootlight.runs.curation import Row
    from bootlight.runs.generation import Generation, Images

BATCH_SIZE = 100


class Curator(ABC):
    """Looks at the images of a generation when they have been drawn.

    Attributes:
        identity: attributes, with their values, by which all images are kept and count alike; None = there are none.
        references: published parts that it needs, by names of its choice; it asks `generation.published` for them.
        judges_by: networks of the evaluation that it needs, `judge` and `features`; they are there before the first generation.
    """

    identity: Mapping[str, Any] | None = None
    judges_by: Sequence[str] = ()
    references: Mapping[str, str] = {}

    def check_parts(self, parts: Mapping[str, Any]) -> None:  # noqa: B027  (most need none)
        """Look at modules like those that `references` lead to, by the same names, before anything is trained.

        Raises:
            BootlightError: it cannot judge by them.
        """

    @abstractmethod
    def rows(self, rows: list[Row], images: Images, generation: Generation) -> Sequence[Row]:
        """One row for each image, in the same order; which are not kept is as good as not drawn for later generations.

        Args:
            rows: of the manifest, all kept, of weight 1. Weights are scaled to mean 1 over what is kept.
            images: in the order of the rows.
            generation: context, real images, published networks.
        """


class KeepAll(Curator):
    """Everything stays as it was drawn."""

    identity: Mapping[str, Any] | None = {}

    def rows(self, rows: list[Row], images: Images, generation: Generation) -> Sequence[Row]:
        """See `Curator`."""
        return rows


class RewardCurator(Curator):
    """Looks at the rewards of the images alone.

    Args:
        reward: of images, higher is better.
    """

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.judges_by = reward.judges_by

    def rows(self, rows: list[Row], images: Images, generation: Generation) -> Sequence[Row]:
        """See `Curator`.

        Raises:
            BootlightError: a reward is no number, or the run does not have what it judges by.
        """
        self.reward.begin(generation)
        labels = [row.label for row in rows]
        found = rewards(self.reward, images.batches(BATCH_SIZE), labels, generation.device)
        return self.judged(rows, found, generation)

    @abstractmethod
    def judged(self, rows: list[Row], found: list[float], generation: Generation) -> Sequence[Row]:
        """As `rows`, from the reward of each image."""


class ByReward(RewardCurator):
    """Keeps the share of the images with the highest reward, of equal ones those that come first, and may weight them by it.

    The loop drifts to whatever the reward likes (Ferbach et al. 2024). With weights it is reward-weighted regression (RWR in
    Black et al. 2024); few of the best without weights are its sparse kind.

    Args:
        reward: of images, higher is better.
        share: of the images, in (0, 1]; rounded, at least one is kept.
        beta: an image that is kept counts in proportion to exp(reward / beta); None = all alike.
        shuffle_rewards: give each image the reward of another one: a control.
    """

    identity: Mapping[str, Any] | None = {"share": 1.0, "beta": None}

    def __init__(self, reward: Reward, share: float = 0.5, beta: float | None = None, shuffle_rewards: bool = False) -> None:
        check_range("share", share, 0, 1)
        if share == 0:
            raise BootlightError("share is 0; give the share of the images that is kept, up to 1")
        if beta is not None:
            check_positive("beta", beta)
        super().__init__(reward)
        self.share = share
        self.beta = beta
        self.shuffle_rewards = shuffle_rewards

    def judged(self, rows: list[Row], found: list[float], generation: Generation) -> Sequence[Row]:
        """See `RewardCurator`.

        Raises:
            BootlightError: all rewards are equal, and something hangs on them.
        """
        if self.share < 1 or self.beta is not None:
            check_spread(type(self.reward).__name__, found)
        if self.shuffle_rewards:
            streams = (generation.context.seed, generation.number, "shuffled rewards")
            found = [found[i] for i in numpy_rng(*streams).permutation(len(found))]
        order = sorted(range(len(rows)), key=lambda i: -found[i])
        kept = set(order[: max(1, round(self.share * len(rows)))])
        best = found[order[0]]
        weights = [1.0 if self.beta is None else math.exp((value - best) / self.beta) for value in found]
        return [
            row._replace(keep=i in kept, why=f"reward {found[i]:.6g}", weight=weights[i] if i in kept else 1.0)
            for i, row in enumerate(rows)
        ]


class Threshold(RewardCurator):
    """Keeps the images whose reward is at least a limit.

    Args:
        reward: of images, higher is better; such as `JudgeLogit` or `Realism`.
        least: the limit; minus infinity keeps all.
    """

    identity: Mapping[str, Any] | None = {"least": -math.inf}

    def __init__(self, reward: Reward, least: float) -> None:
        if math.isnan(least) or least == math.inf:
            raise BootlightError(f"least is {least}; no image would be kept: give a number")
        super().__init__(reward)
        self.least = least

    def judged(self, rows: list[Row], found: list[float], generation: Generation) -> Sequence[Row]:
        """See `RewardCurator`."""
        kept = zip(rows, found, strict=True)
        return [row._replace(keep=value >= self.least, why=f"reward {value:.6g}") for row, value in kept]


def check_positive(name: str, value: float) -> None:
    """Refuse what nothing can be divided by.

    Raises:
        BootlightError: it is not above 0, or infinite.
    """
    if not 0 < value < math.inf:
        raise BootlightError(f"{name} is {value}; it must be above 0")
