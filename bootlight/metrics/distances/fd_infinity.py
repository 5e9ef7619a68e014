"""Fréchet distance at infinitely many synthetic images, by extrapolation (FD-infinity: Chong and Forsyth 2020)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.metrics.distances.frechet import Jackknife, both_sides, frechet_jackknife, reference_remarks
from bootlight.metrics.distances.statistics import Statistics
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.features.features import score_name
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import Z95
from bootlight.rng import torch_rng

LEAST_PER_FEATURE = 2  # images for each feature; half of them then have a covariance of full rank


class Extrapolation(NamedTuple):
    """A Fréchet distance extrapolated to infinitely many synthetic images.

    Attributes:
        value: the intercept; may be negative where the distributions are nearly the same.
        standard_error: over redraws of the synthetic images.
        interval: 95 %, for the distance of the synthetic distribution to the reference.
        full: what was found with all images.
        curved: whether a line through the halves was drawn; False below 2 images for each feature.
    """

    value: float
    standard_error: float
    interval: tuple[float, float]
    full: Jackknife
    curved: bool


def frechet_infinity(
    *, real: Statistics, synthetic_features: Tensor, seed: int = 0, full: Jackknife | None = None
) -> Extrapolation:
    r"""Intercept of the Fréchet distance over 1/n, where n counts the synthetic images and the reference is fixed.

    The expected distance is F + a/n + b/n² + .... Chong and Forsyth (2020, section 3) fit a straight line to distances of
    random subsets; these lie far out on the curve, and for n = 5 D or 10 D their intercept was too low by up to 18 times the
    spread of the distance (`benchmarks/coverage.py`). Here the slope at n itself comes from leaving out single images:
    J(n) = distance - `bias` has the expectation F - b/n² + .... The rest is a line over 1/n² through J of all images and the
    mean J of two random halves. Its intercept is free of a and b, and where the spread is of second order its variance is a
    ninth above that of J.

    To first order every image counts alike in the whole and in the halves that share it, so that the standard error of the
    intercept is that of the distance itself; the jackknife's errs towards caution. The interval is wider by D / (n/2) times the
    change from J to the intercept: for a flat spectrum, the worst case, about twice the terms left out (from the law of
    Marchenko and Pastur, for every n > 2 D).

    With fewer than 2 D images the halves are singular and say nothing: the value is then J, and the interval reaches from 0
    to the distance with its error, because its expectation lies above F (the distance is convex in mean and covariance).

    Args:
        real: statistics of the reference, taken as exact: what its own draw adds to the distance remains.
        synthetic_features: (N, D), N >= 3.
        seed: of the halves.
        full: `frechet_jackknife` of the same, where it is known.

    Raises:
        BootlightError: fewer than 3 images, or features that are not finite.
    """
    full = full or frechet_jackknife(real=real, synthetic_features=synthetic_features)
    if full.standard_error is None or full.bias is None:
        raise BootlightError("a distance at infinitely many images needs at least 3 synthetic images, got 2; draw more")
    n, size = synthetic_features.shape
    straight, margin = full.value - full.bias, Z95 * full.standard_error
    if n < max(LEAST_PER_FEATURE * size, 6):
        interval = (min(0.0, straight), max(straight, full.value + margin))
        return Extrapolation(straight, full.standard_error, interval, full, curved=False)
    order = torch.randperm(n, generator=torch_rng("halves", seed)).to(synthetic_features.device)
    halves = (order[: n // 2], order[n // 2 :])
    intercepts = [_straight(frechet_jackknife(real=real, synthetic_features=synthetic_features[half])) for half in halves]
    place = sum(1 / len(half) ** 2 for half in halves) / 2
    value = straight + (straight - sum(intercepts) / 2) / (place * n**2 - 1)
    margin += abs(value - straight) * size / (n // 2)
    return Extrapolation(value, full.standard_error, (value - margin, value + margin), full, curved=True)


def _straight(found: Jackknife) -> float:
    """The distance less its bias."""
    assert found.bias is not None  # a half has at least 3 images
    return found.value - found.bias


class FrechetInfinity(FeatureMetric):
    """Fréchet distance that synthetic images would have if there were infinitely many: `fid-infinity`.

    Comparable at any number of synthetic images, which the Fréchet distance itself is not. The reference is taken as it is:
    against another number of real images it is another number. May be negative where nothing is to be seen.

    Args:
        features: as for `FeatureMetric`.
        name: what the number is called; None: `score_name` of the network with `-infinity`.
        seed: of the subsets.
        settings: as for `FeatureMetric`.
    """

    higher_is_better = False

    def __init__(
        self,
        *,
        features: nn.Module,
        name: str | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(features=features, **settings)
        self.name = name or f"{score_name(features)}-infinity"
        self.seed = seed

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The intercept with its standard error over the synthetic images and an interval; see `frechet_infinity`.

        Raises:
            BootlightError: fewer than 2 real or 3 synthetic images, or features that are not finite.
        """
        reference, full = both_sides(real, synthetic)
        found = frechet_infinity(real=reference, synthetic_features=synthetic, seed=self.seed, full=full)
        few = (
            f"{len(synthetic)} synthetic images are fewer than {LEAST_PER_FEATURE} for each of {real.shape[1]} features: the "
            "interval reaches from 0 to the distance itself; draw more, or compare by kid.",
        )
        score = Score(
            value=found.value,
            standard_error=found.standard_error,
            n=len(synthetic),
            protocol={
                **self.common_protocol(real, synthetic),
                "extrapolation": "jackknife, line over 1/n^2 through two halves" if found.curved else "jackknife",
                "seed": self.seed,
            },
            interval=found.interval,
            remarks=(() if found.curved else few) + reference_remarks(reference, found.full, synthetic),
            higher_is_better=self.higher_is_better,
        )
        return {self.name: score}
