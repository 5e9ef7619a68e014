"""Vendi score: the effective number of different images (Friedman & Dieng 2023)."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.metrics.exact import blocks, checked, unit
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.score import Score

IMAGES_FOR_EACH = 10  # fewer images for each effectively different one leave too little room under the bound n


class VendiEstimate(NamedTuple):
    """A Vendi score, from 1 to min(N, D), and its standard error over redraws of the images; None for one image."""

    value: float
    standard_error: float | None


def vendi_score(features: Tensor, order: float = 1.0) -> VendiEstimate:
    r"""Exponential of the entropy of the eigenvalues of K/n, where K_ij is the cosine of features i and j (definition 3.1).

    The eigenvalues other than 0 are those of C = UᵀU/n too, with U the features scaled to length 1; the smaller matrix is
    taken. Orders other than 1 take Rényi's entropy log(Σ λ^q) / (1 - q) (Pasarkar & Dieng 2024): larger ones look at the
    common kinds of images, at infinity the largest eigenvalue alone.

    Standard error by the infinitesimal jackknife: an image of direction u has on the logarithm of the score the influence
    Σ_k (u·v_k)² f(λ_k) less its mean, with v_k the eigenvectors of C and f the derivative of the entropy by an eigenvalue,
    -log λ for order 1. For Gaussian features with unequal eigenvalues, N from 50 to 400, it was 0.9 to 1.1 times the true
    spread; at equal eigenvalues, where influences are noise, 1.5 times for orders 1 and 2 and up to 3.4 times at infinity. It
    does not cover the bias, which is downwards and falls slowly with N if many eigenvalues are small (Ospanov & Farnia 2024).

    Args:
        features: (N, D), N >= 1. Rows of zeros count as one kind of images, unlike all others.
        order: q > 0, may be infinite.

    Raises:
        BootlightError: no image, or features that are not finite.
    """
    features = checked(features, least=1, metric="a Vendi score", side="synthetic")
    values, directions = _spectrum(features)
    entropy, derivative = _entropy(values, order)
    if len(features) < 2:
        return VendiEstimate(entropy.exp().item(), None)
    influences = torch.cat([(unit(block) @ directions).square() @ derivative for _, block in blocks(features)])
    return VendiEstimate(entropy.exp().item(), (entropy.exp() * influences.std() / len(features) ** 0.5).item())


def _spectrum(features: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (R,) above rounding error and eigenvectors (D + 1, R) of C, by the smaller of C and K/n."""
    n = len(features)
    if n > features.shape[1]:
        return _above_rounding(*torch.linalg.eigh(sum(unit(block).T @ unit(block) / n for _, block in blocks(features))))
    rows = unit(features)
    values, vectors = _above_rounding(*torch.linalg.eigh(rows @ rows.T / n))
    return values, rows.T @ vectors / (n * values).sqrt()


def _above_rounding(values: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Those ascending eigenvalues, with their eigenvectors, that are more than the rounding error of a zero."""
    keep = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    return values[keep], vectors[:, keep]


def _entropy(values: Tensor, order: float) -> tuple[Tensor, Tensor]:
    """Rényi entropy of positive eigenvalues (R,), and its derivative by each up to a common constant, (R,)."""
    if order == 1:
        return -(values * values.log()).sum(), -values.log()
    if math.isinf(order):
        return -values[-1].log(), -(values == values[-1]).double() / values[-1]
    powers = values**order
    return powers.sum().log() / (1 - order), order * powers / values / (powers.sum() * (1 - order))


class VendiScore(FeatureMetric):
    """Vendi score of the synthetic images, `vendi`, and of the real ones for comparison, `vendi/real`.

    The effective number of kinds of images in a set, from 1, all alike, to the number of images, all orthogonal. It grows
    with that number, so only sets of equal size compare, and knows nothing of likeness to the real images: noise scores
    high. The standard error of either covers redraws of its own images, not the bias.

    Args:
        features: as for `FeatureMetric`.
        order: q > 0 of the entropy; `.inf` for infinity. Other orders than 1 are named `vendi-q<order>`.
        settings: as for `FeatureMetric`.

    Raises:
        BootlightError: `order` is not positive.
    """

    higher_is_better = None  # noise and images of other things score highest

    def __init__(
        self,
        *,
        features: nn.Module,
        order: float = 1.0,
        **settings: Any,
    ) -> None:
        super().__init__(features=features, **settings)
        if not order > 0:
            raise BootlightError(f"VendiScore.order is {order}; it must be positive")
        self.order = order
        self.name = "vendi" if order == 1 else f"vendi-q{order:g}"

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """Both scores, from features (N, D) and (M, D); that of the real images only where there are any.

        Raises:
            BootlightError: no synthetic image, or features that are not finite.
        """
        order = self.order if math.isfinite(self.order) else "infinity"  # JSON has none
        unequal = f"{len(real)} real and {len(synthetic)} synthetic images: the score grows with their number, do not compare."
        scores = {}
        for name, features in ((self.name, synthetic), (f"{self.name}/real", real)):
            if len(features) or features is synthetic:
                value, error = vendi_score(features, self.order)
                remarks = _remarks(len(features), value) + ((unequal,) if len(real) not in (0, len(synthetic)) else ())
                protocol = self.common_protocol(real, synthetic) | {"kernel": "cosine", "order": order}
                scores[name] = Score(value, error, len(features), protocol, remarks=remarks)
        return scores


def _remarks(images: int, value: float) -> tuple[str, ...]:
    if images >= IMAGES_FOR_EACH * value:
        return ()
    return (f"{images} images bound this score; fewer than {IMAGES_FOR_EACH} for each kind of image, so it reads low.",)
