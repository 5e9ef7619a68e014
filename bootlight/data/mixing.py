"""Mixing policies: which real and synthetic images a generation trains on. Nothing is copied; a mixture is an index."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bootlight.data.store import Store
from bootlight.errors import BootlightError
from bootlight.rng import numpy_rng


@dataclass(frozen=True)
class Source:
    """Images of one role that take part in training.

    Args:
        role: where the images come from.
        store: all images of that origin.
        indices: int64 (n,), the items of `store` that take part.
        generation: which generation drew them; None for real images.
    """

    role: Literal["real", "synthetic"]
    store: Store
    indices: NDArray[np.int64]
    generation: int | None = None

    def __len__(self) -> int:
        return len(self.indices)


class MixingPolicy(ABC):
    """What generations after the first train on; generation 0 trains on the real images alone.

    Args:
        keep_real: train on the real images too; without them the loop is fully synthetic from generation 1 on.
    """

    def __init__(self, keep_real: bool = True) -> None:
        self.keep_real = keep_real

    @abstractmethod
    def synthetic_generations(self, generation: int) -> range:
        """The earlier generations whose images take part in `generation` >= 1."""

    def sources(self, generation: int, *, real: Source, synthetic: Callable[[int], Source], seed: int) -> list[Source]:
        """The training set of a generation.

        Args:
            generation: from 0.
            real: the real images in use.
            synthetic: opens the images that a generation has drawn.
            seed: for policies that choose at random.
        """
        if generation == 0:
            return [real]
        drawn = [synthetic(earlier) for earlier in self.synthetic_generations(generation)]
        return [real, *drawn] if self.keep_real else drawn

    def size(self, generation: int, *, num_real: int, num_synthetic: int) -> int:
        """Images of the training set that `sources` will give, where each generation draws `num_synthetic`."""
        if generation == 0:
            return num_real
        return self.keep_real * num_real + len(self.synthetic_generations(generation)) * num_synthetic


class Replace(MixingPolicy):
    """The images of the newest generation replace those of all earlier ones."""

    def synthetic_generations(self, generation: int) -> range:
        """The one before."""
        return range(generation - 1, generation)


class Accumulate(MixingPolicy):
    """Synthetic images of all generations stay for good (algorithm 1 of the bootstrapping paper; Gerstgrasser et al. 2024)."""

    def synthetic_generations(self, generation: int) -> range:
        """All before."""
        return range(generation)


class AccumulateSubsample(Accumulate):
    """A random subset of fixed size of everything accumulated so far (Kazdan et al. 2025).

    Args:
        size: number of training images; None = as many as generation 0 has.
        keep_real: let the real images take part in the draw.
    """

    def __init__(self, size: int | None = None, keep_real: bool = True) -> None:
        super().__init__(keep_real)
        if size is not None and size < 1:
            raise BootlightError(f"data.mixing.size is {size}; it must be at least 1")
        self.size_limit = size

    def sources(self, generation: int, *, real: Source, synthetic: Callable[[int], Source], seed: int) -> list[Source]:
        """A uniform draw without replacement from all images, its own for each generation."""
        pool = super().sources(generation, real=real, synthetic=synthetic, seed=seed)
        size, total = self.size_limit or len(real), sum(map(len, pool))
        if generation == 0 and self.size_limit is None:
            return pool
        if size > total:
            raise BootlightError(f"data.mixing.size is {size}, but only {total} images are there at generation {generation}")
        chosen = np.sort(numpy_rng(seed, generation, "subsample").permutation(total)[:size])
        bounds = np.cumsum([0, *map(len, pool)])
        return [
            replace(source, indices=source.indices[chosen[(chosen >= low) & (chosen < high)] - low])
            for source, low, high in zip(pool, bounds[:-1], bounds[1:], strict=True)
        ]

    def size(self, generation: int, *, num_real: int, num_synthetic: int) -> int:
        """The fixed size."""
        return self.size_limit or num_real
