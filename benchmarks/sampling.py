"""Network calls without gradients, against diffusers and lucidrains: what sampling costs, whatever the sampler.

All in float32, in which bootlight draws and the peers' examples do.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ratios import compare, print_table
from steps import DEVICE, seconds
from torch import nn
from training import PEERS, bootlight


def call(network: nn.Module, size: int, batch: int) -> Callable[[], object]:
    """One call in eval mode without gradients."""
    network = network.to(DEVICE).eval()
    x, t = torch.randn(batch, 3, size, size, device=DEVICE), torch.full((batch,), 500, device=DEVICE)

    def work() -> object:
        with torch.inference_mode():
            return network(x, t)

    return work


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows for the table of results."""
    rows = []
    for size, batch in ((32, 16),) if quick else ((32, 16), (64, 8)):
        ours = partial(seconds, call(bootlight(size), size, batch))
        for name, build in PEERS.items():
            theirs = partial(seconds, call(build(size), size, batch))
            what = f"network call {size}x{size}, float32"
            rows.append(compare(what, name, ours, theirs, repeats=3 if quick else 5, count=batch, unit="images/s"))
    return rows


if __name__ == "__main__":
    print_table(run("--quick" in sys.argv))
