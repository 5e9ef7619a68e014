"""How many images a network draws fastest in one call, measured on this machine."""

import math
import time

import torch

from bootlight.generators.base import GeneratorModule

FIRST = 16  # fewer leave any processor idle
LARGEST = 4096
GAIN = 0.97  # twice the images are worth it if each takes less than this share of the time; clocks differ by a few per cent
PIXELS_ON_CPU = 2**20  # of a call: 64 images of 128 x 128; beyond, activations take gigabytes and leave every cache
SHARE_OF_MEMORY = 0.8  # of a GPU, of what is free


def fastest_batch_size(module: GeneratorModule, most: int) -> int:
    """Try 16, 32, 64, ... images as long as that makes an image cheaper and memory is left.

    Args:
        module: on the device that it will draw on.
        most: images to be drawn.

    Returns:
        The size with the least time for an image; it differs from machine to machine, and where two are equally good from call
        to call.
    """
    short, _ = module.shortened()
    if module.device.type == "cpu":
        most = min(most, max(1, PIXELS_ON_CPU // math.prod(module.image_shape[1:])))
    if module.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(module.device)  # until now it is that of training
    best, least, size = 1, float("inf"), min(FIRST, most)
    while size >= 1 and size <= min(most, LARGEST):
        try:
            seconds = seconds_per_image(short, size)
        except torch.OutOfMemoryError:
            break
        if seconds > GAIN * least:
            break
        best, least, size = size, seconds, 2 * size
        if not has_room(module.device):
            break
    return best


def seconds_per_image(module: GeneratorModule, size: int) -> float:
    """Time of a call, brought back from the device; the better of two, after one that warms up."""
    labels = None if module.num_classes is None else torch.zeros(size, dtype=torch.int64)
    ends = [0.0] * 4
    for i in range(4):
        ends[i] = time.perf_counter()
        if i < 3:
            module.sample(range(size), labels=labels).cpu()
    return min(ends[2] - ends[1], ends[3] - ends[2]) / size


def has_room(device: torch.device) -> bool:
    """Whether a call of twice the images than those until now would fit into a GPU's memory."""
    if device.type != "cuda":
        return True
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + unused
    return 2 * torch.cuda.max_memory_allocated(device) <= SHARE_OF_MEMORY * (free + torch.cuda.memory_allocated(device))
