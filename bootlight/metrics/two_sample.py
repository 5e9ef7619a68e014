"""Can two sets of images be told apart at all? A permutation test of the kernel distance between them."""

import torch
from torch import Tensor, nn

from bootlight.errors import check_range
from bootlight.metrics.exact import checked
from bootlight.metrics.features.feature_metric import FeatureMetric, common_protocol
from bootlight.metrics.score import TOLD_APART, Score
from bootlight.rng import torch_rng

LEVEL = 0.05  # of a test: so many of the sets that are not different are called different
LEAST = 8  # images of each side: with 4 and 4 no p-value below 1/70 exists, and hardly a difference is seen
MAX_IMAGES = 1000  # of each side: the kernel matrix of 2,000 takes 32 MB
ROUNDING = 1e-9  # of the spread of the statistic: what differs less is equal, as regroupings of repeated images are


class ToldApart(FeatureMetric):
    """Whether two sets of images can be told apart in a feature space: p-value of a permutation test of their kernel distance.

    The statistic is the unbiased squared MMD (Gretton et al. 2012, eq. 3) of the kernel exp(-2 |x - y| / d), d the mean
    distance of all images of both sets; its expectation is 0 for equal distributions alone (Fukumizu et al. 2009). No kernel
    finds every change best; docs/evaluation.md has this one beside others, KID's among them, which sees three moments.
    Where all images are independent draws of one distribution their division into two sets is exchangeable, so that at most
    a share of p of such pairs of sets has a p-value of p or less, however few the images and whatever the distribution
    (Phipson & Smyth 2010).

    A small p says that the sets differ, however little; a large one that so many images do not show it, not that they are
    equal. Images that are copies, or cut from one picture, are no independent draws: then a small p may say that alone.

    Args:
        features: as for `FeatureMetric`.
        permutations: of the images; p is at least 1 / (permutations + 1).
        seed: of the permutations, and of the choice of images where there are more than 1,000 on a side.
        reset_real_features: whether `reset` forgets the reference too.
        sync_on_compute: whether `compute` waits for all processes; False where one process measures alone.

    Raises:
        BootlightError: fewer than 19 permutations, which could never say anything.
    """

    name = TOLD_APART
    higher_is_better = None

    def __init__(
        self,
        *,
        features: nn.Module,
        permutations: int = 999,
        seed: int = 0,
        reset_real_features: bool = False,
        sync_on_compute: bool = True,
    ) -> None:
        super().__init__(features=features, reset_real_features=reset_real_features, sync_on_compute=sync_on_compute)
        check_range("ToldApart.permutations", permutations, 19)
        self.permutations = permutations
        self.seed = seed

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The p-value under `told-apart`.

        Raises:
            BootlightError: fewer than 8 images on a side, or features that are not finite.
        """
        sides = [
            _some(checked(features, least=LEAST, metric="the test of two sets", side=side), self.seed, side)
            for side, features in (("real", real), ("synthetic", synthetic))
        ]
        rng = torch_rng(self.seed, "two-sample test")
        count, total = len(sides[0]), sum(map(len, sides))
        first = torch.zeros(self.permutations + 1, total, dtype=torch.bool)
        first[0, :count] = True
        for row in first[1:]:
            row[torch.randperm(total, generator=rng)[:count]] = True
        statistics = split_distances(laplace_kernel(torch.cat(sides).cpu()), first)
        protocol = {
            **common_protocol(self._features.network, *sides),
            "test": f"permutation, {self.permutations:,} of them",
            "kernel": "exp(-2 |x-y| / mean distance)",
            "seed": self.seed,
            "distance": statistics[0].item(),
        }
        return {TOLD_APART: Score(p_value(statistics), None, len(sides[1]), protocol)}


def laplace_kernel(features: Tensor) -> Tensor:
    """exp(-2 |x - y| / mean distance) between all pairs of features (N, D), (N, N) float64; all 1 where all are equal."""
    exact = features.double()
    distances = torch.cdist(exact, exact)
    mean = distances.sum() / (len(exact) * (len(exact) - 1))
    return (distances * (-2 / mean)).exp() if mean > 0 else torch.ones_like(distances)


def split_distances(kernel: Tensor, first: Tensor) -> Tensor:
    """Unbiased squared MMD of several divisions of the same images into two sets; one matrix product for all of them.

    Args:
        kernel: between all pairs of images, (N, N) float64.
        first: which images are the first set, (B, N) bool, the same number of them in each row, 2 to N - 2.

    Returns:
        (B,) float64.
    """
    n = int(first[0].sum())
    m = first.shape[1] - n
    pairs = kernel.clone().fill_diagonal_(0)
    chosen = first.double()
    sums, whole = pairs.sum(1), pairs.sum()
    within = ((chosen @ pairs) * chosen).sum(1)
    between = chosen @ sums - within
    others = whole - within - 2 * between
    return within / (n * (n - 1)) + others / (m * (m - 1)) - 2 * between / (n * m)


def p_value(statistics: Tensor) -> float:
    """Share of the divisions whose statistic is at least that of the first one, itself among them.

    Args:
        statistics: of the division as it was found, then of others, random or all there are, (B,).
    """
    spread = (statistics.max() - statistics.min()).item()
    return (statistics >= statistics[0] - ROUNDING * spread).double().mean().item()


def _some(features: Tensor, seed: int, side: str) -> Tensor:
    """At most `MAX_IMAGES` of the features, chosen at random."""
    if len(features) <= MAX_IMAGES:
        return features
    chosen = torch.randperm(len(features), generator=torch_rng(seed, "two-sample test", side))[:MAX_IMAGES]
    return features[chosen.sort().values.to(features.device)]
