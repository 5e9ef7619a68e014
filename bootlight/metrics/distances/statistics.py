"""Mean and covariance of features, and what distances need of them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics.exact import blocks
from bootlight.metrics.once import kept


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of a set of features, float64 on the CPU.

    Attributes:
        mean: (D,).
        cov: (D, D), divided by n - 1 as in pytorch-fid and torch-fidelity.
        n: number of images; at most n - 1 eigenvalues of `cov` differ from zero.
        known: `factor` and `variances`, where they were computed before.
    """

    mean: Tensor
    cov: Tensor
    n: int
    known: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def factor(self) -> Tensor:
        """A with A Aᵀ = `cov`, (D, rank): Cholesky's where it exists, else eigenvectors times roots of eigenvalues.

        Either is exact to the rounding of `cov`; the first takes a tenth of the time.
        """
        return self._known("factor", self._factor)

    @property
    def variances(self) -> Tensor:
        """Eigenvalues of `cov`, (D,), ascending; those that are rounding errors of zeros are 0."""
        return self._known("variances", lambda: above_zero(torch.linalg.eigvalsh(self.cov)))

    def _known(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        if name not in self.known:
            self.known[name] = compute()
        return self.known[name]

    def _factor(self) -> Tensor:
        if self.n > len(self.cov):
            lower, failed = torch.linalg.cholesky_ex(self.cov)
            if not failed:
                return lower.contiguous()  # as it will be read from a file: the layout decides on the last digits
        values, vectors = torch.linalg.eigh(self.cov)
        self.known.setdefault("variances", above_zero(values))  # to rounding what `variances` would compute
        keep = above_rounding(values)
        return (vectors[:, keep] * values[keep].sqrt()).contiguous()


def above_rounding(values: Tensor) -> Tensor:
    """Which ascending eigenvalues of a positive semi-definite matrix are more than the rounding error of a zero."""
    return values > len(values) * torch.finfo(values.dtype).eps * values[-1:].clamp(min=0)


def above_zero(values: Tensor) -> Tensor:
    """Ascending eigenvalues of a positive semi-definite matrix, those that are rounding errors of zeros set to 0."""
    return values * above_rounding(values)


def less_overlap(apart: Tensor, values: Tensor, *, rank: int) -> float:
    """A Fréchet distance from |m_r - m_s|² + tr C_r + tr C_s and ascending eigenvalues of Aᵀ C_s A, `rank` of them not 0."""
    return max((apart - 2 * values[-rank:].clamp(min=0).sqrt().sum()).item(), 0.0)


def feature_statistics(features: Tensor) -> Statistics:
    """Mean and unbiased covariance of features (N, D) of any float type, computed in float64.

    Raises:
        BootlightError: fewer than 2 images, or a feature that is not finite.
    """
    n = len(features)
    if n < 2:
        raise BootlightError(f"a Fréchet distance needs at least 2 images on each side, got {n}; draw more")
    features = features.detach().cpu()
    sums = torch.stack([block.sum(0) for _, block in blocks(features)])
    if not sums.isfinite().all():  # float64 sums of finite float32 numbers are finite
        raise BootlightError("the feature network answered with NaN or infinity; check its weights")
    mean = sums.sum(0) / n
    cov = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for _, block in blocks(features):
        centred = block - mean
        cov += centred.T @ centred
    return Statistics(mean, cov / (n - 1), n)


def kurtosis(features: Tensor, statistics: Statistics) -> float:
    """3 E|d|⁴ / ((tr C)² + 2 tr C²), with d what features (N, D) deviate from their mean and C their covariance.

    It is 3 for normal features of any covariance. For one feature it is the usual kurtosis; for normal features times a random
    scale s of each image, 3 E s⁴ / (E s²)². Unlike Mardia's it needs no inverse of C, so that it exists for n <= D too. Where
    all features are the same it is 3.
    """
    fourth = sum(
        ((block - statistics.mean).square().sum(1).square().sum() for _, block in blocks(features.detach().cpu())),
        start=torch.zeros((), dtype=torch.float64),
    )
    normal = statistics.cov.trace().square() + 2 * statistics.cov.square().sum()
    return (3 * fourth / len(features) / normal).item() if normal > 0 else 3.0


def reference_statistics(features: Tensor) -> Statistics:
    """`feature_statistics` of a reference with all that is needed of it, computed once inside `once`."""

    def compute() -> dict[str, Tensor]:
        found = feature_statistics(features)
        return {"mean": found.mean, "cov": found.cov, "factor": found.factor, "variances": found.variances}

    known = kept("frechet", features, compute)
    return Statistics(known["mean"], known["cov"], len(features), dict(known))
