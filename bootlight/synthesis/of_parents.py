"""Images that are made of others: of which, with whose labels, and how many of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from bootlight.data.archive import of_origin
from bootlight.data.division import divided
from bootlight.data.generation_images import REAL
from bootlight.errors import BootlightError, check_range
from bootlight.generators.denoising import DenoisingModule
from bootlight.runs.folder import SAMPLES
from bootlight.synthesis.synthesizer import Synthesizer, variants

if TYPE_CHECKING:
    from torch import Tensor

    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.generation_images import GenerationImages
    from bootlight.diffusion.grid import Grid
    from bootlight.diffusion.sampler import Sampler
    from bootlight.runs.context import GenerationContext
    from bootlight.synthesis.requests import Requests


class OfParents(Synthesizer):
    """A descent that starts at an image with noise, and not at noise alone; each image has the label of its parent.

    Parents are images that may be trained on: one that equals a held-out image, pixel by pixel, is refused.

    Args:
        of: `real`, the real images in use; the name of one of `data.origins`, or of a folder of the same generation.
        per_parent: images of each parent, if the stage does not say how many there are; as many as `bootstrap.num_synthetic`
            says, divided evenly, if left out.
        strength: share of the sampler's steps that are walked, the last ones: 1 = from noise alone, less = nearer to the
            parent.
        sampler: of the descent.
    """

    needs = DenoisingModule

    def __init__(self, of: str, per_parent: int | None, strength: float, sampler: Sampler | None) -> None:
        who = type(self).__name__
        if per_parent is not None:
            check_range(f"{who} per_parent", per_parent, 1)
        check_range(f"{who} strength", strength, 0, 1)
        if strength == 0:
            raise BootlightError(f"{who} strength is 0, which draws nothing; it must be above 0, and at most 1")
        self.of = of
        self.per_parent = per_parent
        self.strength = strength
        self.sampler = sampler

    def sampler_of(self, generator: DenoisingModule) -> Sampler:
        """The sampler of the descent; the model's own where none was given."""
        return generator.sampler if self.sampler is None else self.sampler

    def count(self, data: BootstrapData) -> int | None:
        """See `Synthesizer`: so many of each parent."""
        if self.per_parent is None:
            return None
        if self.of == REAL:
            return self.per_parent * len(divided(data).real)
        if self.of in data.origins:
            return self.per_parent * len(of_origin(data.origins, self.of))
        raise BootlightError(
            f"{type(self).__name__}: nobody knows yet how many images {self.of} has; give the stage an n, and leave per_parent "
            "out"
        )

    def requests(
        self, generator: Any, data: GenerationImages, context: GenerationContext, count: int, into: str = SAMPLES
    ) -> Requests:
        """See `Synthesizer`: as many of each parent as of the others, or one more.

        Raises:
            BootlightError: there are no such images, held-out ones are among them, or the model cannot draw of them.
        """
        names = data.names(self.of)
        if not names:
            raise BootlightError(f"{type(self).__name__}: there are no images {self.of}, of which others could be made")
        self._check_leak(data)
        self.check(generator)
        found = variants(data, context, names, count, into)
        self._check_images(generator, data, found)
        return found

    def check(self, generator: DenoisingModule) -> None:
        """Refuse a model that cannot be asked.

        Raises:
            BootlightError: says why.
        """
        sampler = self.sampler_of(generator)
        try:
            sampler.grid(generator.schedule)
        except ValueError as error:
            raise BootlightError(f"{type(self).__name__}: sampler: {error}") from error
        if sampler.guidance != 1 and generator.num_classes is None:
            raise BootlightError(
                f"{type(self).__name__}: sampler.guidance is {sampler.guidance}, and the model has no classes to guide by; set "
                "model.num_classes, or leave guidance at 1"
            )

    def grid(self, generator: DenoisingModule) -> Grid:
        """The levels of the descent: the last ones of the sampler's."""
        whole = self.sampler_of(generator).grid(generator.schedule)
        return whole.from_step(whole.num_steps - max(1, round(self.strength * whole.num_steps)))

    def plain_calls(self, generator: DenoisingModule) -> int:
        """Network calls of an image that the model draws from noise."""
        return generator.sampler.calls(generator.sampler.grid(generator.schedule).num_steps)

    def protocol(self, generator: Any) -> dict[str, Any]:
        """See `Synthesizer`: the sampler of the descent, and the settings."""
        sampler = self.sampler_of(generator).protocol()
        sampler["num_steps"] = sampler["num_steps"] or generator.schedule.num_timesteps
        return super().protocol(generator) | sampler | {"of": self.of, "strength": self.strength}

    def _check_leak(self, data: GenerationImages) -> None:
        leak = data.leak(self.of)
        if leak is not None:
            raise BootlightError(
                f"{type(self).__name__}: {leak.number} of the held-out images are also among the images {self.of}, of which "
                f"others are to be made, such as {leak.held_out} = {leak.train}; take them out of one of the two (bootlight "
                "data check lists them), or scores on held-out images mean nothing"
            )

    def _check_images(self, generator: DenoisingModule, data: GenerationImages, requests: Requests) -> None:
        shape = tuple(data.parents(requests.parent_names[:1]).shape[1:])
        if shape != tuple(generator.image_shape):
            raise BootlightError(
                f"{type(self).__name__}: the images {self.of} are (C, H, W) = {shape}, and the model draws "
                f"{tuple(generator.image_shape)}; give both the same size"
            )
        if generator.num_classes is not None and requests.labels is None:
            raise BootlightError(
                f"{type(self).__name__}: some of the images {self.of} have no label, and the model is class-conditional; label "
                "them, or leave model.num_classes out"
            )


class Families(NamedTuple):
    """Requests by their parents.

    Attributes:
        first: int64 (P,), the first request of each parent.
        rows: int64 (B,), the parent of each request, from 0.
    """

    first: Tensor
    rows: Tensor

    @classmethod
    def of(cls, parents: Sequence[tuple[str, ...]]) -> Families:
        """Of the parents of each request, equal ones one after the other."""
        known: dict[tuple[str, ...], int] = {}
        rows = [known.setdefault(tuple(names), len(known)) for names in parents]
        return cls(torch.tensor([rows.index(i) for i in range(len(known))]), torch.tensor(rows))
