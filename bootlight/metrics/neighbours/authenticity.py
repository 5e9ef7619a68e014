"""Authenticity: the share of synthetic images that are no copies of real ones (Alaa et al. 2022)."""

import torch
from torch import Tensor

from bootlight.metrics.exact import checked
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.neighbours.neighbours import nearest
from bootlight.metrics.score import SHARE, Score
from bootlight.metrics.uncertainty import WILSON, binomial_standard_error, means_without, wilson_interval


def authentic(*, real: Tensor, synthetic: Tensor) -> Tensor:
    """Whether each synthetic image is authentic, (M,) booleans.

    With i the real image nearest to synthetic image j, j is authentic if d(j, i) > d(i, nearest other real image): it is
    then not closer to a training image than training images are to each other. An exact copy never is authentic.

    Args:
        real: features (N, D) of the images that the generator was trained on, N > 1.
        synthetic: features (M, D).
    """
    to_real, indices = nearest(synthetic, real, 1)
    hit, positions = torch.unique(indices[:, 0], return_inverse=True)
    among_real, _ = nearest(real[hit], real, 2)  # of which the first is the image itself, or an equal one: both at distance 0
    return to_real[:, 0] > among_real[positions, 1]


class Authenticity(FeatureMetric):
    """Authenticity in per cent, `authpct` (Alaa et al. 2022, the authenticity classifier with nearest neighbours).

    It means what it says only if the reference is the set that the generator was trained on.

    What a generator without fault scores is not 100. Were synthetic images drawn from the distribution of the real ones, a
    synthetic image fails where it and its real neighbour are each other's nearest. For a smooth density in d dimensions and
    very many images the chance of that is the volume of a ball over that of two balls of its radius, one's centre on the
    other's surface: 2/3 for d = 1, 0.62 for d = 2, falling to 1/2, so the score is 33 to 50. With fewer images it is more,
    since a few central images are nearest to many: 300 images of normal features scored 66 for d = 16 and 79 for d = 64. So
    compare with held-out real images in the place of the synthetic ones: less means copies, more means farther from the real
    images than they are from each other; poor images score 100.

    Uncertainty, over redraws of the synthetic images with the reference fixed: given the reference, synthetic images are
    authentic independently of each other, so error and Wilson interval are those of a binomial share. Not covered: the draw of
    the reference.

    Args:
        features: as for `FeatureMetric`.
        settings: as for `FeatureMetric`.
    """

    higher_is_better = None  # real images score neither 0 nor 100
    name = "authpct"

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The score under `name`, in [0, 100].

        Raises:
            BootlightError: fewer than 2 real images or no synthetic image, or a feature that is not finite.
        """
        real = checked(real, least=2, metric="authpct", side="real")
        synthetic = checked(synthetic, least=1, metric="authpct", side="synthetic")
        n = len(synthetic)
        share = authentic(real=real, synthetic=synthetic).double().mean().item()
        error = binomial_standard_error(share, n)
        low, high = wilson_interval(share, n)
        score = Score(
            value=100 * share,
            standard_error=None if error is None else 100 * error,
            n=n,
            protocol={**self.common_protocol(real, synthetic), SHARE: WILSON},
            interval=(100 * low, 100 * high),
            remarks=_remarks(n),
            higher_is_better=self.higher_is_better,
        )
        return {self.name: score}

    def values_without(self, real: Tensor, synthetic: Tensor, groups: Tensor) -> dict[str, list[float]]:
        """See `FeatureMetric.values_without`."""
        real = checked(real, least=2, metric="authpct", side="real")
        synthetic = checked(synthetic, least=1, metric="authpct", side="synthetic")
        shares = means_without(authentic(real=real, synthetic=synthetic), groups)
        return {"authpct": [100 * share for share in shares]}


def _remarks(num_synthetic: int) -> tuple[str, ...]:
    few = 100  # half the width of the interval at 40 per cent is then ten points
    if num_synthetic >= few:
        return ()
    return (f"only {num_synthetic} synthetic images: below {few} the interval is wider than 10 per cent to each side",)
