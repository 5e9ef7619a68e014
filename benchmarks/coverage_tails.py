"""Heavy tails: how often the interval of a Fréchet distance holds, and how often its remark says so; two minutes.

A row is one distribution, number of features and number of images, over four pairs (equal, shifted, half as wide, decaying):
least and mean share of the intervals `value ± 1.96 standard errors` that hold the mean distance at n images; the same with
Student's quantile for as many degrees of freedom as the spread of the squared influences leaves (Satterthwaite); mean
standard error over spread; median kurtosis; share of samples that carry the remark. Then how often the intervals of kernel
distances hold 0, which is the truth of equal distributions. Written to results/coverage/tails.json.

The mean distance is that over redraws. With four degrees of freedom the spread of the distance is infinite, so that shares
for it move by some per cent from one run to the next.
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student
from torch import Tensor

from bootlight.metrics.distances.frechet import frechet_jackknife
from bootlight.metrics.distances.frechet_remarks import tails_remark
from bootlight.metrics.distances.kernel_distance import kernel_distance
from bootlight.metrics.distances.kid import polynomial_kernel, rbf_kernel
from bootlight.metrics.distances.statistics import Statistics
from bootlight.metrics.uncertainty import Z95

REDRAWS = 300
EXACT = 10**9  # images of a reference that is known exactly
SIZES = {1: (20, 80, 320), 2: (20, 80, 320), 16: (32, 80, 320), 64: (64, 160, 640)}
FILE = Path(__file__).parent / "results" / "coverage" / "tails.json"
Draw = Callable[[int, int, torch.Generator], Tensor]


def normal(count: int, size: int, rng: torch.Generator) -> Tensor:
    return torch.randn(count, size, generator=rng, dtype=torch.float64)


def lengths(*shape: int, rng: torch.Generator) -> Tensor:
    """Scales that make normal numbers t-distributed with 4 degrees of freedom and variance 1."""
    return (torch.randn(*shape, 4, generator=rng, dtype=torch.float64).square().mean(-1) * 2).rsqrt()


KINDS: dict[str, Draw] = {
    "normal": normal,
    "t4, whole images": lambda count, size, rng: normal(count, size, rng) * lengths(count, 1, rng=rng),
    "t4, each feature": lambda count, size, rng: normal(count, size, rng) * lengths(count, size, rng=rng),
    "kurtosis 6": lambda count, size, rng: normal(count, size, rng) * (0.4 * normal(count, 1, rng) - 0.16).exp(),
}


def pairs(size: int) -> Iterator[tuple[Statistics, Tensor, Tensor]]:
    """Reference, root of the synthetic covariance, synthetic mean."""
    eye, zero = torch.eye(size).double(), torch.zeros(size).double()
    shift = zero.clone()
    shift[0] = 2.0
    decay = torch.logspace(0, -2, size).double().diag()
    yield Statistics(zero, eye, EXACT), eye, zero
    yield Statistics(zero, eye, EXACT), eye, shift
    yield Statistics(zero, 4 * eye, EXACT), eye, zero
    yield Statistics(zero, 4 * decay @ decay, EXACT), decay, zero


def measure(draw: Draw, real: Statistics, root: Tensor, mean: Tensor, count: int) -> dict[str, float]:
    """One pair."""
    rng = torch.Generator().manual_seed(count)
    rows = []
    for _ in range(REDRAWS):
        found = frechet_jackknife(real=real, synthetic_features=draw(count, len(root), rng) @ root + mean)
        said = bool(tails_remark(found.kurtosis, found.carriers, count))
        rows.append((found.value, found.standard_error, found.carriers, found.kurtosis, said))
    value, error, carriers, kurtosis, said = torch.tensor(rows, dtype=torch.float64).T
    miss = (value - value.mean()).abs() / error
    freedom = 2 / (1 / carriers - 1 / count).clamp(min=1e-6)
    quantile = torch.from_numpy(student.ppf(0.975, freedom.numpy()))
    shares = {"holds": miss <= Z95, "holds_student": miss <= quantile, "remark": said}
    found_shares = {name: share.double().mean().item() for name, share in shares.items()}
    return found_shares | {"error_over_spread": (error.mean() / value.std()).item(), "kurtosis": kurtosis.median().item()}


def kernel_row(kind: str, size: int, count: int) -> dict[str, Any]:
    """Two sets from one distribution."""
    rng = torch.Generator().manual_seed(count)
    row: dict[str, Any] = {"features": kind, "D": size, "n": count}
    for name, kernel in {"kid": polynomial_kernel, "mmd-rbf": rbf_kernel((2 * size) ** 0.5)}.items():
        holds = 0
        for _ in range(REDRAWS):
            sets = [KINDS[kind](count, size, rng) for _ in range(2)]
            found = kernel_distance(real=sets[0], synthetic=sets[1], kernel=kernel)
            holds += found.interval is not None and found.interval[0] <= 0 <= found.interval[1]
        row[name] = holds / REDRAWS
    print(
        f"{kind:18}D={size:<3} n={count:<5} " + ", ".join(f"{name} {row[name]:.2f}" for name in ("kid", "mmd-rbf")), flush=True
    )
    return row


def main() -> None:
    print(f"{REDRAWS} redraws a pair: a share of 0.95 is known to ± {2 * math.sqrt(0.05 * 0.95 / REDRAWS):.3f} (two errors)")
    print(f"{'':32}{'holds':>6} {'mean':>6} {'Student':>8} {'se':>6} {'kurtosis':>9} {'remark':>7} {'to':>6}")
    rows: list[dict[str, Any]] = []
    for kind, draw in KINDS.items():
        for size, counts in SIZES.items():
            for count in counts:
                found = [measure(draw, *pair, count) for pair in pairs(size)]
                mean = {key: sum(one[key] for one in found) / len(found) for key in found[0]}
                ends = {
                    f"{end.__name__}_{key}": end(one[key] for one in found) for key in ("holds", "remark") for end in (min, max)
                }
                rows.append({"features": kind, "D": size, "n": count, **mean, **ends})
                row = rows[-1]
                shares = f"{row['min_holds']:6.2f} {row['holds']:6.2f} {row['holds_student']:8.2f}"
                told = f"{row['min_remark']:7.2f} {row['max_remark']:6.2f}"
                about = f"{row['error_over_spread']:6.2f} {row['kurtosis']:9.1f}"
                print(f"{kind:18}D={size:<3} n={count:<5} {shares} {about} {told}", flush=True)
    kernels = [kernel_row(kind, size, count) for kind in KINDS for size, count in ((2, 80), (16, 80), (64, 160))]
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(
        json.dumps(
            {"command": "python benchmarks/coverage_tails.py", "redraws": REDRAWS, "rows": rows, "kernels": kernels}, indent=1
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
