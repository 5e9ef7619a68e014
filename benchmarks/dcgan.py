"""A pair of DCGAN steps against the usual examples: BCELoss, torch's default Adam, `.item()` in each step, all gradients."""

import sys
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from ratios import compare, print_table
from steps import DEVICE, HAS_BF16, autocast, convolution_limit, seconds
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bootlight.networks.dcgan import Discriminator, Generator

BATCH, WIDTH, LATENT = 64, 64, 100


class Ours:
    """As `bootlight.DCGAN.training_step` does it."""

    def __init__(self, size: int, half: bool) -> None:
        self.g, self.d = Generator((3, size, size), LATENT, WIDTH).to(DEVICE), Discriminator((3, size, size), WIDTH).to(DEVICE)
        nets = (self.g, self.d)
        self.opt_g, self.opt_d = (torch.optim.Adam(net.parameters(), 2e-4, betas=(0.5, 0.999), fused=True) for net in nets)
        self.real, self.half = torch.randn(BATCH, 3, size, size, device=DEVICE), half

    def __call__(self) -> None:
        with autocast(self.half):
            fake = self.g(torch.randn(BATCH, LATENT, device=DEVICE))
            loss_d = F.softplus(-self.d(self.real)).mean() + F.softplus(self.d(fake.detach())).mean()
        self.opt_d.zero_grad()
        loss_d.backward()
        self.opt_d.step()
        self.d.requires_grad_(False)
        with autocast(self.half):
            loss_g = F.softplus(-self.d(fake)).mean()
        self.opt_g.zero_grad()
        loss_g.backward()
        self.opt_g.step()
        self.d.requires_grad_(True)


class Example(Ours):
    """As examples write it: the generator runs anew for each network, in the default memory format."""

    def __init__(self, size: int, anew: bool) -> None:
        super().__init__(size, half=False)
        nets = [net.to(memory_format=torch.contiguous_format) for net in (self.g, self.d)]
        self.opt_g, self.opt_d = (torch.optim.Adam(net.parameters(), 2e-4, betas=(0.5, 0.999)) for net in nets)
        self.loss, self.anew = nn.BCELoss(), anew
        self.one, self.zero = torch.ones(BATCH, device=DEVICE), torch.zeros(BATCH, device=DEVICE)

    def judged(self, images: torch.Tensor) -> torch.Tensor:
        return self.d.layers(images).flatten().sigmoid()

    def __call__(self) -> None:
        fake = self.g(torch.randn(BATCH, LATENT, device=DEVICE))
        self.opt_d.zero_grad()
        loss_real = self.loss(self.judged(self.real), self.one)
        loss_real.backward()
        loss_fake = self.loss(self.judged(fake.detach()), self.zero)
        loss_fake.backward()
        self.opt_d.step()
        self.opt_g.zero_grad()
        if self.anew:
            fake = self.g(torch.randn(BATCH, LATENT, device=DEVICE))
        loss_g = self.loss(self.judged(fake), self.one)
        loss_g.backward()
        self.opt_g.step()
        (loss_real + loss_fake).item(), loss_g.item()


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows for the table of results."""
    rows = []
    for size in (32,) if quick else (32, 64):
        ours = Ours(size, half=HAS_BF16)
        for name, anew in (("PyTorch example", False), ("Lightning example", True)):
            row = compare(
                f"DCGAN step {size}x{size}", name, partial(seconds, ours), partial(seconds, Example(size, anew)),
                repeats=3 if quick else 5, count=BATCH, unit="images/s",
            )  # fmt: skip
            rows.append(row)
        limit = convolution_limit(size, WIDTH, (1, 2, 4, 8), BATCH, half=HAS_BF16)
        rate = gigaflop(ours) / min(seconds(ours) for _ in range(3 if quick else 5))
        rows.append(
            {"what": f"DCGAN step {size}x{size}", "peer": "bare convolutions", "unit": "GFLOP/s", "bootlight": rate,
             "peer_value": limit} | dict.fromkeys(("ratio", "low", "high"), rate / limit)
        )  # fmt: skip
    return rows


def gigaflop(step: Ours) -> float:
    """Of all convolutions of a pair of steps, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


if __name__ == "__main__":
    print_table(run("--quick" in sys.argv))
