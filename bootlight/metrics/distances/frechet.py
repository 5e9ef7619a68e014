"""Fréchet distance between two sets of features, with its standard error (FID: Heusel et al. 2017, eq. 6)."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bootlight.metrics.distances.congruence import congruence
from bootlight.metrics.distances.frechet_left_out import frechet_without
from bootlight.metrics.distances.frechet_remarks import collapse_remarks, count_remark, real_bias, tails_remark
from bootlight.metrics.distances.statistics import (
    Statistics,
    above_rounding,
    above_zero,
    feature_statistics,
    kurtosis,
    less_overlap,
    reference_statistics,
)
from bootlight.metrics.exact import blocks
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.features.features import score_name
from bootlight.metrics.once import shared
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import jackknife_standard_error

STEP = 0.4  # of the logarithm of u in the integral over roots; its error is exp(-π² / STEP) = 2e-11, relatively


def frechet_distance(*, real: Statistics, synthetic: Statistics) -> float:
    """Squared 2-Wasserstein distance of two Gaussians: |m_r - m_s|² + tr C_r + tr C_s - 2 tr (C_r C_s)^½.

    With C_r = A Aᵀ the product C_r C_s has the non-zero eigenvalues of Aᵀ C_s A, which is symmetric and positive
    semi-definite. So the trace of the root is a sum of real roots at any rank, and no complex number can occur.

    Returns:
        The distance, >= 0. Rounding of eigenvalues near zero adds at most about D * 1.5e-8 * the largest eigenvalue; against
        50 digits, with condition numbers up to 1e24, it was at most 0.4 of that.
    """
    return _distance(real, synthetic, torch.linalg.eigvalsh(congruence(synthetic.cov, real.factor)))


def _distance(real: Statistics, synthetic: Statistics, values: Tensor) -> float:
    """`frechet_distance` from the ascending eigenvalues of the overlap."""
    shift = (real.mean - synthetic.mean).square().sum()
    return less_overlap(shift + real.cov.trace() + synthetic.cov.trace(), values, rank=min(real.n, synthetic.n) - 1)


class Jackknife(NamedTuple):
    """A Fréchet distance and what leaving out single synthetic images says of it; None for 2 images, of which none can go.

    Attributes:
        value: the distance.
        standard_error: over redraws of the synthetic images.
        bias: by how much the distance at n images exceeds that at infinitely many on average, to first order in 1/n.
        synthetic: statistics of the synthetic features.
        carriers: on how many images the error rests, if each had the same part: (Σ c²)² / Σ c⁴ with c the changes without
            each image less their mean. It is n over the kurtosis of these changes.
        kurtosis: of the synthetic features, see `statistics.kurtosis`.
    """

    value: float
    standard_error: float | None
    bias: float | None
    synthetic: Statistics
    carriers: float | None = None
    kurtosis: float | None = None


def frechet_jackknife(*, real: Statistics, synthetic_features: Tensor) -> Jackknife:
    r"""Fréchet distance with standard error and bias by leaving out each synthetic image in turn (Quenouille 1956, Tukey 1958).

    Without the image of features x, d = x - m_s, the mean is m_s - d / (n - 1) and the covariance
    (n - 1)/(n - 2) (C_s - w d dᵀ) with w = n / (n - 1)². All follows from the roots of a matrix K = Aᵀ C_s A from which
    w v vᵀ is taken, v = Aᵀ d. From √k = 2/π ∫ k / (k + u²) du and det(K + u² - w v vᵀ) = det(K + u²) (1 - w q(u)),

        tr (K - w v vᵀ)^½ - tr K^½ = 1/π ∫_0^∞ log(1 - w q(u)) du,    q(u) = vᵀ (K + u²)⁻¹ v,

    which holds at any rank. One eigendecomposition gives q for all images; the integral is a sum over log u. So each image is
    left out exactly. To first order (the infinitesimal jackknife) the error was down to 0.3 of the true spread at n = D.

    The standard error errs towards caution (Efron and Stein 1981). In `benchmarks/coverage.py` it was 0.95 to 1.6 times the
    spread over redraws of normal features, about √2 where the distributions are equal and the spread is of second order; with a
    kurtosis of 6 it was down to 0.84 for n <= 2 D, where value ± 1.96 errors held 86 %, and heavier tails are worse; see
    `frechet_remarks.tails_remark`. It does not cover the draw of the reference. The bias, for flat normal features, is too
    large by D / (6 n) of itself, and may be half of itself off for n <= D.

    Args:
        real: statistics of the reference, taken as exact.
        synthetic_features: (N, D).

    Raises:
        BootlightError: as `feature_statistics`.
    """
    synthetic = feature_statistics(synthetic_features)
    n = synthetic.n
    spectrum = _wide_spectrum if n < real.factor.shape[1] else _tall_spectrum
    values, project = spectrum(real, synthetic, synthetic_features.detach().cpu())
    value = _distance(real, synthetic, values)
    if n == 2:
        return Jackknife(value, None, None, synthetic)
    keep = torch.zeros(len(values), dtype=torch.bool)
    keep[-(min(real.n, n) - 1) :] = True
    keep &= above_rounding(values)
    changes = _changes(synthetic, synthetic_features, real, values[keep], lambda rows, block: project(rows, block)[:, keep])
    error = jackknife_standard_error(changes) or 0.0  # 0 where all images are the same
    parts = (changes - changes.mean()).square()
    carriers = (parts.sum().square() / parts.square().sum()).item() if error else None
    tails = kurtosis(synthetic_features, synthetic)
    return Jackknife(value, error, (n - 1) * changes.mean().item(), synthetic, carriers, tails)


Projection = Callable[[slice, Tensor], Tensor]  # rows of images and what they deviate (B, D) -> squares of Aᵀ d along vectors


def _tall_spectrum(real: Statistics, synthetic: Statistics, features: Tensor) -> tuple[Tensor, Projection]:
    """Ascending eigenvalues (r,) of K, and how images lie along its vectors, (B, r), by the vectors."""
    values, vectors = torch.linalg.eigh(congruence(synthetic.cov, real.factor))
    directions = real.factor @ vectors
    return values, lambda rows, deviations: (deviations @ directions).square()


def _wide_spectrum(real: Statistics, synthetic: Statistics, features: Tensor) -> tuple[Tensor, Projection]:
    """The same where images are fewer than features: of all products (N, N) of v, whose other eigenvalues are those of K."""
    rows = (features.double() - synthetic.mean) @ real.factor
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    squares = vectors.square() * values.clamp(min=0)
    return values / (synthetic.n - 1), lambda rows, deviations: squares[rows]


def _changes(synthetic: Statistics, features: Tensor, real: Statistics, values: Tensor, project: Projection) -> Tensor:
    """By how much the distance changes without each image, (n,), from the eigenvalues (r,) of K and the images along them."""
    n = synthetic.n
    weight, scale = n / (n - 1) ** 2, (n - 1) / (n - 2)
    shift = synthetic.mean - real.mean
    reach = math.log(1e12 * n)  # what lies beyond is less than 1e-11 of the change
    nodes = torch.arange(-reach, reach, STEP, dtype=torch.float64).exp() * values.sum().sqrt()
    resolvents = (values[:, None] + nodes.square()).reciprocal()
    changes = torch.empty(n, dtype=torch.float64)
    for rows, block in blocks(features.detach().cpu()):
        deviations = block - synthetic.mean
        squares = deviations.square().sum(1)
        q = project(rows, deviations) @ resolvents
        # An image that alone spans a direction has w q(0) = 1; rounding must not carry it beyond.
        logarithms = (-weight * q).clamp(min=-1 + torch.finfo(q.dtype).eps).log1p()
        roots = logarithms @ nodes * (STEP / math.pi)
        means = squares / (n - 1) ** 2 - 2 * deviations @ shift / (n - 1)
        changes[rows] = means - scale * weight * squares - 2 * math.sqrt(scale) * roots
    return changes + (scale - 1) * synthetic.cov.trace() - 2 * (math.sqrt(scale) - 1) * values.sqrt().sum()


def both_sides(real: Tensor, synthetic: Tensor) -> tuple[Statistics, Jackknife]:
    """Statistics of the reference and `frechet_jackknife`, from features (N, D) and (M, D); computed once inside `once`."""
    reference = reference_statistics(real)
    compute = partial(frechet_jackknife, real=reference, synthetic_features=synthetic)
    return reference, shared("jackknife", (real, synthetic), compute)


class FrechetDistance(FeatureMetric):
    """Fréchet distance of synthetic to real images in the feature space of a network.

    The number depends on the number of images: the bias is upwards and falls like 1/n, on either side. `remarks` tell of
    fewer than 10 images for each feature, and of a collapsed set; see `frechet_remarks` for the rules.

    Args:
        features: as for `FeatureMetric`; features are kept because the standard error needs them.
        name: what the number is called; None: `score_name` of the network.
        settings: as for `FeatureMetric`.
    """

    higher_is_better = False

    def __init__(
        self,
        *,
        features: nn.Module,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(features=features, **settings)
        self.name = name or score_name(features)

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The distance with its standard error over the synthetic images; None for only 2 of them.

        Raises:
            BootlightError: fewer than 2 images on a side, or features that are not finite.
        """
        reference, found = both_sides(real, synthetic)
        score = Score(
            value=found.value,
            standard_error=found.standard_error,
            n=len(synthetic),
            protocol=self.common_protocol(real, synthetic),
            remarks=count_remark("synthetic", found.synthetic, found.bias) + reference_remarks(reference, found, synthetic),
            higher_is_better=self.higher_is_better,
        )
        return {self.name: score}

    def values_without(self, real: Tensor, synthetic: Tensor, groups: Tensor) -> dict[str, list[float]]:
        """See `FeatureMetric.values_without`."""
        found = frechet_without(real=reference_statistics(real), synthetic_features=synthetic, groups=groups)
        return {self.name: found}


def reference_remarks(real: Statistics, found: Jackknife, synthetic_features: Tensor) -> tuple[str, ...]:
    """Whether tails are heavy, the reference large enough, and either side collapsed; see `frechet_remarks` for the rules."""
    synthetic = found.synthetic
    if synthetic.n < len(synthetic.mean):  # of so few images the products have the same eigenvalues but for zeros
        rows = synthetic_features.detach().cpu().double() - synthetic.mean
        synthetic.known.setdefault("variances", above_zero(torch.linalg.eigvalsh(rows @ rows.T / (synthetic.n - 1))))
    collapsed = collapse_remarks(
        real_variances=real.variances,
        synthetic_variances=synthetic.variances,
        num_real=real.n,
        num_synthetic=synthetic.n,
    )
    tails = tails_remark(found.kurtosis, found.carriers, synthetic.n)
    return tails + count_remark("real", real, real_bias(real, synthetic, found.bias)) + collapsed
