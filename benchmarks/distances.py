"""Fréchet distances of 2048 features: bootlight's value, and value with standard error and bias, against others' values.

Processor time of one thread. The reference is known on either side, as it is for all generations but the first: to the peers
its mean and covariance, to bootlight the factor of that too. Values are checked to agree before anything is timed.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from ratios import compare, print_table
from torch import Tensor

from bootlight.metrics.distances.frechet import frechet_distance, frechet_jackknife
from bootlight.metrics.distances.statistics import Statistics, feature_statistics

SIZE = 2048
Moments = tuple[Any, Any]  # mean (D,), covariance (D, D), float64


def by_pytorch_fid(first: Moments, second: Moments) -> float:
    from pytorch_fid.fid_score import calculate_frechet_distance

    return float(calculate_frechet_distance(*first, *second))


def by_clean_fid(first: Moments, second: Moments) -> float:
    from cleanfid.fid import frechet_distance as distance

    return float(distance(*first, *second))


def by_torch_fidelity(first: Moments, second: Moments) -> float:
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    sides = [{"mu": mean, "sigma": cov} for mean, cov in (first, second)]
    return float(fid_statistics_to_metric(*sides, False)["frechet_inception_distance"])


def by_torchmetrics(first: Moments, second: Moments) -> float:
    from torchmetrics.image.fid import _compute_fid

    return float(_compute_fid(*(torch.from_numpy(moment) for side in (first, second) for moment in side)))


PEERS = {
    "pytorch-fid": by_pytorch_fid,
    "clean-fid": by_clean_fid,
    "torch-fidelity": by_torch_fidelity,
    "torchmetrics": by_torchmetrics,
}


def moments(features: Tensor) -> Moments:
    """As pytorch-fid and torch-fidelity take them."""
    numbers = features.double().numpy()
    return np.mean(numbers, axis=0), np.cov(numbers, rowvar=False)


def seconds(way: Callable[[], float]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    way()
    return time.process_time() - start


def check_equal(ours: float, theirs: float, peer: str) -> None:
    """Stop where the values differ; the tools themselves are right to six digits."""
    if abs(ours - theirs) > 1e-5 * abs(theirs):
        raise ValueError(f"distance {ours} instead of {theirs} of {peer}")


def from_features(real: Moments, synthetic: Tensor, distance: Callable[[Moments, Moments], float]) -> float:
    """A peer's value where only the reference is known."""
    return distance(real, moments(synthetic))


def value_and_error(real: Statistics, synthetic: Tensor) -> float:
    """Ours, with standard error and bias."""
    return frechet_jackknife(real=real, synthetic_features=synthetic).value


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of `ratios.compare`."""
    size, counts, repeats = (512, (300, 1000), 1) if quick else (SIZE, (1000, 5000, 10_000), 2)
    rng = torch.Generator().manual_seed(0)
    spread = torch.logspace(0, -2, size)
    real = torch.randn(5 * size, size, generator=rng) * spread
    statistics, known = feature_statistics(real), moments(real)
    _ = statistics.factor, statistics.variances
    rows = []
    for count in counts:
        synthetic = 1.1 * torch.randn(count, size, generator=rng) * spread + 0.01
        drawn, theirs = feature_statistics(synthetic), moments(synthetic)
        both = partial(value_and_error, statistics, synthetic)
        for peer, distance in PEERS.items() if count == counts[1] else [("pytorch-fid", by_pytorch_fid)]:
            value = partial(frechet_distance, real=statistics, synthetic=drawn)
            if count > size:  # of a singular product some of the tools warn, and add to the diagonal
                check_equal(value(), distance(known, theirs), peer)
            sides = partial(seconds, value), partial(seconds, partial(distance, known, theirs))
            rows.append(compare(f"value from moments, D = {size}", f"{peer}, n = {count}", *sides, repeats=repeats))
        other = partial(seconds, partial(from_features, known, synthetic, by_pytorch_fid))
        what = f"value and error from features, D = {size}"
        rows.append(compare(what, f"pytorch-fid's value, n = {count}", partial(seconds, both), other, repeats=repeats))
    return rows


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv))
