"""How often the range of seeds that a study prints holds the right number, and what a single number was worth; some minutes.

Studies of k seeds with a true effect (difference over its standard deviation between seeds). "holds" is the share of ranges
that hold the number of seeds which finds that effect in four of five studies (infinitely many where there is none), "open" that
of ranges without an upper end, "least" the median lower end, "point" the median and the middle 80 % of the number that the
difference seen would take, if it were the true one. The results go to `results/coverage/seeds.json`.

    python benchmarks/coverage_seeds.py
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from bootlight.studies.statistics import PairedDifference, seeds_needed, seeds_range

STUDIES = 500


def coverage(effect: float, seeds: int) -> dict[str, Any]:
    """One row."""
    rng = np.random.default_rng(seeds)
    ranges, points = [], []
    for differences in rng.normal(effect, 1.0, size=(STUDIES, seeds)):
        value, deviation = float(differences.mean()), float(differences.std(ddof=1))
        found = PairedDifference(value, deviation, deviation / math.sqrt(seeds), None, None, None, tuple(range(seeds)), 1)
        ranges.append(seeds_range(found) or (1, None))
        points.append(seeds_needed(value / deviation))
    true = seeds_needed(effect) if effect else math.inf
    return {
        **{"effect": effect, "seeds": seeds, "needed": true if effect else None},
        "holds": float(np.mean([least <= true <= (most or math.inf) for least, most in ranges])),
        "open": float(np.mean([most is None for _, most in ranges])),
        "least": float(np.median([least for least, _ in ranges])),
        "point": [float(np.quantile(points, share)) for share in (0.1, 0.5, 0.9)],
    }


def main() -> None:
    rows = [coverage(effect, seeds) for seeds in (3, 4, 6, 10) for effect in (0.0, 0.5, 1.0, 2.0, 4.0)]
    for row in rows:
        print(row, flush=True)
    out = Path(__file__).parent / "results" / "coverage" / "seeds.json"
    out.write_text(
        json.dumps({"command": "python benchmarks/coverage_seeds.py", "studies": STUDIES, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
