"""Training steps of the U-Net (forward, backward, AdamW, EMA) against diffusers and lucidrains' denoising-diffusion-pytorch.

The same network where the peer allows it: improved DDPM's, 64 channels, three blocks, attention at 16 and 8, learned variance.
lucidrains' is its own, lighter one: compare GFLOP/s there too. "As shipped" is float32 and the memory format that the peer's
examples use; "tuned" is the best of what a user can switch on (bfloat16 where the machine has it, channels_last).
"""

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ratios import compare, print_table
from steps import DEVICE, HAS_BF16, Step, convolution_limit, seconds
from torch import nn

from bootlight.networks.sizes import Sizes
from bootlight.networks.unet import UNet

WIDTH = 64
SHAPES = {32: (1, 2, 2, 2), 64: (1, 2, 3, 4)}


def bootlight(size: int) -> nn.Module:
    return UNet(Sizes((3, size, size), 6), WIDTH, SHAPES[size])


def diffusers(size: int) -> nn.Module:
    from diffusers import UNet2DModel

    levels = range(len(SHAPES[size]))
    attention = [size >> level in (16, 8) for level in levels]
    return UNet2DModel(
        sample_size=size,
        in_channels=3,
        out_channels=6,
        layers_per_block=3,
        block_out_channels=tuple(WIDTH * multiplier for multiplier in SHAPES[size]),
        down_block_types=tuple("AttnDownBlock2D" if attention[level] else "DownBlock2D" for level in levels),
        up_block_types=tuple("AttnUpBlock2D" if attention[level] else "UpBlock2D" for level in reversed(levels)),
        attention_head_dim=32,
        resnet_time_scale_shift="scale_shift",
    )


def lucidrains(size: int) -> nn.Module:
    from denoising_diffusion_pytorch import Unet

    return Unet(dim=WIDTH, dim_mults=SHAPES[size], channels=3)


PEERS: dict[str, Callable[[int], nn.Module]] = {"diffusers": diffusers, "lucidrains": lucidrains}


def tuned(build: Callable[[int], nn.Module], size: int, batch: int) -> Step:
    """The fastest of both memory formats, in bfloat16 where that is fast, on a GPU with and without `torch.compile`."""
    formats = (torch.contiguous_format, torch.channels_last)
    steps = [
        Step(build(size).to(memory_format=form), size, batch, ours=True, half=HAS_BF16, compiled=compiled)
        for form in formats
        for compiled in ((False, True) if DEVICE.type == "cuda" else (False,))  # on a CPU it gains nothing and takes minutes
    ]
    for step in steps:
        step()
    return min(steps, key=lambda step: min(seconds(step) for _ in range(2)))


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows for the table of results."""
    rows = []
    cases = [(32, 8)] if quick else [(32, 8), (64, 4)]
    for size, batch in cases if DEVICE.type == "cpu" else [(32, 128), (64, 64)]:
        repeats = 3 if quick else 5
        step = Step(bootlight(size), size, batch, ours=True, half=HAS_BF16, compiled=DEVICE.type == "cuda")
        work, precision = step.gigaflop * batch, "bfloat16" if HAS_BF16 else "float32"
        for name, build in PEERS.items():
            shipped = Step(build(size), size, batch, ours=False, half=False)
            best = tuned(build, size, batch)
            for how, peer in (("as shipped", shipped), (f"tuned, {precision}", best)):
                row = compare(
                    f"training step {size}x{size}, {how}", name, partial(seconds, step), partial(seconds, peer),
                    repeats=repeats, count=batch, unit="images/s",
                )  # fmt: skip
                rows.append(row)
                rows.append(in_flops(row, step.gigaflop, peer.gigaflop))
            del shipped, best, peer
        limit = convolution_limit(size, WIDTH, SHAPES[size], batch, half=HAS_BF16)
        rate = work / min(seconds(step) for _ in range(repeats))
        share = rate / limit
        rows.append(
            {"what": f"training step {size}x{size}, {precision}", "peer": "bare convolutions", "ratio": share, "low": share,
             "high": share, "unit": "GFLOP/s", "bootlight": rate, "peer_value": limit}
        )  # fmt: skip
    return rows


def in_flops(row: dict[str, Any], ours: float, theirs: float) -> dict[str, Any]:
    """The same row by arithmetic done and not by images."""
    scale = {key: row[key] * ours / theirs for key in ("ratio", "low", "high")}
    return row | scale | {"unit": "GFLOP/s", "bootlight": row["bootlight"] * ours, "peer_value": row["peer_value"] * theirs}


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    print_table(run("--quick" in sys.argv))
