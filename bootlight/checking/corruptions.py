"""Corruptions and views: functions of an image and its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from bootlight.checking.trials import NotHere, Trials, demand, farthest, near, noise, repeated, tensor, uniform
from bootlight.diffusion.corruption import Corruption, View

COUNT, EDGE = 4, 8
IDS = torch.tensor([3, 2**31 + 1, 2**40, 2**62])
SEED = 5
TOLERANCE = 1e-5
CURE = "what is frozen must be made of ids and seed alone, as by rng.normal_rows"


class CorruptionTrials(Trials):
    """Of a `Corruption`."""

    kind = Corruption
    name = "corruption"
    filled: ClassVar[Mapping[str, Any]] = {"image_size": EDGE}

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        self.channels = 3
        try:
            self._made(self._images())
        except Exception:  # it may be for grey images; if not, the first trial will tell
            self.channels = 1

    def sizes(self) -> None:
        """Corrupted images are finite floats of the same size; those that it was given stay as they are."""
        x = self._images()
        demand(self._made(x).is_floating_point(), "what it answers are no floats")
        demand(torch.equal(x, self._images()), "it changes the images that it is given; take a copy")

    def name_alone(self) -> None:
        """What becomes of an image depends on its name and the seed alone: not on its batch, or on random generators."""
        x = self._images()
        whole = repeated(lambda: self._made(x), torch.equal, "it", CURE)
        for chosen in ([2, 1], [3, 0, 2], [0]):
            alone = self._made(x[chosen], IDS[chosen])
            demand(
                near(alone, whole[chosen], TOLERANCE),
                f"an image becomes another one in a batch of {len(chosen)} than in one of {COUNT}, off by "
                f"{farthest(alone, whole[chosen])}; {CURE}",
            )

    def each_its_own(self) -> str | None:
        """What is random is so for each image: equal images of other names become different ones."""
        x = self._images()[:1].expand(COUNT, -1, -1, -1).clone()
        whole = self._made(x)
        if torch.equal(whole, self._made(x, IDS, SEED + 1)):
            return "nothing is"
        demand(not torch.equal(whole[0], whole[1]), f"all images get the same noise: it depends on the seed alone; {CURE}")
        return None

    def levels(self) -> None:
        """`level` is a number from 0 on; 0 changes nothing."""
        level = self.thing.level
        known = isinstance(level, int | float) and 0 <= level < math.inf
        demand(known, f"level is {level!r}; it must be a number, 0 where it changes nothing")
        if level > 0:
            changed = self._made(self._images())
            demand(not torch.equal(changed, self._images()), f"level is {level:g}, but nothing is changed")
            return
        demand(torch.equal(self._made(self._images()), self._images()), "level is 0, but images change")

    def identity(self) -> None:
        """With the settings that it calls `identity` it changes nothing."""
        corruption, x = self._at_identity(), self._images()
        same = near(corruption(x, IDS, SEED), self._images(), TOLERANCE)
        demand(same, f"with {dict(corruption.identity)} it changes images")

    def _images(self) -> Tensor:
        return uniform(COUNT, self.channels, EDGE, EDGE, name="images") * 1.8 - 0.9

    def _made(self, x: Tensor, ids: Tensor = IDS, seed: int = SEED) -> Tensor:
        return tensor(self.thing(x, ids, seed), tuple(x.shape), "what it answers")


class ViewTrials(CorruptionTrials):
    """Of a `View`."""

    kind = View
    name = "view"

    def certain(self) -> None:
        """A view has no randomness: names and seed make no difference."""
        x = self._images()
        same = torch.equal(self._made(x), self._made(x, IDS.flip(0), SEED + 1))
        demand(same, "it depends on names or seed; a View has no randomness, a Corruption may")

    def linear(self) -> None:
        """`project` is linear."""
        one, other = self._images(), noise(COUNT, self.channels, EDGE, EDGE)
        both = self.thing.project(0.3 * one - 2 * other)
        apart = 0.3 * self.thing.project(one) - 2 * self.thing.project(other)
        demand(
            near(both, apart, TOLERANCE),
            f"project(a x + b y) is not a project(x) + b project(y), off by {farthest(both, apart)}",
        )

    def adjoint(self) -> None:
        """The inner products <project x, y> and <x, adjoint y> are equal."""
        x = self._images().double()
        part = self.thing.project(x)
        if not part.numel():
            raise NotHere("the part is empty")
        y = noise(*part.shape, name="part", dtype=part.dtype)
        back = self.thing.adjoint(y)
        tensor(back, tuple(x.shape), "adjoint(y)")
        left, right = (part * y).flatten(1).sum(1), (x * back).flatten(1).sum(1)
        demand(near(left, right, TOLERANCE), f"<project x, y> is {left[0]:.5g}, <x, adjoint y> {right[0]:.5g}")
