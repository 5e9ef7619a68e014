"""Fréchet distance between two sets of features, with its standard error (FID: Heusel et al. 2017, eq. 6)."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from bootlight.errors import BootlightError
from bootlight.metrics.features import feature_name, score_name
from bootlight.metrics.frozen import Frozen
from bootlight.metrics.score import Score


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of a set of features, float64 on the CPU.

    Attributes:
        mean: (D,).
        cov: (D, D), divided by n - 1 as in pytorch-fid and torch-fidelity.
        n: number of images; at most n - 1 eigenvalues of `cov` differ from zero.
    """

    mean: Tensor
    cov: Tensor
    n: int

    @cached_property
    def factor(self) -> Tensor:
        """A with A Aᵀ = `cov`, (D, rank): eigenvectors times roots of the eigenvalues above rounding error."""
        values, vectors = torch.linalg.eigh(self.cov)
        keep = _above_rounding(values)
        return vectors[:, keep] * values[keep].sqrt()


def _above_rounding(values: Tensor) -> Tensor:
    """Which ascending eigenvalues of a positive semi-definite matrix are more than the rounding error of a zero."""
    return values > len(values) * torch.finfo(values.dtype).eps * values[-1:].clamp(min=0)


def feature_statistics(features: Tensor) -> Statistics:
    """Mean and unbiased covariance of features (N, D) of any float type, computed in float64.

    Raises:
        BootlightError: fewer than 2 images, or a feature that is not finite.
    """
    if len(features) < 2:
        raise BootlightError(f"a Fréchet distance needs at least 2 images on each side, got {len(features)}; draw more")
    exact = features.detach().cpu().double()
    if not exact.isfinite().all():
        raise BootlightError("the feature network answered with NaN or infinity; check its weights")
    mean = exact.mean(0)
    centred = exact - mean
    return Statistics(mean, centred.T @ centred / (len(exact) - 1), len(exact))


def frechet_distance(*, real: Statistics, synthetic: Statistics) -> float:
    """Squared 2-Wasserstein distance of two Gaussians: |m_r - m_s|² + tr C_r + tr C_s - 2 tr (C_r C_s)^½.

    With C_r = A Aᵀ the product C_r C_s has the non-zero eigenvalues of Aᵀ C_s A, which is symmetric and positive
    semi-definite. So the trace of the root is a sum of real roots at any rank, and no complex number can occur.

    Returns:
        The distance, >= 0. Rounding of eigenvalues near zero adds at most about D * 1.5e-8 * the largest eigenvalue.
    """
    values = torch.linalg.eigvalsh(_overlap(real, synthetic))
    rank = min(real.n, synthetic.n) - 1
    root_trace = values[-rank:].clamp(min=0).sqrt().sum()
    shift = (real.mean - synthetic.mean).square().sum()
    distance = shift + real.cov.trace() + synthetic.cov.trace() - 2 * root_trace
    return max(distance.item(), 0.0)


def _overlap(real: Statistics, synthetic: Statistics) -> Tensor:
    """Aᵀ C_s A, exactly symmetric, (rank of C_r, rank of C_r)."""
    product = real.factor.T @ synthetic.cov @ real.factor
    return (product + product.T) / 2


def frechet_standard_error(*, real: Statistics, synthetic_features: Tensor) -> float:
    r"""Standard error of `frechet_distance` over redraws of the synthetic images, by the infinitesimal jackknife.

    Move a little weight to one image with features x. Its mean then moves along d = x - m_s and its covariance along
    d dᵀ - C_s. The derivative of the distance by m_s is 2 (m_s - m_r). The derivative of tr (Aᵀ C_s A)^½ by C_s is
    ½ A (Aᵀ C_s A)^{-½} Aᵀ, because tr f(K) has the derivative f'(K); so that of the distance by C_s is I - T with
    T = A (Aᵀ C_s A)^{-½} Aᵀ, the map that transports C_s to C_r. Together the image has the influence

        2 (m_s - m_r)·d + dᵀ (I - T) d  - its mean,

    and to first order the distance is a mean of influences: its standard error is their standard deviation over √n. Where
    the root is singular its inverse is taken on the range of Aᵀ C_s A, in which all Aᵀ d lie.

    Not covered: the bias of the distance at finite n, which is upwards, falls like 1/n and for n near D exceeds this error by
    far; the draw of the reference images; the case of equal distributions, where influences vanish and the spread is of second
    order. The derivation supposes n much larger than D. For Gaussians with D = 256 and n from D/4 to 4 D the mean answer was
    0.8 to 1.9 times the true spread, but 0.4 times for a flat spectrum, n = D and a reference of four times the variance.

    Args:
        real: statistics of the reference, taken as exact.
        synthetic_features: (N, D).

    Returns:
        The standard error, >= 0, in the unit of the distance.
    """
    synthetic = feature_statistics(synthetic_features)
    deviations = synthetic_features.detach().cpu().double() - synthetic.mean
    values, vectors = torch.linalg.eigh(_overlap(real, synthetic))
    keep = _above_rounding(values)
    transported = (deviations @ (real.factor @ vectors[:, keep])).square() @ values[keep].rsqrt()
    linear = 2 * deviations @ (synthetic.mean - real.mean)
    influences = linear + deviations.square().sum(1) - transported
    return (influences.std() / synthetic.n**0.5).item()


class FrechetDistance(Metric):
    """Fréchet distance of synthetic to real images in the feature space of a network.

    Features are kept, (N, D) float32 on the device of the images: the standard error needs them. Where processes are
    synchronised each must have seen at least one image of each side.

    Args:
        features: maps uint8 images (B, 3, H, W) to (B, D). Grey images are repeated to three channels unless it has an
            attribute `channels` that is 1. An attribute `protocol`, a dict, is added to the score's protocol.
        name: what the number is called; None: `score_name` of the network.
        reset_real_features: whether `reset` forgets the reference too.
        sync_on_compute: whether `compute` waits for all processes; False where one process measures alone.
    """

    full_state_update = True  # `forward` else adds the reference that `reset` keeps to itself
    higher_is_better = False
    is_differentiable = False
    real_features: list[Tensor]
    synthetic_features: list[Tensor]

    def __init__(
        self,
        *,
        features: nn.Module,
        name: str | None = None,
        reset_real_features: bool = False,
        sync_on_compute: bool = True,
    ) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.name = name or score_name(features)
        self.reset_real_features = reset_real_features
        self._features = Frozen(features)
        self._real_statistics: Statistics | None = None
        self.add_state("real_features", [], dist_reduce_fx="cat")
        self.add_state("synthetic_features", [], dist_reduce_fx="cat")

    def update(self, images: Tensor, *, real: bool) -> None:
        """Add images.

        Args:
            images: uint8 (B, 1 or 3, H, W).
            real: whether they belong to the reference.

        Raises:
            TypeError: not uint8.
            BootlightError: the network does not answer with one row of features for each image.
        """
        if images.dtype != torch.uint8:
            raise TypeError(f"FrechetDistance takes uint8 images, not {images.dtype}; bootlight.images.to_uint8 converts")
        if images.shape[1] == 1 and getattr(self._features.network, "channels", 3) != 1:
            images = images.expand(-1, 3, -1, -1)
        features = self._features(images)
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
            answer = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise BootlightError(
                f"evaluation.features: {type(self._features.network).__name__} answered {answer} to {len(images)} images; it "
                f"must answer one row of features for each, ({len(images)}, D)"
            )
        (self.real_features if real else self.synthetic_features).append(features)

    def compute(self) -> Score:
        """The distance with its standard error over the synthetic images.

        Raises:
            BootlightError: fewer than 2 images on a side.
        """
        real = self._reference()
        features = _joined(self.synthetic_features)
        synthetic = feature_statistics(features)
        network = self._features.network
        return Score(
            value=frechet_distance(real=real, synthetic=synthetic),
            standard_error=frechet_standard_error(real=real, synthetic_features=features),
            n=synthetic.n,
            protocol={
                "features": feature_name(network),
                "num_features": len(real.mean),
                "num_real": real.n,
                "num_synthetic": synthetic.n,
                **getattr(network, "protocol", {}),
            },
        )

    def reset(self) -> None:
        """Forget the synthetic images; the reference stays unless `reset_real_features`."""
        reference = list(self.real_features)  # a copy: torchmetrics empties the list itself
        super().reset()
        if self.reset_real_features:
            self._real_statistics = None
        else:
            self.real_features = reference

    def _reference(self) -> Statistics:
        """Statistics of the reference, computed once: features are only appended, so an equal count is an equal set."""
        features = _joined(self.real_features)
        if self._real_statistics is None or self._real_statistics.n != len(features):
            self._real_statistics = feature_statistics(features)
        return self._real_statistics


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """Features of all updates, and after synchronisation of all processes, (N, D)."""
    return dim_zero_cat(state) if len(state) else torch.empty(0, 0)
