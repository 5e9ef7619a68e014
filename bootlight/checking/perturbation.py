"""Perturbations: noise on the way back to an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bootlight.checking.synthesizer import CHANNELS, EDGE, generator
from bootlight.checking.trials import NotHere, Trials, demand, farthest, near, noise, readable, repeated, tensor
from bootlight.diffusion.perturbation import Perturbation
from bootlight.diffusion.sampler import DDIM
from bootlight.errors import BootlightError
from bootlight.synthesis.requests import Requests
from bootlight.synthesis.variations import Variations

COUNT = 4
TOLERANCE = 1e-3  # a network rounds otherwise in a batch of another size


class PerturbationTrials(Trials):
    """Of a `Perturbation`."""

    kind = Perturbation
    name = "perturbation"

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        self.model = generator(None)
        self.sampler = DDIM(5, clip=False, eta=1.0)

    def perturbs(self) -> None:
        """Images (B, C, H, W) of a descent are finite, and others than without it."""
        drawn = self._drawn(self.thing)
        demand(not near(drawn, _parents(), TOLERANCE), "the descent leads back to the image, as if nothing had been added")

    def image_alone(self) -> None:
        """What it does to an image depends on noise and features of that image alone, and not on random generators."""
        cure = "take noise from the argument `noise`, and deviations over each image, not over the batch"
        whole = repeated(lambda: self._drawn(self.thing), torch.equal, "a descent", cure)
        for i in range(COUNT):
            alone = self._drawn(self.thing, [i])
            demand(
                near(alone, whole[[i]], TOLERANCE),
                f"the image of a request is another one without the others, by {farthest(alone, whole[[i]])}; {cure}",
            )

    def identity(self) -> None:
        """At the settings that it calls `identity` the descent leads back to the image."""
        back = self._drawn(self._at_identity())
        demand(near(back, _parents(), TOLERANCE), f"it leads elsewhere, by {farthest(back, _parents())}")

    def told(self) -> None:
        """`protocol` can be written down."""
        readable(self.thing.protocol(), "protocol()")

    def _drawn(self, perturbation: Perturbation, chosen: list[int] | None = None) -> Tensor:
        try:
            perturbation.fits(self.model, self.sampler)
        except BootlightError as error:
            raise NotHere(str(error)) from error
        asked = list(range(COUNT)) if chosen is None else chosen
        names = [(f"real/{i}",) for i in asked]
        requests = Requests([10 + i for i in asked], None, names, [20 + i for i in asked])
        drawing = Variations(perturbation, sampler=self.sampler)
        with torch.no_grad():
            images = next(drawing.draw(self.model, requests, _parents()[asked], None))
        return tensor(images, (len(asked), CHANNELS, EDGE, EDGE), "the image of a descent")


def _parents() -> Tensor:
    return noise(COUNT, CHANNELS, EDGE, EDGE, name="parents").clamp(-1, 1)
