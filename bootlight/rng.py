"""Randomness as a function of counters: (seed, generation, step or image index), never of a state that must be saved."""

import hashlib
import operator

import numpy as np
import torch

Counter = int | str


def derive_seed(*counters: Counter) -> int:
    """Hash counters and stream names to a seed in [0, 2^63): equal counters, equal seed; else independent."""
    plain = tuple(c if isinstance(c, str) else operator.index(c) for c in counters)  # numpy's 5 is 5 too
    digest = hashlib.sha256(repr(plain).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_rng(*counters: Counter) -> np.random.Generator:
    """A numpy generator for the stream named by `counters`."""
    return np.random.default_rng(derive_seed(*counters))


def torch_rng(*counters: Counter, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device` for the stream named by `counters`."""
    return torch.Generator(device=device).manual_seed(derive_seed(*counters))


class NoiseStreams:
    """One independent stream of normal noise for each image, so that image i does not depend on its batch.

    Drawn on the CPU: the same seed gives the same noise on every device.

    Args:
        seeds: one integer for each image.
        device: where the noise is used.
    """

    def __init__(self, seeds: list[int], device: torch.device | str = "cpu") -> None:
        self.generators = [torch_rng("image", seed) for seed in seeds]
        self.device = device

    def normal(self, *shape: int) -> torch.Tensor:
        """The next standard normal draw of each stream, shape (B, *shape), float32."""
        out = torch.empty(len(self.generators), *shape)
        for row, generator in zip(out, self.generators, strict=True):
            row.normal_(generator=generator)
        return out.to(self.device, non_blocking=True)
