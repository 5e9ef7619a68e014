"""Kernel distance of images as a metric: KID (Binkowski et al. 2018) and the MMD of a Gaussian kernel (Gretton et al. 2012)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.metrics.distances.kernel_distance import Kernel, all_sums, kernel_distance, sums_without
from bootlight.metrics.exact import checked
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.score import Score

FEW_IMAGES = 1000
MEDIAN_IMAGES = 1000  # half a million distances put their median within a fraction of a per cent


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x·y / D + 1)³, the kernel of KID (Binkowski et al. 2018): sees differences of the first three moments."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def rbf_kernel(bandwidth: float) -> Kernel:
    """exp(-|x - y|² / (2 bandwidth²)), which sees every difference of distributions."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squares = x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.T
        return (squares.clamp(min=0) / (-2 * bandwidth**2)).exp()

    return kernel


def median_distance(features: Tensor) -> float:
    """Median distance between two of the features (N, D), from at most 1,000 of them evenly spaced.

    Raises:
        BootlightError: it is 0, because most of the images are the same.
    """
    count = min(len(features), MEDIAN_IMAGES)
    some = features[torch.arange(count, device=features.device) * len(features) // count].double()
    median = torch.nn.functional.pdist(some).median().item()
    if median == 0:
        raise BootlightError("most real images have equal features, so their median distance is 0; set bandwidth")
    return median


class KernelDistance(FeatureMetric):
    """Kernel distance of synthetic to real images in the feature space of a network: `kid` or `mmd-rbf`.

    Unbiased at any number of images, so values at different numbers may be compared, which those of a Fréchet distance may
    not. Uses every pair of images, not random subsets: the "±" of other tools is a spread over subsets, no standard error.

    The score's `standard_error` is over redraws of the synthetic images with this reference, which is what comparing
    generations needs. Its `interval` is for the distance between the two distributions and covers redraws of both sides;
    where it holds 0 the images cannot be told from real ones by this kernel. Neither covers the choice of the network.

    Args:
        features: as for `FeatureMetric`.
        kernel: "polynomial" for KID; "rbf" for the Gaussian kernel.
        bandwidth: of the Gaussian kernel, in units of the features; None: median distance between real images. Those
            alone, because a kernel that moved with the synthetic images could not compare generations.
        settings: as for `FeatureMetric`.

    Raises:
        BootlightError: another kernel, a bandwidth that is not positive or that the kernel does not have.
    """

    higher_is_better = False

    def __init__(
        self,
        *,
        features: nn.Module,
        kernel: Literal["polynomial", "rbf"] = "polynomial",
        bandwidth: float | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(features=features, **settings)
        if kernel not in ("polynomial", "rbf"):
            raise BootlightError(f"KernelDistance.kernel is {kernel!r}; it must be polynomial or rbf")
        if bandwidth is not None and (kernel == "polynomial" or not 0 < bandwidth < float("inf")):
            raise BootlightError(f"KernelDistance.bandwidth is {bandwidth}; it must be positive; kernel polynomial has none")
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.name = "kid" if kernel == "polynomial" else "mmd-rbf"

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The distance under `name`.

        Raises:
            BootlightError: fewer than 2 images on a side, features that are not finite, or no bandwidth can be found.
        """
        settings, kernel = self._kernel(real)
        estimate = kernel_distance(real=real, synthetic=synthetic, kernel=kernel, what=str(settings))
        score = Score(
            value=estimate.value,
            standard_error=estimate.standard_error,
            n=len(synthetic),
            protocol={
                **self.common_protocol(real, synthetic),
                **settings,
                "estimator": "all pairs, unbiased",
            },
            interval=estimate.interval,
            remarks=_remarks(len(real), len(synthetic)),
            higher_is_better=self.higher_is_better,
        )
        return {self.name: score}

    def values_without(self, real: Tensor, synthetic: Tensor, groups: Tensor) -> dict[str, list[float]]:
        """See `FeatureMetric.values_without`."""
        settings, kernel = self._kernel(real)
        real = checked(real, least=2, metric="a kernel distance", side="real")
        synthetic = checked(synthetic, least=2, metric="a kernel distance", side="synthetic")
        xx, within, between = all_sums(real=real, synthetic=synthetic, kernel=kernel, what=str(settings))
        yy, xy, m = sums_without(kernel, within, between, synthetic, groups)
        n = len(real)
        values = xx.rows.sum() / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
        return {self.name: values.tolist()}

    def _kernel(self, real: Tensor) -> tuple[dict[str, str | float], Kernel]:
        """What the protocol says of the kernel, and the kernel."""
        if self.kernel == "polynomial":
            return {"kernel": "(x.y/D + 1)^3"}, polynomial_kernel
        real = checked(real, least=2, metric="a kernel distance", side="real")
        bandwidth = self.bandwidth or median_distance(real)
        return {"kernel": "exp(-|x-y|^2 / (2 bandwidth^2))", "bandwidth": bandwidth}, rbf_kernel(bandwidth)


def _remarks(num_real: int, num_synthetic: int) -> tuple[str, ...]:
    if min(num_real, num_synthetic) >= FEW_IMAGES:
        return ()
    return (
        f"{num_real:,} real and {num_synthetic:,} synthetic images: unbiased, but noisy; "
        f"below {FEW_IMAGES:,} read the interval.",
    )
