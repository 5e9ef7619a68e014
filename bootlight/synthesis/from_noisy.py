"""Clean images of noisy ones: each is restored by the backward process, from its own noise level down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bootlight.data.archive import of_origin
from bootlight.diffusion.sampler import Sampler
from bootlight.errors import BootlightError, check_range
from bootlight.generators.denoising import DenoisingModule
from bootlight.rng import NoiseStreams, numpy_rng
from bootlight.runs.folder import SAMPLES
from bootlight.synthesis.folder import image_seeds
from bootlight.synthesis.requests import Requests
from bootlight.synthesis.synthesizer import Synthesizer

if TYPE_CHECKING:
    from torch import Tensor

    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.generation_images import GenerationImages
    from bootlight.data.mixing import Source
    from bootlight.runs.context import GenerationContext


class FromNoisy(Synthesizer):
    """One image for each noisy one y = x + tau n: the backward process from y on (Lu, Wu and Yu 2025, "SFBD", algorithm 1).

    Image i is made of noisy image i, which the manifest names as its parent. A model whose x_t is signal * x0 + noise *
    epsilon starts at signal * y of the level at which noise / signal is tau.

    Args:
        tau: deviation of the noise, in the units of the images, [-1, 1] of pictures; what the origin states if left out; 0 =
            the noisy images as they are.
        origin: which of `data.origins` has them.
        sampler: how they are restored; as the model draws if left out.
        one_step: answer with E[x0 | y], of one network call: for comparison, since a loop of such images loses its variance.
        refresh: share of the images that a generation restores anew; the others are taken over from the one before. Each has
            its turn, in a random order that stays. The first generation that draws restores all.
    """

    needs = DenoisingModule

    def __init__(
        self,
        tau: float | None = None,
        origin: str = "noisy",
        sampler: Sampler | None = None,
        one_step: bool = False,
        refresh: float = 1.0,
    ) -> None:
        if tau is not None:
            check_range("FromNoisy tau", tau, 0)
        check_range("FromNoisy refresh", refresh, 0, 1)
        self.tau, self.origin, self.sampler = tau, origin, sampler
        self.one_step, self.refresh = one_step, refresh
        self._level = tau  # once that is known

    def count(self, data: BootstrapData) -> int:
        """As many as there are noisy ones."""
        return len(of_origin(data.origins, self.origin))

    def relative_cost(self, generator: Any, data: BootstrapData) -> float:
        """See `Synthesizer`: network calls from `tau` down, of the share that is restored, against those from noise."""
        tau = self._stated(of_origin(data.origins, self.origin))
        if not tau:
            return 0.0
        plain, sampler = generator.sampler, self._restoring(generator).sampler
        calls = 1 if self.one_step else sampler.calls(len(sampler.grid(generator.schedule, tau).t))
        return float(self.refresh * calls / plain.calls(plain.num_steps))

    def requests(
        self, generator: Any, data: GenerationImages, context: GenerationContext, count: int, into: str = SAMPLES
    ) -> Requests:
        """See `Synthesizer`; of more noisy images than `count`, the first ones.

        Raises:
            BootlightError: there are fewer, none, or of another shape, or the model has no noise level `tau`.
        """
        noisy = data.origin(self.origin)
        self._check_images(generator, noisy, data.real, count)
        self._level = self._stated(noisy)
        self._check_level(self._restoring(generator), self._level)
        names = data.origin_names(self.origin)[:count]
        return Requests(
            image_seeds(context, count, into),
            self._labels(generator, noisy, count),
            self._parents(names, data, context, into),
        )

    def draw(self, generator: Any, requests: Requests, parents: Tensor | None, done: Tensor | None) -> Iterator[Tensor]:
        """See `Synthesizer`."""
        assert parents is not None and requests.parents is not None
        lengths = np.array([len(names) for names in requests.parents])
        first = torch.from_numpy(np.cumsum(lengths) - lengths).to(parents.device)
        taken_over = torch.from_numpy(lengths > 1).to(parents.device)
        images = parents[first + taken_over]  # a second parent is the image of the generation before
        new = [i for i, length in enumerate(lengths.tolist()) if length == 1]
        if new and self._level:
            labels = None if requests.labels is None or generator.num_classes is None else requests.labels[new]
            noise = NoiseStreams([requests.seeds[i] for i in new], generator.device)
            images[new] = self._restored(self._restoring(generator), parents[first[new]], noise, labels).to(images)
        yield images

    def protocol(self, generator: Any) -> dict[str, Any]:
        """See `Synthesizer`."""
        settings = {"tau": self._level, "origin": self.origin, "one_step": self.one_step, "refresh": self.refresh}
        return super().protocol(self._restoring(generator)) | settings

    def _restoring(self, generator: DenoisingModule) -> DenoisingModule:
        """The generator, with the sampler that restores."""
        if self.sampler is None:
            return generator
        found = copy(generator)
        found.sampler = self.sampler
        return found

    def _restored(self, model: DenoisingModule, noisy: Tensor, noise: NoiseStreams, labels: Tensor | None) -> Tensor:
        """Images (B, C, H, W) of noisy ones."""
        sampler, denoiser = model.sampler, model.denoiser()
        grid = sampler.grid(model.schedule, self._level)
        x = grid.level(0).signal * noisy
        labels = None if labels is None else labels.to(model.device)
        if self.one_step:
            return sampler.asking(denoiser, grid, labels, {})(x, 0).x0
        return sampler(denoiser, x, noise, labels, grid=grid)

    def _parents(
        self, names: Sequence[str], data: GenerationImages, context: GenerationContext, into: str
    ) -> list[tuple[str, ...]]:
        """The noisy image of each; with its image of the generation before, where that is taken over."""
        before = {} if self.refresh == 1 else {parents[0]: name for parents, name in data.made_before(into) if parents}
        anew = set(refreshed(len(names), self.refresh, context.generation, context.seed)) if before else set()
        return [(name, before[name]) if name in before and i not in anew else (name,) for i, name in enumerate(names)]

    def _labels(self, generator: DenoisingModule, noisy: Source, count: int) -> Tensor | None:
        labels = torch.from_numpy(noisy.store.labels[noisy.indices[:count]])
        if bool((labels >= 0).all()):
            return labels
        if generator.num_classes is not None:
            raise BootlightError(
                f"data.origins.{self.origin}: {int((labels < 0).sum())} of {count} images have no label, or one that the real "
                "images lack, and the model is class-conditional; label them, or leave model.num_classes out"
            )
        return None

    def _check_images(self, generator: DenoisingModule, noisy: Source, real: Source | None, count: int) -> None:
        _, height, width, channels = noisy.store.images.shape
        if (channels, height, width) != tuple(generator.image_shape):
            raise BootlightError(
                f"data.origins.{self.origin} has images (C, H, W) = {(channels, height, width)}, and the model draws "
                f"{tuple(generator.image_shape)}; give both the same size"
            )
        if generator.latent_shape != generator.image_shape:
            raise BootlightError("FromNoisy: noise of images is not noise of latents; take a model without model.autoencoder")
        if not 0 < count <= len(noisy):
            raise BootlightError(
                f"FromNoisy: {count} images are to be made of the {len(noisy)} of data.origins.{self.origin}, each once; "
                + ("lower n, or leave it out" if len(noisy) else "leave the stage out")
            )
        if self.sampler is not None and self.sampler.clip and real is not None and real.store.images.dtype != np.uint8:
            raise BootlightError(
                "FromNoisy: its sampler.clip limits images to [-1, 1], and float data have no range; set it to false"
            )

    def _stated(self, noisy: Source) -> float:
        """The noise level of the images."""
        if self.tau is not None:
            return self.tau
        low = noisy.noise[0] if isinstance(noisy.noise, tuple) else 0.0
        if not low > 0:
            raise BootlightError(
                f"FromNoisy: tau is not given, and data.origins.{self.origin} does not state the deviation of its noise; set "
                "tau, in the units of images from -1 to 1, or give the origin as bootlight.Noisy"
            )
        return low

    def _check_level(self, model: DenoisingModule, tau: float) -> None:
        """See whether the sampler has a way down from there."""
        low, high = model.schedule.sigmas()
        if tau > 0 and not low * (1 - 1e-6) <= tau <= high * (1 + 1e-6):
            raise BootlightError(
                f"FromNoisy: tau is {tau:g}, and the noise levels of {type(model.schedule).__name__} go from {low:.3g} to "
                f"{high:.3g}; take another model.schedule, or correct tau (in the units of images from -1 to 1)"
            )
        try:
            model.sampler.grid(model.schedule, tau or None)
        except ValueError as error:
            raise BootlightError(f"FromNoisy: sampler: {error}") from error


def refreshed(count: int, share: float, generation: int, seed: int) -> list[int]:
    """Which of `count` images a generation restores anew: the next ones in an order that is the same in every generation.

    Args:
        count: images.
        share: of them, at least one.
        generation: from 1.
        seed: of the run.
    """
    size = max(1, round(share * count))
    order = numpy_rng(seed, "refreshed").permutation(count)
    chosen: list[int] = order[(np.arange(size) + (generation - 1) * size) % count].tolist()
    return chosen
