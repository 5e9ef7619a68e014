"""What the benchmarks of training share: a clock, a training step, and the machine's own limit for convolutions."""

import contextlib
import time
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# The instructions without which bfloat16 on a CPU is slower than float32.
HAS_BF16 = DEVICE.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def seconds(work: Callable[[], object]) -> float:
    """Of one call: the GPU's; with one thread the processor's, so that other work counts little; else the wall clock's."""
    if DEVICE.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start_time = clock()
    work()
    return clock() - start_time


def autocast(enabled: bool) -> contextlib.AbstractContextManager[object]:
    return torch.autocast(DEVICE.type, torch.bfloat16) if enabled else contextlib.nullcontext()


class Step:
    """Forward, backward, AdamW and EMA on one batch of noise.

    Args:
        network: called with (x, t).
        size: edge of the images.
        batch: images.
        ours: fused AdamW and one launch for the EMA; otherwise torch's default AdamW and a loop over the parameters.
        half: bfloat16 autocast.
        compiled: by torch, in the first call.
    """

    def __init__(self, network: nn.Module, size: int, batch: int, *, ours: bool, half: bool, compiled: bool = False) -> None:
        self.network, self.ours, self.half = network.to(DEVICE), ours, half
        self.gigaflop = gigaflop(network, size)
        if compiled:
            network.compile()
        self.optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=ours)
        self.average = [parameter.detach().clone() for parameter in network.parameters()]
        self.x = torch.randn(batch, 3, size, size, device=DEVICE)
        self.t = torch.randint(0, 1000, (batch,), device=DEVICE)

    def __call__(self) -> None:
        with autocast(self.half):
            answer = self.network(self.x, self.t)
        answer = getattr(answer, "sample", answer)  # diffusers wraps it
        F.mse_loss(answer[:, :3].float(), self.x).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        own = [parameter.detach() for parameter in self.network.parameters()]
        if self.ours:
            torch._foreach_lerp_(self.average, own, 1e-3)
        else:
            for mean, parameter in zip(self.average, own, strict=True):
                mean.mul_(0.999).add_(parameter, alpha=0.001)


def gigaflop(network: nn.Module, size: int) -> float:
    """Of forward and backward for one image; backward counts twice."""
    x, t = torch.randn(1, 3, size, size, device=DEVICE), torch.zeros(1, dtype=torch.int64, device=DEVICE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x, t)
    return 3 * counter.get_total_flops() / 1e9


def convolution_limit(
    size: int, width: int, multipliers: tuple[int, ...], batch: int, *, half: bool, repeats: int = 5
) -> float:
    """GFLOP/s of bare 3x3 convolutions of such a U-Net, forward and backward, channels_last: the best that a step can reach."""
    shapes = [(width * a, width * b, size >> level) for level, (a, b) in enumerate(pairwise((multipliers[0], *multipliers)))]
    spent, done = 0.0, 0.0
    for inputs, outputs, edge in shapes:
        layer = nn.Conv2d(inputs, outputs, 3, padding=1).to(DEVICE, memory_format=torch.channels_last)
        x = torch.randn(batch, inputs, edge, edge, device=DEVICE).to(memory_format=torch.channels_last).requires_grad_()

        def work(layer: nn.Conv2d = layer, x: Tensor = x) -> None:
            with autocast(half):
                y = layer(x)
            torch.autograd.grad(y, [x, layer.weight, layer.bias], torch.ones_like(y))

        spent += min(seconds(work) for _ in range(repeats + 1))
        done += 3 * 2 * batch * inputs * outputs * 9 * edge**2 / 1e9
    return done / spent
