"""How often does `bootlight compare` find a difference of pairs where there is none? Redraws of pairs of one distribution.

    python benchmarks/coverage_compare.py

Image i of both sets is normal, with a correlation between the two; generators either match the real images or are off by a
shift and a scale. A row: how often each score's 95 % interval excludes 0; how often at least one of all lines on the screen
does; and how often one does once Holm (1979) has been over the lines. Some minutes; results/coverage/compare.json.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bootlight.evaluation.comparing.compare import compare_measured, measure_set
from bootlight.evaluation.comparing.difference import judged
from bootlight.evaluation.suite import USUAL
from bootlight.metrics.features.features import PixelFeatures

REDRAWS = 300
SIZE, REAL = 16, 500
NETWORK = PixelFeatures(1, channels=3)
RESULTS = Path(__file__).parent / "results" / "coverage" / "compare.json"


def pairs(count: int, correlation: float, off: bool, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two sets (count, SIZE) of one distribution; `off`: shifted and wider than the real images."""
    first, other = torch.randn(2, count, SIZE, generator=rng)
    second = correlation * first + (1 - correlation**2) ** 0.5 * other
    return (1.2 * first + 0.3, 1.2 * second + 0.3) if off else (first, second)


def row(count: int, correlation: float, off: bool, redraws: int) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(1000 * count + int(100 * correlation) + off)
    found: dict[str, int] = {}
    alone = holm = 0
    for _ in range(redraws):
        real = {"features": torch.randn(REAL, SIZE, generator=rng)}
        sets = [{"features": features} for features in pairs(count, correlation, off, rng)]
        measured = [measure_set(USUAL, NETWORK, real=real, synthetic=one, n=count, paired=True) for one in sets]
        (differences,) = judged([compare_measured(*measured, paired=True)])
        excluded = {key: not one.interval[0] <= 0 <= one.interval[1] for key, one in differences.items() if one.interval}
        found |= {key: found.get(key, 0) + excluded.get(key, False) for key in differences}
        alone += any(excluded.values())
        holm += any(one.found for one in differences.values())
    shares = {key: round(times / redraws, 3) for key, times in found.items()}
    about = {"n": count, "correlation": correlation, "generators": "off" if off else "as real", "redraws": redraws}
    return {**about, "false": shares, "any of all lines": round(alone / redraws, 3), "any after Holm": round(holm / redraws, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redraws", type=int, default=REDRAWS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for count, off, correlation in product((50, 200), (False, True), (0.0, 0.5, 0.9)):
        rows.append(row(count, correlation, off, options.redraws))
        print(json.dumps(rows[-1]), flush=True)
        RESULTS.write_text(json.dumps({"dimensions": SIZE, "real": REAL, "metrics": USUAL, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
