"""Time to a good sample: train another tool's recipe for so many minutes of one core, and draw images to be measured.

    OMP_NUM_THREADS=1 python benchmarks/quality.py lucidrains --root FACES.zip --minutes 10 30 --to out/lucidrains
    bootlight evaluate --real FACES.zip@test --synthetic out/lucidrains/30min --metrics fd --features my.Network

bootlight itself is trained by its own command, with as many steps as fit into the time (its table of seconds says how long a
step takes):

    OMP_NUM_THREADS=1 bootlight fit --config configs/faces_ddpm.yaml --data.root FACES.zip --bootstrap.num_generations 1 \
        --data.num_steps 2500

Each tool has its own network, objective, optimizer, average and batch, as its documentation trains on a folder of images, with
fewer channels so that a CPU sees tens of thousands of images. What would favour bootlight is the same for all: images come from
memory at no cost, and all draw by `bootlight.DPMSolver`, which is better at 20 calls than the samplers of both tools.
"""

import argparse
import copy
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from bootlight import DPMSolver, Epsilon, NoiseStreams, V
from bootlight.data.datamodule import BootstrapData
from bootlight.diffusion.denoiser import NetworkDenoiser
from bootlight.diffusion.schedule import DiscreteSchedule
from bootlight.io.pictures import encode_png, to_arrays, to_float

SIZE, TIMESTEPS = 32, 1000
AT_ONCE = 50  # images of a network call in drawing
SIGMA_MIN = 0.12  # where the recipe of faces_ddpm stops; the last images are drawn to 0.002 as well


class Recipe(Protocol):
    """How a tool trains."""

    batch: int

    def step(self, images: Tensor) -> None:
        """One optimizer step on images (B, 3, H, W) in [-1, 1]."""

    def denoiser(self) -> NetworkDenoiser:
        """The average of the network."""


class Lucidrains:
    """denoising-diffusion-pytorch's `Trainer`: v-prediction, Adam 8e-5, batches of 32 gathered over two, EMA 0.995 every 10."""

    batch = 64

    def __init__(self, num_steps: int) -> None:
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
        from ema_pytorch import EMA

        self.model = GaussianDiffusion(Unet(dim=16, dim_mults=(1, 2, 4, 8)), image_size=SIZE, timesteps=TIMESTEPS)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=8e-5, betas=(0.9, 0.99))
        self.average = EMA(self.model, beta=0.995, update_every=10)

    def step(self, images: Tensor) -> None:
        """See `Recipe`."""
        for part in images.split(32):
            (self.model((part + 1) / 2) / 2).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update()

    def denoiser(self) -> NetworkDenoiser:
        """See `Recipe`; the tool's default objective is v, on a sigmoid schedule."""
        schedule = DiscreteSchedule(self.model.alphas_cumprod.double())
        network = self.average.ema_model.model.eval()
        return NetworkDenoiser(lambda x, t, labels: network(x, t), V(), schedule)


class Diffusers:
    """diffusers' example of unconditional training: epsilon, AdamW 1e-4 on a cosine, batches of 16, EMA with its warm-up."""

    batch = 16

    def __init__(self, num_steps: int) -> None:
        from diffusers import DDPMScheduler, UNet2DModel
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        self.network = UNet2DModel(
            sample_size=SIZE,
            layers_per_block=1,
            block_out_channels=(32, 32, 64, 128),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        )
        self.noise = DDPMScheduler(TIMESTEPS)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6)
        self.rate = get_scheduler("cosine", self.optimizer, num_warmup_steps=500, num_training_steps=num_steps)
        self.average = EMAModel(self.network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)

    def step(self, images: Tensor) -> None:
        """See `Recipe`."""
        noise, t = torch.randn_like(images), torch.randint(0, TIMESTEPS, (len(images),))
        F.mse_loss(self.network(self.noise.add_noise(images, noise, t), t).sample, noise).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.rate.step()
        self.optimizer.zero_grad()
        self.average.step(self.network.parameters())

    def denoiser(self) -> NetworkDenoiser:
        """See `Recipe`."""
        network = copy.deepcopy(self.network).eval()
        self.average.copy_to(network.parameters())
        schedule = DiscreteSchedule(self.noise.alphas_cumprod.double())
        return NetworkDenoiser(lambda x, t, labels: network(x, t).sample, Epsilon(), schedule)


RECIPES = {"lucidrains": Lucidrains, "diffusers": Diffusers}


def batches(root: str, batch: int, num_steps: int) -> BootstrapData:
    """Mirrored at random, as bootlight's own recipe has them."""
    data = BootstrapData(root, SIZE, batch_size=batch, num_steps=num_steps, flip=True)
    data.setup()
    return data


def seconds_of_a_step(tool: type[Lucidrains | Diffusers]) -> float:
    """Of processor time, the median of five after one."""
    recipe, images = tool(10), torch.rand(tool.batch, 3, SIZE, SIZE) * 2 - 1
    times = []
    for _ in range(6):
        start = time.process_time()
        recipe.step(images)
        times.append(time.process_time() - start)
    return sorted(times[1:])[2]


def train(recipe: Recipe, root: str, stops: Sequence[int]) -> Iterator[tuple[int, float]]:
    """Train, and give each stop (steps) as it is reached, with the seconds of processor time that training took until then."""
    start = time.process_time()
    for step, batch in enumerate(tqdm(batches(root, recipe.batch, stops[-1]).train_dataloader(), total=stops[-1]), 1):
        recipe.step(to_float(batch.images))
        if step in stops:
            paused = time.process_time()
            yield step, paused - start
            start += time.process_time() - paused


@torch.no_grad()
def draw(denoiser: NetworkDenoiser, sigma_min: float, count: int, folder: Path) -> None:
    """PNGs of 20 network calls each."""
    folder.mkdir(parents=True)
    sampler = DPMSolver(20, sigma_min=sigma_min)
    for first in tqdm(range(0, count, AT_ONCE)):
        noise = NoiseStreams(list(range(first, min(first + AT_ONCE, count))))
        images = sampler(denoiser, noise.normal(3, SIZE, SIZE), noise)
        for seed, image in enumerate(to_arrays(images), first):
            (folder / f"{seed:06d}.png").write_bytes(encode_png(image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=sorted(RECIPES))
    parser.add_argument("--root", required=True, help="images, as for data.root")
    parser.add_argument("--to", type=Path, required=True, help="folder to make, with one of images for each time")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10, 30], help="when to draw, in rising order")
    parser.add_argument("--count", type=int, default=2000, help="images to draw")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    tool = RECIPES[chosen.tool]
    of_a_step = seconds_of_a_step(tool)
    stops = [max(1, round(minutes * 60 / of_a_step)) for minutes in chosen.minutes]
    recipe: Recipe = tool(stops[-1])
    for minutes, (step, spent) in zip(chosen.minutes, train(recipe, chosen.root, stops), strict=True):
        print(f"{chosen.tool}: {step} steps of {recipe.batch} images in {spent / 60:.1f} min of processor time", flush=True)
        draw(recipe.denoiser(), SIGMA_MIN, chosen.count, chosen.to / f"{minutes:g}min")
    draw(recipe.denoiser(), 0.002, chosen.count, chosen.to / f"{minutes:g}min_sigma_min_0.002")
    print(f"images  {chosen.to}")


if __name__ == "__main__":
    main()
