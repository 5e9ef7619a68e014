"""Clips: a frame, and from it one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from bootlight.errors import BootlightError, check_range
from bootlight.generators.denoising import DenoisingModule
from bootlight.io.shape import height_width, size_words
from bootlight.rng import NoiseStreams, derive_seed
from bootlight.runs.folder import SAMPLES
from bootlight.synthesis.folder import as_stored, image_seeds
from bootlight.synthesis.requests import Requests
from bootlight.synthesis.synthesizer import Synthesizer, variants

if TYPE_CHECKING:
    from torch import Tensor

    from bootlight.data.generation_images import GenerationImages
    from bootlight.runs.context import GenerationContext

AFTER_NOTHING = 1e-8  # sigma; below it float32 has no noise


class Rollout(Synthesizer):
    """The generator draws a frame; a predictor each further one from the one before; the generator corrects it.

    Of Nikankin et al. 2023 ("SinFusion"): the generator is their projector. To correct a frame is to add noise to it and let
    the generator take it away again, at the very same level; so small errors do not add up over a long clip.

    Args:
        size: of a frame: edge of a square in pixels, or [height, width].
        length: frames of a clip.
        predictor: reference to what was trained on `FramePairs`.
        gap: frames from one to the next; negative ones go back in time.
        correction: sigma, noise over signal, of the noise that is added to correct; 0 = frames stay as predicted. Of 50
            timesteps of the cosine schedule the third has 0.1.
        first: number of the real frame that all clips begin after, from 0; None = each with a frame of its own that is drawn.

    Raises:
        BootlightError: a number that cannot be meant.
    """

    needs = DenoisingModule

    def __init__(
        self,
        size: int | list[int],
        length: int = 16,
        predictor: str = "predictor",
        gap: int = 1,
        correction: float = 0.1,
        first: int | None = None,
    ) -> None:
        check_range("Rollout length", length, 2)
        check_range("Rollout correction", correction, 0)
        if gap == 0:
            raise BootlightError(
                "Rollout gap is 0, which is the same frame; give one of those that the predictor was trained on"
            )
        if first is not None:
            check_range("Rollout first", first, 0)
        self.size = height_width(size, "Rollout size")
        self.length, self.gap, self.correction, self.first = length, gap, correction, first
        self.references = {"predictor": predictor}

    def draws_with(self, generator: Any) -> Any:
        """See `Synthesizer`."""
        return generator.at_size(*self.size)

    def relative_cost(self, generator: Any, data: Any) -> float:
        """See `Synthesizer`: pixels against pixels; the predictor is counted apart."""
        _, height, width = generator.image_shape
        return self.size[0] * self.size[1] / (height * width)

    def requests(
        self, generator: Any, data: GenerationImages, context: GenerationContext, count: int, into: str = SAMPLES
    ) -> Requests:
        """See `Synthesizer`.

        Raises:
            BootlightError: there is no such real frame, or it has another size.
        """
        if self.first is None:
            return Requests(image_seeds(context, count, into), None)
        names = data.real_names
        if self.first >= len(names):
            raise BootlightError(f"Rollout first is {self.first}, and there are {len(names)} real frames, numbered from 0")
        shape = () if data.real is None else tuple(data.real.store.images.shape[1:3])
        if shape != self.size:
            raise BootlightError(
                f"Rollout size is {size_words(*self.size)}, and real frames have {size_words(*shape)}; take that"
            )
        return variants(data, context, [names[self.first]], count, into)

    def draw(self, generator: Any, requests: Requests, parents: Tensor | None, done: Tensor | None) -> Iterator[Tensor]:
        """See `Synthesizer`; of a given frame the clip begins with the one after it."""
        known = [] if done is None else list(done.unbind(1))
        yield from known
        before = known[-1] if known else parents
        for frame in range(len(known), self.length):
            noise = NoiseStreams([derive_seed("frame", seed, frame) for seed in requests.seeds], generator.device)
            if before is None:
                drawn = generator.draw(noise, None)
            else:
                drawn = self._corrected(generator, self._after(generator, before, noise), noise)
            yield drawn
            before = as_stored(drawn, generator.image_dtype).to(drawn.device)

    def _after(self, generator: Any, before: Tensor, noise: NoiseStreams) -> Tensor:
        """The frame after, as the predictor draws it."""
        gap = torch.full((len(before),), self.gap, device=before.device)
        drawn: Tensor = self.parts["predictor"].at_size(*self.size).draw(noise, None, before=before, gap=gap)
        return drawn

    def _corrected(self, generator: Any, frame: Tensor, noise: NoiseStreams) -> Tensor:
        if self.correction < AFTER_NOTHING:
            return frame
        grid = generator.sampler.grid(generator.schedule, self.correction)
        level = grid.level(0)
        noisy = level.signal * frame + level.noise * noise.normal(*frame.shape[1:])
        drawn: Tensor = generator.sampler(generator.denoiser(), noisy, noise, None, grid=grid)
        return drawn

    def protocol(self, generator: Any) -> dict[str, Any]:
        """See `Synthesizer`."""
        own = {"length": self.length, "gap": self.gap, "correction": self.correction, "first": self.first}
        predictor = {"predictor": self.parts["predictor"].protocol()} if self.parts else {}
        return super().protocol(generator) | own | predictor
