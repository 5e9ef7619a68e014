"""How many network calls a good sample needs: digits of one trained generation, drawn by several samplers.

    bootlight fit --config configs/digits_ddpm.yaml --bootstrap.num_generations 1 --bootstrap.run_dir out/digits
    python benchmarks/calls.py out/digits

All samplers start from the same noise and labels. The distance is taken to the training images in the features of the digit
classifier; its difference to 1,000 ancestral steps is paired: what two images from the same noise have in common cancels.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from bootlight import DDIM, Ancestral, ClassifierFeatures, DPMSolver, Heun, Sampler
from bootlight.data.datamodule import BootstrapData
from bootlight.data.digits import Digits
from bootlight.evaluation.comparing.compare import compare_measured, measure_set
from bootlight.evaluation.networks.trained_networks import real_images
from bootlight.generators.ddpm import DDPM
from bootlight.generators.load import load_generator
from bootlight.io.pictures import to_uint8
from bootlight.runs.folder import RunFolder

BATCH = 250
SAMPLERS: dict[str, Sampler] = {
    "ancestral, 1,000 calls": Ancestral(1000),
    "ancestral, 50 calls (as shipped)": Ancestral(50),
    "ancestral, 20 calls": Ancestral(20),
    "DDIM, 50 calls": DDIM(50),
    "DDIM, 20 calls": DDIM(20),
    "Heun, 49 calls": Heun(25),
    "DPM-Solver++, 20 calls": DPMSolver(20),
    "DPM-Solver++, 35 calls": DPMSolver(35),
}


def drawn(module: DDPM, sampler: Sampler, labels: Tensor) -> Tensor:
    """Images (N, C, H, W), uint8; image i from seed i."""
    module.sampler = sampler
    chunks = tqdm(torch.split(torch.arange(len(labels)), BATCH), leave=False)
    return torch.cat([to_uint8(module.sample(seeds.tolist(), labels=labels[seeds])) for seeds in chunks])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of digits_ddpm, whose first generation is used")
    parser.add_argument("--count", type=int, default=500, help="images of each sampler")
    chosen = parser.parse_args()
    module = load_generator(RunFolder(chosen.run).generation(0))
    assert isinstance(module, DDPM)
    data = BootstrapData(origin=Digits(), num_steps=1)
    data.setup()
    network = ClassifierFeatures("digits")
    network.fit_real(real_images(data), chosen.run / "reference", torch.device("cpu"))
    pixels = torch.from_numpy(data.real_images(data.available)).permute(0, 3, 1, 2)
    real = {"features": network(pixels).detach()}
    labels = torch.arange(chosen.count) % 10
    reference = None
    print("| sampler | distance | difference to 1,000 ancestral steps, 95 % interval |\n|---|---|---|")
    for name, sampler in SAMPLERS.items():
        features = {"features": network(drawn(module, sampler, labels)).detach()}
        found = measure_set(["fd"], network, real=real, synthetic=features, n=chosen.count, paired=True)
        score = found.scores["fd"]["fd-digits"]
        reference = reference or found
        difference = compare_measured(reference, found, network, paired=True)["fd-digits"]
        low, high = difference.interval or (0.0, 0.0)
        beside = "" if found is reference else f"{difference.value:+.1f} ({low:+.1f} to {high:+.1f})"
        print(f"| {name} | {score.value:.1f} ± {score.standard_error:.1f} | {beside} |", flush=True)


if __name__ == "__main__":
    main()
