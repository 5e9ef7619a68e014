"""Times on the plateau: how often arms between which there is nothing differ, and how often a change is found; seven minutes.

A null study has two arms of `SEEDS` trainings with curves of one kind. "differ" is the share of studies with p < 0.05; the
other columns are shares of trainings: left (after or before the margin), never left, no plateau. Then the power: falls of a
stated size, in standard deviations of the noise of a single step, and how far from the truth they were found; and arms that do
differ. The results go to `results/coverage/plateau.json`.

    python benchmarks/coverage_plateau.py
"""

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from bootlight.metrics.score import Score
from bootlight.studies.plateau import EARLY, LEFT, NO_PLATEAU, STAYED, find_plateau
from bootlight.studies.times import LOSS, PLATEAU_STEPS, compare_times, plateau_scores

STUDIES = 500
SEEDS = (3, 6)
SHORT, LONG = 704, 1154  # steps
CURVES = 400
Array = NDArray[np.float64]
Kind = Callable[[np.random.Generator, int], Array]


def noise(rng: np.random.Generator, length: int, memory: float = 0.0) -> Array:
    """Stationary AR(1) noise of variance 1."""
    drive = rng.normal(size=length) * math.sqrt(1 - memory**2)
    drive[0] = rng.normal()
    return np.asarray(lfilter([1.0], [1.0, -memory], drive))


def leaving(rng: np.random.Generator, length: int, memory: float = 0.0, least: float = 0.0) -> Array:
    """A fall by 5 at a step that is exponential with mean 500, beyond `least`: some are early, some after the end."""
    return noise(rng, length, memory) - 5 * (np.arange(length) >= least + rng.exponential(500))


def decay(amplitude: float, steps: float) -> Kind:
    return lambda rng, length: amplitude * np.exp(-np.arange(length) / steps) + noise(rng, length)


KINDS: dict[str, Kind] = {
    "constant": noise,
    "AR(1), 0.5": lambda rng, length: noise(rng, length, 0.5),
    "AR(1), 0.9": lambda rng, length: noise(rng, length, 0.9),
    "AR(1), 0.99": lambda rng, length: noise(rng, length, 0.99),
    "decay by 7 in 50 steps": decay(7, 50),
    "decay by 7 in 200 steps": decay(7, 200),
    "decay by 30 in 2,000 steps": decay(30, 2000),
    "drift by 5 in 1,000 steps": lambda rng, length: np.arange(length) / 200 + noise(rng, length),
    "drift by 50 in 1,000 steps": lambda rng, length: np.arange(length) / 20 + noise(rng, length),
    "random walk": lambda rng, length: np.cumsum(rng.normal(size=length)),
    "random walk and noise": lambda rng, length: np.cumsum(rng.normal(size=length)) / 5 + noise(rng, length),
    "plateau, equal times": leaving,
    "plateau, equal times after 160": lambda rng, length: leaving(rng, length, least=160),
    "plateau, equal times, AR(1) 0.5": lambda rng, length: leaving(rng, length, 0.5),
}


def times(rng: np.random.Generator, kind: Kind, seeds: int, length: int) -> dict[int, Score]:
    """Times of one arm."""
    steps = list(range(1, length + 1))
    curves = {seed: {LOSS: (steps, kind(rng, length).tolist())} for seed in range(seeds)}
    return {seed: plateau_scores(curve, batch_size=1.0, size=0)[PLATEAU_STEPS] for seed, curve in curves.items()}


def null_studies(kind: Kind, seeds: int, lengths: tuple[int, int], studies: int = STUDIES) -> dict[str, float]:
    """Shares of studies that find a difference, and of trainings in each state."""
    rng, states, differ = np.random.default_rng(seeds), Counter[str](), 0
    for _ in range(studies):
        arms = [times(rng, kind, seeds, length) for length in lengths]
        found = compare_times(*arms)
        differ += found is not None and found.p_value is not None and found.p_value < 0.05
        states.update(score.protocol["state"] for arm in arms for score in arm.values())
    count = 2 * seeds * studies
    return {"differ": differ / studies} | {state: states[state] / count for state in (LEFT, EARLY, STAYED, NO_PLATEAU)}


def falls(
    size: float, at: int, length: int, *, memory: float = 0.0, slow: float = 0.0, curves: int = CURVES
) -> dict[str, float]:
    """Share of falls that are found, and the 95 % quantile of the distance in steps; `slow` steps make it exponential."""
    rng, found = np.random.default_rng(at), []
    after = np.arange(length) - at
    shape = (after >= 0) * (1 - np.exp(-after.clip(min=0) / slow) if slow else 1.0)
    for _ in range(curves):
        plateau = find_plateau(range(1, length + 1), (noise(rng, length, memory) - size * shape).tolist())
        if plateau is not None and plateau.state in (LEFT, EARLY) and plateau.step is not None:
            found.append(abs(plateau.step - at - 1))
    return {"found": len(found) / curves, "off by": float(np.quantile(found, 0.95)) if found else math.nan}


def power(first: float, second: float, spread: float, seeds: int, length: int) -> float:
    """Share of studies that tell arms whose plateaus are left about these steps, give or take a standard deviation."""
    rng = np.random.default_rng(seeds)

    def arm(at: float) -> Kind:
        return lambda rng, length: noise(rng, length) - 5 * (np.arange(length) >= at + spread * rng.normal())

    found = [compare_times(*(times(rng, arm(at), seeds, length) for at in (first, second))) for _ in range(STUDIES // 5)]
    return sum(one is not None and one.p_value is not None and one.p_value < 0.05 for one in found) / len(found)


def main() -> None:
    rows: list[dict[str, Any]] = []
    print(f"{'null studies':34}{'seeds':>6}{'steps':>12}{'differ':>8}{'left':>7}{'early':>7}{'never':>7}{'none':>7}")
    for name, kind in KINDS.items():
        for seeds in SEEDS:
            for lengths in ((SHORT, SHORT), (SHORT, LONG)):
                found = null_studies(kind, seeds, lengths)
                rows.append({"kind": name, "seeds": seeds, "steps": lengths, **found})
                print(
                    f"{name:34}{seeds:>6}{'{} {}'.format(*lengths):>12}" + "".join(f"{v:8.3f}"[1:] for v in found.values()),
                    flush=True,
                )
    cases: list[tuple[str, dict[str, float]]] = [
        (f"fall by {size} at step {at} of {LONG}", falls(size, at, LONG))
        for size in (3, 4, 5, 7)
        for at in (50, 100, 200, 400, 1000)
    ]
    cases += [(f"fall by 5 at step {at} of 10000", falls(5, at, 10000, curves=100)) for at in (3000, 9000)]
    cases += [(f"fall by 5 at step 400, AR(1) {memory}", falls(5, 400, LONG, memory=memory)) for memory in (0.3, 0.5, 0.7)]
    cases += [
        (f"fall by {size} from step 400 on, in {slow} steps", falls(size, 400, LONG, slow=slow))
        for size, slow in ((5, 20), (8, 100))
    ]
    for name, shares in cases:
        print(f"{name:48} found {shares['found']:.3f}, 95 % within {shares['off by']:.0f} steps", flush=True)
    told = {}
    for first, second in ((300, 500), (100, 500), (300, 2000)):
        for seeds in (3, 4, 6):
            told[f"{first} and {second} ± 50, {seeds} seeds"] = power(first, second, 50, seeds, LONG)
    for name, share in told.items():
        print(f"arms that leave at {name}: told apart in {share:.2f}")
    out = Path(__file__).parent / "results" / "coverage" / "plateau.json"
    entry = {
        "command": "python benchmarks/coverage_plateau.py",
        "studies": STUDIES,
        "null": rows,
        "falls": dict(cases),
        "told": told,
    }
    out.write_text(json.dumps(entry, indent=1) + "\n")


if __name__ == "__main__":
    main()
