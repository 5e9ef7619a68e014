"""How often held-out real images are told from those that `LearnedFeatures` has learned from: five minutes of one core.

Faces are divided at random; the network learns from some, and the permutation test compares these with 300 others, in its own
features and by pixels. Both sets are draws from one distribution, and the network alone knows the former by heart. A share
above 5 % is what `bootlight.evaluation.floors.floors.fair_network` is there for. Written to results/coverage/by_heart.json.

    python benchmarks/coverage_by_heart.py --root FACES.zip
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from feature_sets import read_zip

from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.two_sample import ToldApart
from bootlight.networks.patches import PatchNetwork, learn_patches
from bootlight.rng import numpy_rng, torch_rng

EDGE = 32
POOL = 8000
OTHERS = 300
REDRAWS = {100: 20, 300: 20, 1000: 20, 3000: 12}  # by the number of images that are learned from
LEVEL = 0.05
HALF = 48  # components of patches, and of coarse pixels
FILE = Path(__file__).parent / "results" / "coverage" / "by_heart.json"


def p_values(images: torch.Tensor, count: int, redraw: int) -> dict[str, float]:
    """Of `count` images that were learned from beside others, by features."""
    order = torch.from_numpy(numpy_rng(0, "division", count, redraw).permutation(len(images)))
    known, others = images[order[:count]], images[order[count : count + OTHERS]]
    rng = torch_rng(redraw, "patches")
    learned = PatchNetwork(learn_patches(known, num_coarse=HALF, num_filtered=HALF, rng=rng, bar=lambda _: None))
    found = {}
    for name, network in (("learned", learned), ("pixels", PixelFeatures())):
        test = ToldApart(features=network, permutations=199, sync_on_compute=False)
        with torch.no_grad():
            found[name] = test.measure(network(known), network(others))["told-apart"].value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="zip of photographs")
    images, _ = read_zip(parser.parse_args().root, EDGE, POOL)
    tensor = torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2).contiguous()
    rows = []
    for count, redraws in REDRAWS.items():
        found = [p_values(tensor, count, redraw) for redraw in range(redraws)]
        shares = {name: float(np.mean([p[name] <= LEVEL for p in found])) for name in found[0]}
        medians = {f"median p, {name}": float(np.median([p[name] for p in found])) for name in found[0]}
        rows.append({"learned from": count, "redraws": redraws, **shares, **medians})
        print(rows[-1], flush=True)
    command = "python benchmarks/coverage_by_heart.py --root FACES.zip"
    FILE.write_text(json.dumps({"command": command, "others": OTHERS, "called different at 5 %": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
