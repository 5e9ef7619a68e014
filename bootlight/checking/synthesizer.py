"""Synthesizers: what they ask for, and that an image is a function of weights and request alone."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bootlight.checking.stand_ins import Blend
from bootlight.checking.training import train
from bootlight.checking.trials import NotHere, Trials, demand, farthest, near, readable, repeated, tensor
from bootlight.data.generation_images import GenerationImages
from bootlight.data.mixing import Source
from bootlight.data.store import store_from_arrays
from bootlight.diffusion.sampler import DDIM
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.generators.diffusion import Diffusion
from bootlight.rng import numpy_rng
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import SAMPLES, RunFolder
from bootlight.synthesis.folder import as_stored
from bootlight.synthesis.requests import Requests, as_requests
from bootlight.synthesis.synthesizer import Synthesizer

COUNT, EDGE, CHANNELS, STEPS = 6, 8, 1, 3
TOLERANCE = 1e-3  # a network rounds otherwise in a batch of another size
CURE = "take all randomness from seeds of the requests: generator.sample(requests.seeds), NoiseStreams"


def generator(num_classes: int | None) -> Diffusion:
    """A small diffusion model with weights, that draws in a few steps."""
    model = Diffusion(
        EDGE,
        lambda sizes: Blend(sizes.shape[0], sizes.outputs),
        CHANNELS,
        num_classes=num_classes,
        sampler=DDIM(STEPS),
    )
    return model.eval().requires_grad_(False)


class SynthesizerTrials(Trials):
    """Of a `Synthesizer`."""

    kind = Synthesizer
    name = "synthesizer"

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        self._folder = tempfile.TemporaryDirectory(prefix="bootlight-check-")
        self.generator: GeneratorModule | None = None
        images = numpy_rng("check", "real").integers(0, 256, (5, EDGE, EDGE, CHANNELS), dtype=np.uint8)
        store = store_from_arrays(images, np.array([0, 1, 0, 1, 0]), ("a", "b"), [f"{i}.png" for i in range(5)])
        real = Source("real", store, np.arange(5))
        self.data = GenerationImages(store.labels, store.class_names, real, origins={"noisy": _noisy})

    def needs_told(self) -> None:
        """`needs` is a class of generators, `length` a whole number from 1 on."""
        needs, length = self.thing.needs, self.thing.length
        demand(inspect.isclass(needs) and issubclass(needs, GeneratorModule), f"needs is {needs!r}, no class of generators")
        demand(isinstance(length, int) and length >= 1, f"length is {length!r}; it must be a whole number from 1 on")

    def asks(self) -> str:
        """As many requests as were wanted, numbered from 0, each once, with seeds of their own."""
        self.generator = self._generator()
        try:
            self._requests()
        except BootlightError:  # it may be for models with classes
            if self.generator.num_classes is None and isinstance(generator(2), self.thing.needs):
                self.generator = generator(2)
            self._requests()
        requests = repeated(self._requests, _same_requests, "requests", "take seeds from image_seeds(context, count, into)")
        apart = {(request.seed, request.label, request.parents) for request in requests}
        demand(len(apart) == COUNT, "several requests have the same seed, label and parents: their images would be equal")
        for what, others in (
            ("folder", self._requests(into="probe")),
            ("generation", self._requests(number=2)),
            ("run of another seed", self._requests(seed=8)),
        ):
            demand(
                not set(others.seeds) & set(requests.seeds), f"another {what} has the same seeds; use image_seeds(context, ...)"
            )
        return f"of a {'conditional' if self.generator.num_classes else 'plain'} model"

    def yields(self) -> None:
        """`draw` yields finite images (B, C, H, W), `length` times, in the order of the requests."""
        self._drawn(self._asked())

    def request_alone(self) -> None:
        """An image depends on its request alone: not on the others, on their order, or on random generators."""
        requests = self._asked()
        whole = repeated(lambda: self._drawn(requests), torch.equal, "draw", CURE)
        for group in _groups(requests):
            alone = self._drawn(requests.chosen(group))
            demand(
                near(alone, whole[:, group], TOLERANCE),
                f"an image drawn without the others is another one, off by {farthest(alone, whole[:, group])}: a folder "
                f"that is half written could not be completed; {CURE}",
            )

    def continued(self) -> None:
        """Frames that lie on the disk are gone on from: the others are as they were."""
        if self.thing.length == 1:
            raise NotHere("its clips are single images")
        requests = self._asked()
        whole = self._drawn(requests)
        kept = torch.stack([as_stored(frame) for frame in whole], 1)
        for known in range(1, self.thing.length):
            again = self._drawn(requests, kept[:, :known])
            demand(
                near(again[known:], whole[known:], TOLERANCE),
                f"continued after {known} frames the others differ, by {farthest(again[known:], whole[known:])}: what is drawn "
                "from a frame must be drawn from as_stored(frame)",
            )

    def told(self) -> None:
        """`protocol` can be written down."""
        self._asked()
        readable(self.thing.protocol(self.generator), "protocol(generator)")

    def _generator(self) -> GeneratorModule:
        """A small one of the class that it needs; others like it are the networks that it refers to."""
        self.thing.attach({name: generator(None) for name in self.thing.references})
        needs, model = self.thing.needs, generator(None)
        if isinstance(model, needs):
            return model
        try:
            own: GeneratorModule = needs(image_size=EDGE, channels=CHANNELS)
            train(own, Path(self._folder.name))
        except Exception as error:
            raise NotHere(f"it draws with a {needs.__name__} alone, of which there is none here") from error
        return own.shortened()[0].eval().requires_grad_(False)

    def _asked(self) -> Requests:
        if self.generator is None:
            raise NotHere("there are no requests")
        return self._requests().by_parents()

    def _requests(self, number: int = 1, seed: int = 7, into: str = SAMPLES) -> Requests:
        context = GenerationContext(RunFolder(Path(self._folder.name)), number, seed)
        found = self.thing.requests(self.generator, self.data, context, COUNT, into)
        return as_requests(found, COUNT, type(self.thing).__name__)

    def _drawn(self, requests: Requests, done: Tensor | None = None) -> Tensor:
        """Frames (length, B, C, H, W)."""
        parents = None if requests.parents is None else self.data.parents(requests.parent_names)
        generator = self.thing.draws_with(self.generator)
        with torch.no_grad():
            frames = list(self.thing.draw(generator, requests, parents, done))
        length = self.thing.length
        demand(len(frames) == length, f"draw yields {len(frames)} times, its length is {length}")
        return torch.stack([tensor(frame, (len(requests), *generator.image_shape), "what draw yields") for frame in frames])

    def _close(self) -> None:
        self._folder.cleanup()


def _noisy() -> Source:
    """The images of an origin: one for each request."""
    images = numpy_rng("check", "noisy").normal(0, 1, (COUNT, EDGE, EDGE, CHANNELS)).astype(np.float32)
    store = store_from_arrays(images, np.arange(COUNT) % 2, ("a", "b"))
    return Source("real", store, np.arange(COUNT))


def _groups(requests: Requests) -> list[list[int]]:
    """Positions of requests that may be drawn apart, those of one parent together; the last ones before the first."""
    if requests.parents is None:
        return [[4, 1], [5], [3, 0, 2]]
    found: dict[tuple[str, ...], list[int]] = {}
    for i, names in enumerate(requests.parents):
        found.setdefault(tuple(names), []).append(i)
    return list(found.values())[::-1]


def _same_requests(one: Requests, other: Requests) -> bool:
    return list(one) == list(other)
