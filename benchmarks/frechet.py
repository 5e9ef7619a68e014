"""Time of a Fréchet distance with standard error and bias at D = 2048, against the matrix square root; about a minute.

Processor time, so that other work on the machine counts little: give it one thread by OMP_NUM_THREADS=1.
"""

import time
from collections.abc import Callable

import scipy.linalg
import torch
from torch import Tensor

from bootlight.metrics.frechet import feature_statistics, frechet_jackknife

SIZE, IMAGES, ROUNDS = 2048, 5000, 2


def ours(real: Tensor, synthetic: Tensor) -> float:
    """Distance, standard error and bias."""
    return frechet_jackknife(real=feature_statistics(real), synthetic_features=synthetic).value


def square_root(real: Tensor, synthetic: Tensor) -> float:
    """Distance alone."""
    first, second = feature_statistics(real), feature_statistics(synthetic)
    root = scipy.linalg.sqrtm(first.cov.numpy() @ second.cov.numpy())
    shift = (first.mean - second.mean).square().sum()
    return (shift + first.cov.trace() + second.cov.trace()).item() - 2 * root.trace().real


def main() -> None:
    rng = torch.Generator().manual_seed(0)
    scales = torch.logspace(0, -2, SIZE)
    real, synthetic = (torch.randn(IMAGES, SIZE, generator=rng) * scales for _ in range(2))
    ways: dict[str, Callable[[Tensor, Tensor], float]] = {"frechet_jackknife": ours, "scipy.linalg.sqrtm": square_root}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, distance in ways.items():
            start = time.process_time()
            value = distance(real, synthetic)
            seconds = time.process_time() - start
            best[name] = min(best[name], seconds)
            print(f"{name:20}{value:12.6f}{seconds:8.1f} s", flush=True)
    print(f"ratio {best['scipy.linalg.sqrtm'] / best['frechet_jackknife']:.1f}")


if __name__ == "__main__":
    main()
