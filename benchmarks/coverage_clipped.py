"""How often are noisy images refused that are as they are said to be, and how often those whose noise was clipped?

    python benchmarks/coverage_clipped.py [--photographs PATH]

Redraws of 8, 64 and 512 images of 32 x 32, of normal pixels (with and without saturation) and of photographs, with noise of
deviation tau: as floats; clipped at -1 and 1; rounded to 8 bits, which clips too; and with a tau stated that is 5 % or 25 % too
large. A row: shares of redraws that `bootlight.Noisy` would refuse. A minute; results/coverage/clipped.json.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bootlight.data.files import ImageFiles
from bootlight.data.noise_statistics import noise_statistics

REDRAWS = 200
EDGE = 32
TAUS = (0.05, 0.2, 0.59, 1.4)
COUNTS = (8, 64, 512)
RESULTS = Path(__file__).parent / "results" / "coverage" / "clipped.json"
Draw = Callable[[int, np.random.Generator], NDArray[np.float32]]


def normal(deviation: float) -> Draw:
    """Normal pixels, cut at black and white as pictures are."""

    def draw(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        return np.clip(rng.normal(0, deviation, (count, EDGE, EDGE, 3)), -1, 1).astype(np.float32)

    return draw


def flat(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Black images with a white square: no detail at all, everything saturated."""
    images = np.full((count, EDGE, EDGE, 3), -1, np.float32)
    images[:, :16, :16] = 1
    return images


def photographs(root: str) -> Draw:
    """Random ones of a set."""
    store = ImageFiles(root, EDGE).load()[0]

    def draw(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        chosen = store.images[np.sort(rng.permutation(len(store.images))[:count])]
        return chosen.astype(np.float32) / np.float32(127.5) - 1

    return draw


def refused(images: NDArray[Any], tau: float) -> bool:
    seen = noise_statistics(images)
    return seen.clipped(tau) or seen.too_smooth(tau)


def in_8_bits(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.round(127.5 * images + 127.5), 0, 255).astype(np.uint8)


def row(name: str, draw: Draw, count: int, tau: float, redraws: int) -> dict[str, Any]:
    rng = np.random.default_rng([count, int(1000 * tau), len(name)])
    times = dict.fromkeys(("as stated", "clipped", "8 bits", "5 % too large", "25 % too large"), 0)
    for _ in range(redraws):
        noisy = (draw(count, rng) + tau * rng.standard_normal((count, EDGE, EDGE, 3), np.float32)).astype(np.float32)
        times["as stated"] += refused(noisy, tau)
        times["clipped"] += refused(np.clip(noisy, -1, 1), tau)
        times["8 bits"] += refused(in_8_bits(noisy), tau)
        times["5 % too large"] += refused(noisy, 1.05 * tau)
        times["25 % too large"] += refused(noisy, 1.25 * tau)
    shares = {key: round(found / redraws, 4) for key, found in times.items()}
    return {"images": name, "n": count, "tau": tau, "redraws": redraws, "refused": shares}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redraws", type=int, default=REDRAWS)
    parser.add_argument("--photographs", help="a set of them")
    options = parser.parse_args()
    sets: dict[str, Draw] = {"normal, 0.2": normal(0.2), "normal, 0.8": normal(0.8), "flat, saturated": flat}
    if options.photographs:
        sets["photographs"] = photographs(options.photographs)
    rows = []
    for name, draw in sets.items():
        for count in COUNTS:
            redraws = options.redraws if count <= 64 else max(1, options.redraws // 8)
            rows += [row(name, draw, count, tau, redraws) for tau in TAUS]
            print(json.dumps(rows[-1]), flush=True)
    RESULTS.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
