"""How often sets that do not differ are called different, and sets that do are not: ten minutes of one core.

First the permutation test of `bootlight.metrics.two_sample` at 5 %, of pairs of sets from one distribution (normal, with heavy
tails, discrete, of one feature, each image twice) and of pairs that differ. Then the sentence of a run that one generation is
better than another, by `bootlight.metrics.distances.witness` with KID's kernel: two generators at equal distance from the real
images, which both share, drawn from other or from the same noise ("paired"); and, for comparison, by errors of both scores
added, given the reference (`added`) and by intervals that cover its redraw (`intervals`, Zou & Donner 2008). Last pairs of
generators that differ, and which kernels find what was done to images (digits). Written to results/coverage/told_apart.json.

    python benchmarks/coverage_told_apart.py
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from bootlight.metrics.distances.kernel_distance import kernel_distance
from bootlight.metrics.distances.kid import polynomial_kernel
from bootlight.metrics.distances.witness import witness, witness_difference
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.two_sample import ToldApart, laplace_kernel, p_value, split_distances
from bootlight.metrics.uncertainty import Z95

REDRAWS = 1000
KERNEL_REDRAWS = 100
PERMUTATIONS = 199
LEVEL = 0.05
FILE = Path(__file__).parent / "results" / "coverage" / "told_apart.json"
Draw = Callable[[int], Tensor]  # (n, D) of n


def normal(count: int, size: int = 16) -> Tensor:
    return torch.randn(count, size, dtype=torch.float64)


EQUAL: dict[str, Draw] = {
    "normal": normal,
    "one feature": lambda n: normal(n, 1),
    "t with 2 degrees of freedom": lambda n: normal(n) / normal(n, 2).square().mean(1, keepdim=True).sqrt(),
    "two values": lambda n: (normal(n, 6) > 1).double(),
    "counts": lambda n: torch.poisson(torch.ones(n, 4, dtype=torch.float64)),
    "each image twice": lambda n: normal(n // 2).repeat(2, 1),
}
OTHER: dict[str, Draw] = {
    "mean off by 0.2": lambda n: normal(n) + 0.2 / 4,  # in 16 directions
    "a tenth less variance": lambda n: normal(n) * 0.9**0.5,
    "a tenth elsewhere": lambda n: normal(n) * torch.where(torch.rand(n, 1) < 0.1, 0.1, 1.0),
}
SIZES = ((20, 20), (50, 20), (300, 100), (300, 300))


def share_found(real: Draw, synthetic: Draw, sizes: tuple[int, int], redraws: int) -> float:
    """Share of pairs of sets that are called different."""
    test = ToldApart(features=PixelFeatures(), permutations=PERMUTATIONS, sync_on_compute=False)
    found = [test.measure(real(sizes[0]), synthetic(sizes[1]))["told-apart"].value <= LEVEL for _ in range(redraws)]
    return sum(found) / redraws


def tests() -> list[dict[str, Any]]:
    rows = []
    for kind, pairs in (("equal", EQUAL), ("different", OTHER)):
        for name, draw in pairs.items():
            for sizes in SIZES:
                redraws = REDRAWS if max(sizes) < 300 else REDRAWS // 2
                found = share_found(draw if kind == "equal" else normal, draw, sizes, redraws)
                rows.append({"sets": kind, "features": name, "n": sizes, "redraws": redraws, "called_different": found})
                print(f"{kind:10}{name:30}{sizes[0]:>5}{sizes[1]:>5}{found:8.3f}", flush=True)
    return rows


def shifted(by: float, direction: int = 0) -> Callable[[Tensor], Tensor]:
    return lambda noise: noise + 0.5 + by * torch.eye(16, dtype=torch.float64)[direction]


def narrow(first: int) -> Callable[[Tensor], Tensor]:
    scale = torch.ones(16, dtype=torch.float64)
    scale[first : first + 8] = 0.7
    return lambda noise: noise * scale + 0.5


Generator = Callable[[Tensor], Tensor]
GENERATORS: dict[str, tuple[str, Generator, Generator]] = {
    "the same, as real": ("equal", shifted(0), shifted(0)),
    "the same, shifted": ("equal", shifted(0.5), shifted(0.5)),
    "shifted to either side": ("equal", shifted(0.5), shifted(-0.5)),
    "shifted in two directions": ("equal", shifted(0.5, 0), shifted(0.5, 1)),
    "narrow in either half": ("equal", narrow(0), narrow(8)),
    "as real, shifted by 0.7": ("different", shifted(0), shifted(0.7)),
    "shifted by 0.7, by 1": ("different", shifted(0.7), shifted(1.0)),
}


def called_better(pair: tuple[Generator, Generator], sizes: tuple[int, int], paired: bool) -> dict[str, bool]:
    """Whether one of two sets is called better, by each way of telling."""
    real, noise = normal(sizes[0]) + 0.5, normal(sizes[1])
    sets = pair[0](noise), pair[1](noise if paired else normal(sizes[1]))
    found = [witness(real=real, synthetic=one, kernel=polynomial_kernel) for one in sets]
    value, error = witness_difference(*found, paired=paired)
    a, b = (kernel_distance(real=real, synthetic=one, kernel=polynomial_kernel) for one in sets)
    assert a.standard_error and b.standard_error and a.interval and b.interval
    low = value - math.hypot(b.value - b.interval[0], a.interval[1] - a.value)
    high = value + math.hypot(b.interval[1] - b.value, a.value - a.interval[0])
    return {
        "sentence": abs(value) > Z95 * error,
        "added": abs(value) > Z95 * math.hypot(a.standard_error, b.standard_error),
        "intervals": not low <= 0 <= high,
    }


def generations() -> list[dict[str, Any]]:
    rows = []
    for name, (kind, *pair) in GENERATORS.items():
        for sizes in ((20, 20), (50, 100), (100, 300), (300, 300)):
            for paired in (False, True):
                if paired and name.startswith("the same"):
                    continue  # equal images
                redraws = REDRAWS if sizes[1] < 300 else REDRAWS // 2
                found = [called_better((pair[0], pair[1]), sizes, paired) for _ in range(redraws)]
                shares = {way: sum(one[way] for one in found) / redraws for way in found[0]}
                about = {"generators": kind, "which": name, "held_out": sizes[0], "n": sizes[1], "paired": paired}
                rows.append({**about, "redraws": redraws, **shares})
                told = "  ".join(f"{way} {share:.3f}" for way, share in shares.items())
                print(f"{kind:10}{name:28}{sizes[0]:>5}{sizes[1]:>5} {'paired' if paired else '':7}{told}", flush=True)
    return rows


def images() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits as pixels in [0, 1], (1797, 64), in a random order, and their classes."""
    pixels, classes = load_digits(return_X_y=True)
    order = torch.randperm(len(pixels))
    return torch.from_numpy(pixels).float()[order] / 16, torch.from_numpy(classes)[order]


def rbf(features: Tensor) -> Tensor:
    distances = torch.cdist(features, features)
    return (-distances.square() / (2 * distances[distances > 0].median() ** 2)).exp()


KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp(-2 |x-y| / mean)": laplace_kernel,
    "-|x-y|": lambda features: -torch.cdist(features, features),
    "Gaussian, median": rbf,
    "(x.y/D + 1)^3": lambda features: polynomial_kernel(features, features),
}
CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda pixels: pixels,
    "a tenth is noise": lambda pixels: torch.where(torch.rand(len(pixels), 1) < 0.1, torch.rand(pixels.shape), pixels),
    "contrast 0.9": lambda pixels: (pixels - 0.5) * 0.9 + 0.5,
    "noise of 0.1 on all": lambda pixels: pixels + 0.1 * torch.randn(pixels.shape),
    "a quarter, four times": lambda pixels: pixels[: len(pixels) // 4].repeat(4, 1),
}


def kernels() -> list[dict[str, Any]]:
    """How often each kernel finds what was done to digits."""
    torch.manual_seed(1)
    rows = []
    for n in (100, 300):
        for name in (*CHANGES, "eight of ten classes"):
            found = dict.fromkeys(KERNELS, 0)
            for _ in range(KERNEL_REDRAWS):
                pixels, classes = images()
                others = pixels[n:] if name in CHANGES else pixels[n:][classes[n:] < 8]
                features = torch.cat([pixels[:n], CHANGES.get(name, CHANGES["nothing"])(others[:n])]).double()
                first = torch.stack([torch.arange(2 * n) < n, *(torch.randperm(2 * n) < n for _ in range(PERMUTATIONS))])
                for kernel, of in KERNELS.items():
                    found[kernel] += p_value(split_distances(of(features), first)) <= LEVEL
            shares = {kernel: count / KERNEL_REDRAWS for kernel, count in found.items()}
            rows.append({"change": name, "n": n, "redraws": KERNEL_REDRAWS, **shares})
            print(f"{name:24}{n:>5}  " + "  ".join(f"{kernel}: {share:.2f}" for kernel, share in shares.items()), flush=True)
    return rows


def main() -> None:
    torch.manual_seed(0)
    print(f"{REDRAWS} redraws: a share of 0.05 is known to ± {2 * math.sqrt(0.05 * 0.95 / REDRAWS):.3f} (two standard errors)")
    answer: dict[str, Any] = {
        "command": "python benchmarks/coverage_told_apart.py",
        "tests": tests(),
        "generations": generations(),
    }
    answer["kernels"] = kernels()
    FILE.write_text(json.dumps(answer, indent=1) + "\n")


if __name__ == "__main__":
    main()
