"""Variations of images: each is inverted once, and perturbed on the way back."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import TYPE_CHECKING, Any

from bootlight.diffusion.feature_noise import BottleneckNoise
from bootlight.diffusion.perturbation import Perturbation, StepNoise
from bootlight.diffusion.sampler import DDIM, MarkovSampler
from bootlight.errors import BootlightError
from bootlight.rng import NoiseStreams
from bootlight.synthesis.of_parents import Families, OfParents

if TYPE_CHECKING:
    from torch import Tensor

    from bootlight.data.datamodule import BootstrapData
    from bootlight.diffusion.prediction import Estimate
    from bootlight.generators.denoising import DenoisingModule
    from bootlight.synthesis.requests import Requests


class Variations(OfParents):
    """Each parent is led up to noise, and down again by a perturbed descent (Fu et al. 2024, "DreamDA", section 4.2).

    The inversion is made once for all images of a parent, of noise that is the parent's. A sampler that adds noise records
    that of a forward trajectory (Wu and De la Torre 2023, "CycleDiffusion"), one without walks its own path upward (equation
    5); either way a descent without perturbation leads back to the parent, to rounding.

    Args:
        perturbation: where noise joins the descent, and how much.
        of: `real`, the real images in use; the name of one of `data.origins`, or of a folder of the same generation.
        per_parent: images of each parent, if the stage does not say how many there are; as many as `bootstrap.num_synthetic`
            says, divided evenly, if left out.
        strength: share of the sampler's steps that are walked, the last ones.
        sampler: of inversion and descent; DDIM with 100 steps, eta 1 and without clipping, if left out.
        inversion_guidance: guidance of the inversion, where it is to differ from the descent's: then an unperturbed descent
            does not lead back.
    """

    def __init__(
        self,
        perturbation: Perturbation | None = None,
        of: str = "real",
        per_parent: int | None = None,
        strength: float = 0.8,
        sampler: MarkovSampler | None = None,
        inversion_guidance: float | None = None,
    ) -> None:
        super().__init__(of, per_parent, strength, DDIM(100, clip=False, eta=1.0) if sampler is None else sampler)
        if not isinstance(self.sampler, MarkovSampler):
            raise BootlightError(
                f"Variations: {type(self.sampler).__name__} cannot be inverted; take a bootlight.MarkovSampler, such as "
                "bootlight.DDIM"
            )
        self.perturbation = BottleneckNoise() if perturbation is None else perturbation
        self.inversion_guidance = inversion_guidance

    def check(self, generator: DenoisingModule) -> None:
        """See `OfParents`."""
        super().check(generator)
        self.perturbation.fits(generator, self.descent)

    @property
    def descent(self) -> MarkovSampler:
        """The sampler."""
        assert isinstance(self.sampler, MarkovSampler)
        return self.sampler

    @property
    def ascent(self) -> MarkovSampler:
        """The same, with the guidance of the inversion."""
        found = copy(self.descent)
        found.guidance = found.guidance if self.inversion_guidance is None else self.inversion_guidance
        return found

    def relative_cost(self, generator: Any, data: BootstrapData) -> float:
        """See `Synthesizer`: network calls of a descent, with a share of its parent's inversion."""
        steps = self.grid(generator).num_steps
        inversion = steps if self.descent.adds_noise else 2 * steps - 1  # with a way down, for the residual
        calls = self.perturbation.calls * steps + inversion / (self.per_parent or 1)
        return float(calls / self.plain_calls(generator))

    def draw(self, generator: Any, requests: Requests, parents: Tensor | None, done: Tensor | None) -> Iterator[Tensor]:
        """See `Synthesizer`."""
        assert parents is not None and requests.parents is not None and requests.parent_seeds is not None
        first, rows = Families.of(requests.parents)
        labels = None if generator.num_classes is None or requests.labels is None else requests.labels.to(generator.device)
        denoiser, grid = generator.denoiser(), self.grid(generator)
        x0 = generator.encode(parents[first.to(parents.device)])
        of_parents = NoiseStreams([requests.parent_seeds[i] or 0 for i in first.tolist()], generator.device)
        own = None if labels is None else labels[first.to(labels.device)]
        start, record = self.ascent.invert(denoiser, x0, of_parents, own, grid=grid)

        rows = rows.to(start.device)
        noise = StepNoise(NoiseStreams(requests.seeds, generator.device))
        asked = self.descent.asking(self.perturbation.inside(denoiser, noise), grid, labels, {})

        def ask(x: Tensor, i: int) -> Estimate:
            noise.begin()
            return asked(x, i)

        x = self.perturbation.at_start(start[rows], noise)
        x = self.descent.walk(grid, ask, x, record.again(rows), None, change=lambda x: self.perturbation.at_level(x, noise))
        noise.begin()
        yield generator.decode(self.perturbation.at_end(x, noise))

    def protocol(self, generator: Any) -> dict[str, Any]:
        """See `Synthesizer`."""
        settings = {"perturbation": self.perturbation.protocol(), "inversion_guidance": self.inversion_guidance}
        return super().protocol(generator) | settings
