"""How often the mean loss ± 1.96 standard errors holds the true mean, when losses of neighbouring steps are alike; a minute.

Series of known covariance: a first-order autoregression with coefficient r, whose variance of the mean is nearly
(1 + r)/(1 - r)/n times that of a value, and the same under independent noise of equal variance. "se" is the root mean square of
the answered error over the true one, "naive" that of deviation/√n, which takes steps as independent. The results go to
`results/coverage/loss.json`.

    python benchmarks/coverage_loss.py
"""

import json
import math
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from bootlight.metrics.correlated_mean import mean_standard_error

SERIES = 2000


def coverage(n: int, memory: float, noise: float) -> dict[str, float]:
    """Shares and ratios of one kind of series of n values; `noise` is the variance of the independent part."""
    rng = np.random.default_rng(n)
    drive = rng.normal(size=(SERIES, n)) * math.sqrt(1 - memory**2)
    drive[:, 0] /= math.sqrt(1 - memory**2)
    series = lfilter([1.0], [1.0, -memory], drive, axis=1) + math.sqrt(noise) * rng.normal(size=(SERIES, n))
    lags = np.arange(1, n)
    true = math.sqrt((1 + noise + 2 * ((1 - lags / n) * memory**lags).sum()) / n)
    errors = np.array([mean_standard_error(values) for values in series], dtype=np.float64)
    naive = series.std(axis=1, ddof=1) / math.sqrt(n)
    return {
        **{"n": n, "r": memory, "noise": noise, "se": float(np.sqrt((errors**2).mean()) / true)},
        "holds": float((abs(series.mean(axis=1)) <= 1.96 * errors).mean()),
        "naive": float(np.sqrt((naive**2).mean()) / true),
        "naive holds": float((abs(series.mean(axis=1)) <= 1.96 * naive).mean()),
    }


def main() -> None:
    rows = [
        coverage(n, memory, noise)
        for noise in (0.0, 1.0)
        for n in (10, 30, 100, 300, 1000)
        for memory in (0.0, 0.3, 0.5, 0.7, 0.9)
    ]
    print(" ".join(f"{key:>11}" for key in rows[0]))
    for row in rows:
        print(" ".join(f"{value:>11.4g}" for value in row.values()))
    out = Path(__file__).parent / "results" / "coverage" / "loss.json"
    out.write_text(
        json.dumps({"command": "python benchmarks/coverage_loss.py", "series": SERIES, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
