"""Images that are noised and denoised again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bootlight.rng import NoiseStreams
from bootlight.synthesis.of_parents import OfParents

if TYPE_CHECKING:
    from torch import Tensor

    from bootlight.data.datamodule import BootstrapData
    from bootlight.diffusion.sampler import Sampler
    from bootlight.synthesis.requests import Requests


class SDEdit(OfParents):
    """A parent with noise, each time another, from which the sampler descends (Meng et al. 2022, algorithm 1).

    Args:
        of: `real`, the real images in use; the name of one of `data.origins`, or of a folder of the same generation.
        per_parent: images of each parent, if the stage does not say how many there are; as many as `bootstrap.num_synthetic`
            says, divided evenly, if left out.
        strength: share of the sampler's steps that are walked, the last ones: the more, the less is left of the parent.
        sampler: how they are denoised; as the model draws if left out.
    """

    def __init__(
        self, of: str = "real", per_parent: int | None = None, strength: float = 0.5, sampler: Sampler | None = None
    ) -> None:
        super().__init__(of, per_parent, strength, sampler)

    def relative_cost(self, generator: Any, data: BootstrapData) -> float:
        """See `Synthesizer`: network calls of the steps that are walked, against those from noise alone."""
        calls = self.sampler_of(generator).calls(self.grid(generator).num_steps)
        return float(calls / self.plain_calls(generator))

    def draw(self, generator: Any, requests: Requests, parents: Tensor | None, done: Tensor | None) -> Iterator[Tensor]:
        """See `Synthesizer`."""
        assert parents is not None
        x0, grid = generator.encode(parents), self.grid(generator)
        noise = NoiseStreams(requests.seeds, generator.device)
        labels = None if generator.num_classes is None or requests.labels is None else requests.labels.to(generator.device)
        x = grid.level(0).noisy(x0, noise.normal(*x0.shape[1:]))
        yield generator.decode(self.sampler_of(generator)(generator.denoiser(), x, noise, labels, grid=grid))
