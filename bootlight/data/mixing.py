"""Mixing policies: which real and synthetic images a generation trains on. Nothing is copied; a mixture is an index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bootlight.errors import BootlightError, check_range
from bootlight.rng import numpy_rng

if TYPE_CHECKING:
    from bootlight.data.store import Store


Role = Literal["real", "synthetic", "copy", "teacher", "negative", "noisy", "view"]
SYNTHETIC = ("synthetic", "copy", "teacher")  # what is counted as synthetic images


@dataclass(frozen=True)
class Source:
    """Images of one role that take part in training.

    Args:
        role: where the images come from, and what they are there for.
        store: all images of that origin.
        indices: int64 (n,), the items of `store` that take part.
        generation: which generation drew them; None for real images.
        weights: float32 (n,), how much each of them counts; None = each counts 1.
        noise: the least and the largest sigma that they may be trained at, float32 (n, 2), or one pair for all of them; None =
            any.
    """

    role: Role
    store: Store
    indices: NDArray[np.int64]
    generation: int | None = None
    weights: NDArray[np.float32] | None = None
    noise: NDArray[np.float32] | tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Source:
        """Some of the images, by position among them, with their weights and noise."""
        return replace(
            self,
            indices=self.indices[chosen],
            weights=None if self.weights is None else self.weights[chosen],
            noise=self.noise[chosen] if isinstance(self.noise, np.ndarray) else self.noise,
        )


class MixingPolicy(ABC):
    """What generations after the first train on; generation 0 trains on the real images alone.

    Args:
        keep_real: train on the real images too; without them the loop is fully synthetic from generation 1 on.
        synthetic_ratio: images taken of each earlier generation, as a multiple of the real images in use, a random subset;
            None = all that it has drawn.
    """

    def __init__(self, keep_real: bool = True, synthetic_ratio: float | None = None) -> None:
        if synthetic_ratio is not None:
            check_range("data.mixing.synthetic_ratio", synthetic_ratio, 0)
        self.keep_real = keep_real
        self.synthetic_ratio = synthetic_ratio

    @property
    def has_fixed_real(self) -> bool:
        """Whether each generation trains on as many real images as the first."""
        return self.keep_real

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
        drawn = [self._taken(synthetic(earlier), len(real), seed) for earlier in self.synthetic_generations(generation)]
        return [real, *drawn] if self.keep_real else drawn

    def _taken(self, source: Source, num_real: int, seed: int) -> Source:
        """As many images of an earlier generation as `synthetic_ratio` says, the same ones in every later generation."""
        if self.synthetic_ratio is None:
            return source
        wanted = self._num_taken(num_real, len(source))
        chosen = numpy_rng(seed, source.generation or 0, "synthetic ratio").permutation(len(source))[:wanted]
        return source.take(np.sort(chosen))

    def _num_taken(self, num_real: int, num_drawn: int) -> int:
        if self.synthetic_ratio is None:
            return num_drawn
        wanted = round(self.synthetic_ratio * num_real)
        if wanted > num_drawn:
            raise BootlightError(
                f"data.mixing.synthetic_ratio is {self.synthetic_ratio:g}: {wanted} images of each generation, which draws "
                f"{num_drawn}; raise bootstrap.num_synthetic"
            )
        return wanted

    def size(self, generation: int, *, num_real: int, num_synthetic: int) -> int:
        """Images of the training set that `sources` will give, where each generation draws `num_synthetic`.

        Raises:
            BootlightError: there will not be so many as the policy wants.
        """
        if generation == 0:
            return num_real
        taken = self._num_taken(num_real, num_synthetic)
        return self.keep_real * num_real + len(self.synthetic_generations(generation)) * taken


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
        synthetic_ratio: images of each earlier generation that take part in it, as a multiple of the real images in use;
            None = all.
    """

    def __init__(self, size: int | None = None, keep_real: bool = True, synthetic_ratio: float | None = None) -> None:
        super().__init__(keep_real, synthetic_ratio)
        if size is not None and size < 1:
            raise BootlightError(f"data.mixing.size is {size}; it must be at least 1")
        self.size_limit = size

    @property
    def has_fixed_real(self) -> bool:
        """No: how many of the subset are real is left to chance."""
        return False

    def sources(self, generation: int, *, real: Source, synthetic: Callable[[int], Source], seed: int) -> list[Source]:
        """A uniform draw without replacement from all images, its own for each generation."""
        pool = super().sources(generation, real=real, synthetic=synthetic, seed=seed)
        if generation == 0 and self.size_limit is None:
            return pool
        total = sum(map(len, pool))
        size = self._checked(generation, len(real), total)
        chosen = np.sort(numpy_rng(seed, generation, "subsample").permutation(total)[:size])
        bounds = np.cumsum([0, *map(len, pool)])
        return [
            source.take(chosen[(chosen >= low) & (chosen < high)] - low)
            for source, low, high in zip(pool, bounds[:-1], bounds[1:], strict=True)
        ]

    def size(self, generation: int, *, num_real: int, num_synthetic: int) -> int:
        """The fixed size; see `MixingPolicy`."""
        return self._checked(generation, num_real, super().size(generation, num_real=num_real, num_synthetic=num_synthetic))

    def _checked(self, generation: int, num_real: int, total: int) -> int:
        size = self.size_limit or num_real
        if size > total:
            raise BootlightError(
                f"data.mixing.size is {size}, but only {total} images are there at generation {generation}; lower it"
            )
        return size


class FreshReal(Replace):
    """Other real images in every generation, and the images of the one before ("fresh data loop" of Alemohammad et al. 2024).

    Args:
        num_parts: the real images in use are divided at random into so many parts of equal size, one for each generation; so
            the first generation does not train on all of them. At least the number of generations.
        synthetic_ratio: images taken of the generation before, as a multiple of the size of a part; None = all.
    """

    def __init__(self, num_parts: int, synthetic_ratio: float | None = None) -> None:
        super().__init__(True, synthetic_ratio)
        check_range("data.mixing.num_parts", num_parts, 1)
        self.num_parts = num_parts

    def sources(self, generation: int, *, real: Source, synthetic: Callable[[int], Source], seed: int) -> list[Source]:
        """The part of this generation, and what the one before has drawn."""
        size = self._part_size(generation, len(real))
        order = numpy_rng(seed, "fresh real").permutation(len(real))
        part = real.take(np.sort(order[generation * size : (generation + 1) * size]))
        return super().sources(generation, real=part, synthetic=synthetic, seed=seed)

    def size(self, generation: int, *, num_real: int, num_synthetic: int) -> int:
        """See `MixingPolicy`."""
        return super().size(generation, num_real=self._part_size(generation, num_real), num_synthetic=num_synthetic)

    def _part_size(self, generation: int, num_real: int) -> int:
        if generation >= self.num_parts or num_real < self.num_parts:
            raise BootlightError(
                f"data.mixing.num_parts is {self.num_parts}, which is too "
                + (f"many for {num_real} real images" if num_real < self.num_parts else f"few for generation {generation}")
                + "; set it to bootstrap.num_generations"
            )
        return num_real // self.num_parts
