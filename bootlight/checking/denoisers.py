"""Denoisers, compositions of them, and objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.checking.stand_ins import Blend, Exact, Model
from bootlight.checking.trials import NotHere, Trials, Wrong, demand, near, noise, readable, repeated, tensor, uniform
from bootlight.diffusion.compose import Composition
from bootlight.diffusion.denoiser import Denoiser, NetworkDenoiser
from bootlight.diffusion.edm import EDM
from bootlight.diffusion.objective import Objective
from bootlight.diffusion.prediction import Epsilon, Estimate, LearnedVariance
from bootlight.diffusion.schedule import Schedule
from bootlight.diffusion.schedules import CosineSchedule, SigmaSchedule
from bootlight.errors import BootlightError
from bootlight.rng import seed_everywhere

COUNT, SHAPE = 4, (1, 4, 4)
TOLERANCE = 1e-4  # of estimates
FUNCTION = "an estimate is a function of x_t, t and labels"


class DenoiserTrials(Trials):
    """Of a `Denoiser`."""

    kind = Denoiser
    name = "denoiser"
    filled: ClassVar[Mapping[str, Any]] = {"schedule": CosineSchedule()}

    def estimates(self) -> None:
        """Image and noise of an estimate are finite, of the size of x_t, and add up to it."""
        estimates_add_up(self.thing)

    def image_alone(self) -> None:
        """The estimate of an image does not depend on the others of the batch, or on random numbers."""
        estimates_are_alone(self.thing)


class CompositionTrials(Trials):
    """Of a `Composition`."""

    kind = Composition
    name = "composition"

    def refers(self) -> str:
        """It takes the models that it refers to, and says so where they were not given."""
        names = self.thing.references
        pairs = isinstance(names, Mapping) and all(isinstance(part, str) for pair in names.items() for part in pair)
        demand(pairs, f"references is {names!r}; it must map names to texts such as '@-1/model'")
        self._composed()
        return f"with a stand-in for {', '.join(names)}" if names else "it refers to none"

    def estimates(self) -> None:
        """Image and noise of the composed estimate are finite, of the size of x_t, and add up to it."""
        estimates_add_up(self._composed())

    def image_alone(self) -> None:
        """The estimate of an image does not depend on the others of the batch, or on random numbers."""
        estimates_are_alone(self._composed())

    def reaches(self) -> None:
        """The denoiser that it is given is part of the composed one, on the same schedule."""
        own = Exact(CosineSchedule(), 0.1, 0.2)
        composed = self._composed(own)
        demand(composed.schedule is own.schedule, "the composed denoiser has another schedule")
        demand(
            any(module is own for module in composed.modules()),
            "the denoiser is no attribute of the composed one: no objective would train it; keep it as one",
        )

    def identity(self) -> None:
        """At the settings that it calls `identity` it changes nothing."""
        composition, own = self._at_identity(), Exact(CosineSchedule(), 0.1, 0.2)
        x_t, t = noisy_images(own.schedule)
        wanted, found = own(x_t, t), self._composed(own, composition)(x_t, t)
        same = near(found.x0, wanted.x0, TOLERANCE) and near(found.epsilon, wanted.epsilon, TOLERANCE)
        demand(same, f"with {dict(composition.identity)} estimates are not those of the denoiser that it was given")

    def told(self) -> None:
        """`protocol` can be written down."""
        readable(self.thing.protocol(), "protocol()")

    def _composed(self, own: Denoiser | None = None, composition: Any = None) -> Denoiser:
        own, composition = own or Exact(CosineSchedule(), 0.1, 0.2), composition or self.thing
        composition.attach({name: Model(own.schedule) for name in composition.references})
        composed = composition(own)
        demand(isinstance(composed, Denoiser), f"it answers {type(composed).__name__}, which is no Denoiser")
        return composed


class ObjectiveTrials(Trials):
    """Of an `Objective`."""

    kind = Objective
    name = "objective"

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        self.denoiser: NetworkDenoiser | None = None

    def losses(self) -> str:
        """Losses and what is logged of them are (B,), finite, one for each image."""
        refused = []
        for denoiser in possible():
            try:
                self.denoiser = denoiser
                self._losses(images())
                self._at_the_ends(denoiser)
                return f"with {describe(denoiser)}"
            except (ValueError, BootlightError) as error:  # it says what it is not for
                self.denoiser = None
                refused.append(f"{describe(denoiser)}: {error}")
        raise Wrong("it takes none of the denoisers that it was tried with; " + "; ".join(refused))

    def image_alone(self) -> None:
        """The loss of an image does not depend on the others of the batch, or on how processes share it."""
        batch = images()
        cure = "take all randomness from the batch: batch.normal(...), batch.uniform(...)"
        whole = repeated(lambda: self._losses(batch), torch.equal, "the objective", cure)
        for low, high in ((0, 2), (2, 4), (1, 2)):
            part = batch._replace(images=batch.images[low:high], start=low)
            demand(
                near(self._losses(part, low), whole[low:high], TOLERANCE),
                f"the losses of images {low} to {high} are others when they are alone on a device: noise must be that of the "
                "whole batch (batch.normal), and nothing may be averaged over images",
            )

    def gradient(self) -> None:
        """Its gradient reaches the network."""
        denoiser = self._denoiser()
        denoiser.zero_grad()
        loss = self._asked(images())[0]
        demand(loss.requires_grad, "the losses have no gradient")
        loss.mean().backward()  # type: ignore[no-untyped-call]
        found = [p.grad for p in denoiser.network.parameters() if p.grad is not None and p.grad.abs().max() > 0]
        demand(len(found) > 0, "no weight of the network gets a gradient")
        demand(all(bool(torch.isfinite(grad).all()) for grad in found), "gradients are not finite")

    def unweighted(self) -> None:
        """Weights of images are left to the module."""
        batch = images()
        weighted = batch._replace(weights=torch.full((COUNT,), 2.0))
        seed_everywhere("check", "weights")
        found = self._losses(weighted)
        seed_everywhere("check", "weights")
        demand(near(found, self._losses(batch), TOLERANCE), "losses change with batch.weights; they would count twice")

    def _at_the_ends(self, denoiser: NetworkDenoiser) -> None:
        t = denoiser.schedule.drawn(torch.tensor([0.0, 1 - 2.0**-24]).repeat(COUNT // 2))
        found = self.thing(denoiser, images(), t)[0]
        tensor(found, (COUNT,), "the loss at the lowest and the highest level")

    def _denoiser(self) -> NetworkDenoiser:
        if self.denoiser is None:
            raise NotHere("there are no losses")
        return self.denoiser

    def _asked(self, batch: Batch, low: int = 0) -> tuple[Tensor, Mapping[str, Tensor]]:
        denoiser = self._denoiser()
        t = noisy_images(denoiser.schedule)[1][low : low + len(batch.images)]
        answer = self.thing(denoiser, batch, t)
        demand(isinstance(answer, tuple) and len(answer) == 2, "it must answer losses and a dictionary of what is logged")
        return answer

    def _losses(self, batch: Batch, low: int = 0) -> Tensor:
        loss, parts = self._asked(batch, low)
        for name, values in parts.items():
            tensor(values, (len(batch.images),), f"what is logged as {name}")
        return tensor(loss, (len(batch.images),), "the loss")


def possible() -> list[NetworkDenoiser]:
    """Denoisers that an objective may be for."""
    table, sigmas = CosineSchedule(), SigmaSchedule()
    learned = NetworkDenoiser(Blend(SHAPE[0], 2 * SHAPE[0]), LearnedVariance(Epsilon()), table)
    edm = NetworkDenoiser(Blend(SHAPE[0], SHAPE[0]), EDM(), sigmas)
    return [NetworkDenoiser(Blend(SHAPE[0], SHAPE[0]), Epsilon(), table), learned, edm]


def describe(denoiser: NetworkDenoiser) -> str:
    """Its parts, in words."""
    return f"{type(denoiser.prediction).__name__} on a {type(denoiser.schedule).__name__}"


def images() -> Batch:
    """A whole batch."""
    return Batch(uniform(COUNT, *SHAPE, name="images") * 2 - 1, None, 7, 0, COUNT, ids=torch.arange(COUNT))


def noisy_images(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """x_t and t of images at several levels."""
    u = torch.linspace(0.2, 0.9, COUNT)
    t, level = schedule.drawn(u), schedule.level(schedule.drawn(u))
    return level.signal * images().images + level.noise * noise(COUNT, *SHAPE), t


def asked(denoiser: Denoiser, chosen: slice = slice(None)) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, and image and noise of the estimate."""
    x_t, t = (part[chosen] for part in noisy_images(denoiser.schedule))
    with torch.no_grad():
        estimate = denoiser(x_t, t)
    demand(isinstance(estimate, Estimate), f"it answers {type(estimate).__name__}, not an Estimate")
    size = tuple(x_t.shape)
    return x_t, tensor(estimate.x0, size, "the image of the estimate"), tensor(estimate.epsilon, size, "its noise")


def estimates_add_up(denoiser: Denoiser) -> None:
    """Signal times image plus noise times noise is what was asked about.

    Raises:
        Wrong: it is not.
    """
    level = denoiser.schedule.level(noisy_images(denoiser.schedule)[1])
    x_t, x0, epsilon = asked(denoiser)
    demand(
        near(level.signal * x0 + level.noise * epsilon, x_t, 1e-3), "signal * x0 + noise * epsilon of the estimate is not x_t"
    )


def estimates_are_alone(denoiser: Denoiser) -> None:
    """An image's estimate is a function of that image.

    Raises:
        Wrong: it is not.
    """
    _, whole, _ = repeated(lambda: asked(denoiser), lambda a, b: all(map(torch.equal, a, b)), "the denoiser", FUNCTION)
    for i in range(COUNT):
        alone = asked(denoiser, slice(i, i + 1))[1]
        demand(near(alone, whole[i : i + 1], TOLERANCE), "the estimate of an image changes with the other images of the batch")
