"""Variations beside plain images: images a second of the same network and number of steps.

A descent with noise on the bottleneck asks the encoder once and the decoder twice a step, and all images of a parent share
its inversion. The network is that of configs/systems/dreamda.yaml. On a CPU in processor time of all threads: give it one by
OMP_NUM_THREADS=1.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ratios import compare, print_table

from bootlight.diffusion.feature_noise import BottleneckNoise, DecoderNoise, EncoderNoise
from bootlight.diffusion.perturbation import LevelNoise, Perturbation
from bootlight.diffusion.sampler import DDIM
from bootlight.generators.diffusion import Diffusion
from bootlight.networks.unet import UNet
from bootlight.synthesis.of_parents import OfParents
from bootlight.synthesis.requests import Requests
from bootlight.synthesis.sdedit import SDEdit
from bootlight.synthesis.variations import Variations

SIZE, STEPS = 32, 10
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
clock: Callable[[], float] = time.perf_counter if DEVICE == "cuda" else time.process_time


def model() -> Diffusion:
    made = Diffusion(
        SIZE,
        partial(UNet, width=16, channel_multipliers=(1, 2, 4, 8), num_res_blocks=1, attention_resolutions=(8,)),
        sampler=DDIM(STEPS),
        ema_decay=None,
    )
    return made.eval().requires_grad_(False).to(DEVICE)


def draw_plain(made: Diffusion, count: int) -> float:
    start = clock()
    made.sample(range(count)).cpu()
    return clock() - start


@torch.no_grad()
def draw_of_parents(made: Diffusion, synthesizer: OfParents, count: int, per_parent: int) -> float:
    numbers = [i // per_parent for i in range(count)]
    requests = Requests(range(count), None, [(str(number),) for number in numbers], numbers)
    parents = torch.linspace(-1, 1, count)[:, None, None, None].expand(-1, 3, SIZE, SIZE).to(DEVICE)
    start = clock()
    next(synthesizer.draw(made, requests, parents, None)).cpu()
    return clock() - start


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of `ratios.compare`; a ratio of 0.5 is half as fast as plain drawing."""
    made, repeats = model(), 2 if quick else 5
    count = (20 if quick else 50) if DEVICE == "cpu" else 1000
    rows = []

    def beside(what: str, synthesizer: OfParents, per_parent: int) -> None:
        ways = partial(draw_of_parents, made, synthesizer, count, per_parent), partial(draw_plain, made, count)
        rows.append(compare(what, f"drawing in {STEPS} steps", *ways, repeats=repeats, count=count, unit="images/s"))

    sampler = DDIM(STEPS, clip=False, eta=1.0)
    perturbations: dict[str, Perturbation] = {
        "bottleneck": BottleneckNoise(),
        "bottleneck, symmetric": BottleneckNoise(asymmetric=False),
        "decoder": DecoderNoise(),
        "encoder": EncoderNoise(),
        "every level": LevelNoise(),
    }
    for name, perturbation in perturbations.items():
        for per_parent in (10, 1) if name == "bottleneck" else (10,):
            made_of = Variations(perturbation, strength=1.0, sampler=sampler)
            beside(f"variations, {name}, {per_parent} of each", made_of, per_parent)
    beside("SDEdit, half of the steps", SDEdit(strength=0.5), 10)
    return rows


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv))
