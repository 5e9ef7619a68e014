"""Which drawn images are worth training on."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bootlight.errors import BootlightError, check_range
from bootlight.metrics.reward import rewards

if TYPE_CHECKING:
    from bootlight.metrics.reward import Reward
    from bootlight.runs.curation import Row
    from bootlight.runs.generation import Generation, Images

BATCH_SIZE = 100


class Curator(ABC):
    """Looks at the images of a generation when they have been drawn.

    Attributes:
        identity: attributes, with their values, by which all images are kept and count alike; None = there are none.
    """

    identity: Mapping[str, Any] | None = None

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


class ByReward(Curator):
    """Keeps the share of the images with the highest reward, of equal ones those that come first, and may weight them by it.

    The loop drifts to whatever the reward likes (Ferbach et al. 2024). With weights it is reward-weighted regression (RWR in
    Black et al. 2024); few of the best without weights are its sparse kind.

    Args:
        reward: of images, higher is better.
        share: of the images, in (0, 1]; rounded, at least one is kept.
        beta: an image that is kept counts in proportion to exp(reward / beta); None = all alike.
    """

    identity: Mapping[str, Any] | None = {"share": 1.0, "beta": None}

    def __init__(self, reward: Reward, share: float = 0.5, beta: float | None = None) -> None:
        check_range("share", share, 0, 1)
        if share == 0:
            raise BootlightError("share is 0; give the share of the images that is kept, up to 1")
        if beta is not None and not 0 < beta < math.inf:
            raise BootlightError(f"beta is {beta}; it must be above 0")
        self.reward = reward
        self.share = share
        self.beta = beta

    def rows(self, rows: list[Row], images: Images, generation: Generation) -> Sequence[Row]:
        """See `Curator`.

        Raises:
            BootlightError: a reward is no number.
        """
        found = rewards(self.reward, images.batches(BATCH_SIZE), [row.label for row in rows], generation.device)
        order = sorted(range(len(rows)), key=lambda i: -found[i])
        kept = set(order[: max(1, round(self.share * len(rows)))])
        best = found[order[0]]
        weights = [1.0 if self.beta is None else math.exp((value - best) / self.beta) for value in found]
        return [
            row._replace(keep=i in kept, why=f"reward {found[i]:.6g}", weight=weights[i] if i in kept else 1.0)
            for i, row in enumerate(rows)
        ]
