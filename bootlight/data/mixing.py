"""Mixing policies: which real and synthetic images a generation trains on. Nothing is copied; a mixture is an index."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bootlight.errors import BootlightError, check_range
from bootlight.rng import numpy_rng

if TYPE_CHECKING:
    from bootlight.data.archive import Archive
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
        masks: uint8 images (N, H, W, 1), as many as in `store`: 1 where a pixel is seen, 0 where it is hidden and 0; None =
            all are seen.
    """

    role: Role
    store: Store
    indices: NDArray[np.int64]
    generation: int | None = None
    weights: NDArray[np.float32] | None = None
    noise: NDArray[np.float32] | tuple[float, float] | None = None
    masks: Store | None = None

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

    def weighted(self, factor: float | NDArray[np.floating]) -> Source:
        """Images that count so many times as much as they did; a number for all, or one for each."""
        before = np.ones(len(self), np.float32) if self.weights is None else self.weights
        return replace(self, weights=(before * factor).astype(np.float32))


def as_range(noise: Sequence[float], who: str) -> tuple[float, float]:
    """The least and the largest sigma that images may be trained at.

    Raises:
        BootlightError: they are none, or nothing lies between them.
    """
    if len(noise) != 2 or not 0 <= noise[0] <= noise[1]:
        raise BootlightError(f"{who}: noise is {list(noise)}; give the least and then the largest sigma, from 0 on")
    return float(noise[0]), float(noise[1])


class MixingPolicy(ABC):
    """The whole training set of each generation."""

    @abstractmethod
    def sources(self, generation: int, archive: Archive) -> list[Source]:
        """What a generation trains on, and nothing else.

        A function of its arguments: asked again, also on another machine, it chooses the same images, by
        `rng.numpy_rng(archive.seed, ...)` where it chooses at random. Before a run it is asked for every generation with an
        archive that knows of drawn images only how many they will be.

        Args:
            generation: from 0.
            archive: all images that there are.

        Raises:
            BootlightError: the archive does not have so many images as are asked for.
        """

    def scaled(self, share: float) -> MixingPolicy:
        """The policy for a run with `share` of all images, a trial: where numbers of images are set, `fewer` of them."""
        return self


def fewer(count: int | None, share: float) -> int | None:
    """A share of a number of images, at least one; None stays None."""
    return None if count is None else max(1, math.floor(share * count))


class OnlyReal(MixingPolicy):
    """Every generation trains on the real images alone: no loop at all, repeated trainings."""

    def sources(self, generation: int, archive: Archive) -> list[Source]:
        """The real images in use."""
        return [archive.real]


class LoopPolicy(MixingPolicy):
    """Real images and those of earlier generations, after a generation 0 that trains on the real images alone.

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

    @abstractmethod
    def synthetic_generations(self, generation: int) -> range:
        """The earlier generations whose images take part in `generation` >= 1."""

    def real(self, generation: int, archive: Archive) -> Source:
        """The real images of a generation."""
        return archive.real

    def sources(self, generation: int, archive: Archive) -> list[Source]:
        """See `MixingPolicy`."""
        real = self.real(generation, archive)
        if generation == 0:
            return [real]
        earlier = self.synthetic_generations(generation)
        drawn = [self._taken(archive.drawn(number), number, len(real), archive.seed) for number in earlier]
        return [real, *drawn] if self.keep_real else drawn

    def _taken(self, source: Source, number: int, num_real: int, seed: int) -> Source:
        """As many images of an earlier generation as `synthetic_ratio` says, the same ones in every later generation."""
        if self.synthetic_ratio is None:
            return source
        wanted = round(self.synthetic_ratio * num_real)
        if wanted > len(source):
            raise BootlightError(
                f"data.mixing.synthetic_ratio is {self.synthetic_ratio:g}: {wanted} images of each generation, which draws "
                f"{len(source)}; raise bootstrap.num_synthetic"
            )
        chosen = numpy_rng(seed, number, "synthetic ratio").permutation(len(source))[:wanted]
        return source.take(np.sort(chosen))


class Replace(LoopPolicy):
    """The images of the newest generation replace those of all earlier ones."""

    def synthetic_generations(self, generation: int) -> range:
        """The one before."""
        return range(generation - 1, generation)


class Accumulate(LoopPolicy):
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
        self.size = size

    def sources(self, generation: int, archive: Archive) -> list[Source]:
        """A uniform draw without replacement from all images, its own for each generation."""
        pool = super().sources(generation, archive)
        if generation == 0 and self.size is None:
            return pool
        total, size = sum(map(len, pool)), self.size or len(archive.real)
        if size > total:
            raise BootlightError(
                f"data.mixing.size is {size}, but only {total} images are there at generation {generation}; lower it"
            )
        chosen = np.sort(numpy_rng(archive.seed, generation, "subsample").permutation(total)[:size])
        bounds = np.cumsum([0, *map(len, pool)])
        return [
            source.take(chosen[(chosen >= low) & (chosen < high)] - low)
            for source, low, high in zip(pool, bounds[:-1], bounds[1:], strict=True)
        ]

    def scaled(self, share: float) -> MixingPolicy:
        """With a smaller subset."""
        return AccumulateSubsample(fewer(self.size, share), self.keep_real, self.synthetic_ratio)


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

    def real(self, generation: int, archive: Archive) -> Source:
        """The part of this generation."""
        real = archive.real
        if generation >= self.num_parts or len(real) < self.num_parts:
            raise BootlightError(
                f"data.mixing.num_parts is {self.num_parts}, which is too "
                + (f"many for {len(real)} real images" if len(real) < self.num_parts else f"few for generation {generation}")
                + "; set it to bootstrap.num_generations"
            )
        size = len(real) // self.num_parts
        order = numpy_rng(archive.seed, "fresh real").permutation(len(real))
        return real.take(np.sort(order[generation * size : (generation + 1) * size]))
