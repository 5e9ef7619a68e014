"""Which feature network orders images as they are ordered: candidates for the default, on several data sets.

    python benchmarks/feature_networks.py --data FOLDER [--sets faces,cifar] [--only NAME,...] [--drawn DIR200,DIR1000,DIR2500]

Each is trained on real images and measures sets of known order against these, by KID and by the Frechet distance: held-out real
images (the floor), severities of distortions, other images mixed in, modes dropped, few images repeated, and nonsense. Results
go to benchmarks/results/feature_networks.json; what is there already is not measured again.
"""

import argparse
import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from feature_candidates import Fit, Network, all_of, candidates
from feature_sets import OTHER, Images, Pool, load, read_folder, severities
from torch import Tensor

from bootlight.metrics.distances.frechet import frechet_distance
from bootlight.metrics.distances.statistics import feature_statistics

RESULTS = Path(__file__).parent / "results" / "feature_networks.json"
DRAWS, LARGE, SMALL = 3, 1000, 300
SEEN = 3.0  # of the spread of a score over draws, above the floor
SETS = ("faces", "cifar", "ffhq", "bottles", "digits")
Powers = dict[str, dict[str, tuple[float, float]]]  # how far a score lies above the floor, and in units of its spread
Series = dict[str, dict[str, Images]]  # sets by series and level
Values = dict[str, list[float]]  # of a score, by its name and n


def tensor(images: Images) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


class Reference:
    """Scores of features against those of the training images."""

    def __init__(self, features: Tensor) -> None:
        self.features = features.double()
        n = len(features)
        within = kernel(self.features, self.features)
        self.within = (within.sum() - within.trace()) / (n * (n - 1))
        self.statistics = feature_statistics(features)

    def scores(self, features: Tensor) -> dict[str, float]:
        x, n = features.double(), len(features)
        within = kernel(x, x)
        kid = self.within + (within.sum() - within.trace()) / (n * (n - 1)) - 2 * kernel(x, self.features).mean()
        return {"kid": kid.item(), "fd": frechet_distance(real=self.statistics, synthetic=feature_statistics(features))}


def parts(size: int, large: bool) -> Iterator[tuple[str, slice]]:
    """Numbers of images that are measured, and which of a draw they are; a draw of 1,000 gives three of 300."""
    if large and size >= LARGE:
        yield str(LARGE), slice(0, LARGE)
    small = min(SMALL, size)
    yield from ((str(small), slice(start, start + small)) for start in range(0, size - small + 1, small))


def measured(network: Network, reference: Reference, sets: list[Images], large: bool) -> Values:
    found: Values = {}
    for images in sets:
        shuffled = images[np.random.default_rng(3).permutation(len(images))]
        features = all_of(network, tensor(shuffled))
        for n, part in parts(len(features), large):
            for score, value in reference.scores(features[part]).items():
                found.setdefault(f"{score} {n}", []).append(value)
    return found


def power(values: list[float], floor: list[float]) -> float:
    """How far above the floor, in units of the spread over draws."""
    spread = ((np.var(values, ddof=1) + np.var(floor, ddof=1)) / 2) ** 0.5 if len(values) > 1 else np.std(floor, ddof=1)
    return float((np.mean(values) - np.mean(floor)) / max(spread, 1e-12))


def judge(
    fit: Fit, pool: Pool, draws: list[dict[str, dict[str, Images]]], drawn: dict[str, Images], seed: int, large: bool
) -> Any:
    """Power of each set of known order, by score, series and level; the values of the floor; seconds of the training."""
    start, cpu = time.perf_counter(), time.process_time()
    network = fit(tensor(pool.train), seed)
    seconds = {"wall": round(time.perf_counter() - start, 1), "processor": round(time.process_time() - cpu, 1)}
    reference = Reference(all_of(network, tensor(pool.train)))
    floor = measured(network, reference, [draw["floor"]["0"] for draw in draws], large)
    found: dict[str, Powers] = {key: {} for key in floor}
    for series in (*draws[0], *(["trained"] if drawn else [])):
        levels = drawn if series == "trained" else draws[0][series]
        for level in levels:
            sets = [drawn[level]] if series == "trained" else [draw[series][level] for draw in draws]
            for key, values in measured(network, reference, sets, large).items():
                pair = float(f"{np.mean(values) - np.mean(floor[key]):.4g}"), round(power(values, floor[key]), 2)
                found[key].setdefault(series, {})[level] = pair
    means = {key: float(f"{np.mean(values):.4g}") for key, values in floor.items()}
    return {"above": found, "floor": means, "seconds": seconds, "num_features": reference.features.shape[1]}


def summary(powers: Powers) -> dict[str, Any]:
    """Of one score: how many steps of severity go the right way, how many sets are seen, which lie below the floor."""
    trained = [above for above, _ in powers.get("trained", {}).values()]
    order = [after < before for before, after in pairwise([*trained, 0.0])]
    series = [list(levels.values()) for name, levels in powers.items() if name not in ("floor", "nonsense", "trained")]
    steps = [b > a for values in series for a, b in zip([0, *(v for v, _ in values)], [v for v, _ in values], strict=False)]
    levels = [level for values in series for _, level in values]
    nonsense = [level for _, level in powers["nonsense"].values()]
    return {
        "right steps": round(float(np.mean(steps)), 3),
        "seen": round(float(np.mean([value > SEEN for value in levels])), 3),
        "below": sum(value < -1 for value in [*levels, *nonsense]),
        "nonsense unseen": sum(value < SEEN for value in nonsense),
        "log power": round(float(np.mean(np.log(np.clip(levels, 0.3, 1000)))), 3),
        "trainings in order": f"{sum(order)} of {len(order)}" if order else "",
    }


def lines(results: dict[str, Any], score: str) -> list[str]:
    """A Markdown table, at about 300 images: by candidate and data set, shares of sets that are seen and of steps in order."""
    found: dict[str, dict[str, Any]] = {}
    for key, result in results.items():
        kind, name, seed = key.split(" / ")
        if seed == "seed 0":
            said = next(value for which, value in result["summary"].items() if which.startswith(score) and "1000" not in which)
            found.setdefault(name, {})[kind] = (said, result)
    rows = [f"| {score} | features | seconds | {' | '.join(SETS)} | nonsense unseen | trainings in order |"]
    rows.append("|---" * (len(SETS) + 5) + "|")
    for name, kinds in found.items():
        first = kinds.get("faces", next(iter(kinds.values())))
        shares = [
            f"{kinds[kind][0]['seen']:.0%} · {kinds[kind][0]['right steps']:.0%}" if kind in kinds else "" for kind in SETS
        ]
        unseen = sum(said["nonsense unseen"] for said, _ in kinds.values())
        many = [str(first[1]["num_features"]), f"{first[1]['seconds']['processor']:.0f}"]
        rows.append(f"| {' | '.join([name, *many, *shares, str(unseen), first[0]['trainings in order']])} |")
    return rows


def as_text(results: dict[str, Any]) -> str:
    """The results as JSON, a line for each candidate."""
    rows = ",\n".join(f"{json.dumps(key)}: {json.dumps(row)}" for key, row in results.items())
    return f'{{"command": "python benchmarks/feature_networks.py", "rows": {{\n{rows}\n}}}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the zips of feature_sets.py")
    parser.add_argument("--weights", type=Path, help="folder of networks that have seen other images")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--only", help="names of candidates, separated by semicolons")
    parser.add_argument("--drawn", nargs="*", type=Path, default=[], help="folders of generated faces, the worst first")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--count", type=int, default=3000, help="images to train on")
    parser.add_argument("--small", action="store_true", help=f"only {SMALL} images of each draw")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print what there is as tables")
    chosen = parser.parse_args()
    networks = candidates(chosen.weights)
    names = chosen.only.split(";") if chosen.only else list(networks)
    results = json.loads(chosen.results.read_text())["rows"] if chosen.results.exists() else {}
    if chosen.table:
        print("\n".join([*lines(results, "kid"), "", *lines(results, "fd")]))
        return
    for kind in chosen.sets.split(","):
        keys = [(name, seed, f"{kind} / {name} / seed {seed}") for name in names for seed in range(chosen.seeds)]
        keys = [key for key in keys if key[2] not in results]
        if not keys:
            continue
        pool = load(chosen.data, kind, chosen.count)
        others = load(chosen.data, OTHER[kind], chosen.count).rest if kind in OTHER else None
        size = min(SMALL if chosen.small else LARGE, len(pool.rest) // DRAWS)
        draws = [severities(kind, pool, others, size, draw) for draw in range(DRAWS)]
        drawn = (
            {f"{i} {folder.name}": read_folder(folder, size) for i, folder in enumerate(chosen.drawn)}
            if kind == "faces"
            else {}
        )
        for name, seed, key in keys:
            found = judge(networks[name], pool, draws, drawn, seed, not chosen.small)
            results[key] = found | {"summary": {score: summary(powers) for score, powers in found["above"].items()}}
            chosen.results.write_text(as_text(results))
            for score, said in results[key]["summary"].items():
                print(
                    f"{key:40} {found['num_features']:5} {found['seconds']['processor']:6} {score:9}",
                    *said.values(),
                    flush=True,
                )


if __name__ == "__main__":
    main()
