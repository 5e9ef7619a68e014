"""Weights of the heads of a mixed prediction: of each image alone, 0 where a head can say nothing, and kept in checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bootlight.checking.trials import NotHere, Trials, demand, near, noise, repeated, uniform
from bootlight.diffusion.head_weights import HeadWeights

HEADS, COUNT, EDGE = 3, 6, 4


class HeadWeightsTrials(Trials):
    """Of `HeadWeights`."""

    kind = HeadWeights
    name = "weighting of heads"

    def __init__(self, build: Any) -> None:
        super().__init__(build)
        self.thing.setup(HEADS)

    def sizes(self) -> None:
        """Logarithms of weights are (B, heads) or (B, heads, H, W), and those of some head finite for each image."""
        found = self._asked()
        allowed = ((COUNT, HEADS), (COUNT, HEADS, EDGE, EDGE))
        demand(tuple(found.shape) in allowed, f"it answers {tuple(found.shape)}; it must be {allowed[0]} or {allowed[1]}")
        demand(not found.isnan().any(), "it answers NaN")
        demand(bool((found.max(1).values.abs() < torch.inf).all()), "an image has no head with a finite weight above 0")

    def mute(self) -> None:
        """A head that cannot say what the image is has a weight of 0."""
        log_scale = _log_scale()
        log_scale[2, 0] = -torch.inf
        demand(bool((self._asked(log_scale=log_scale)[2, 0] == -torch.inf).all()), "it has another one: its image is no number")

    def image_alone(self) -> None:
        """The weights of an image depend on no other image of the batch, and on no random numbers."""
        whole = repeated(self._asked, torch.equal, "it", "weights are a function of the level and the answer")
        for i in range(COUNT):
            alone = self._asked(slice(i, i + 1))
            demand(near(alone.softmax(1), whole[i : i + 1].softmax(1), 1e-6), "the weights of an image change with the batch")

    def order(self) -> None:
        """What it learns of a step does not depend on the order of its images: devices and batches share them as they like."""
        self._observes()
        one, other = self._fresh(), self._fresh()
        for found, order in ((one, torch.arange(40)), (other, torch.arange(40).flip(0))):
            found.setup(HEADS)
            _show(found, order)
        wanted, weights = (self._asked(thing=found).softmax(1) for found in (one, other))
        demand(near(weights, wanted, 1e-6), "weights are others where the images of a step came in another order")

    def state_saved(self) -> None:
        """What it has learned is in its state: saved, loaded into a fresh one, it weighs the same."""
        self._observes()
        fresh, used = self._fresh(1), self._fresh()
        fresh.setup(HEADS)
        used.setup(HEADS)
        _show(used)
        try:
            fresh.load_state_dict({name: value.clone() for name, value in used.state_dict().items()})
        except RuntimeError as error:
            cause = " ".join(str(error).split())
            demand(False, f"its state does not fit a fresh one ({cause}); give buffers their sizes in setup(heads)")
        for _ in range(2):
            demand(
                torch.equal(self._asked(thing=fresh), self._asked(thing=used)),
                "loaded from its state it weighs otherwise: what observe() learns must be in buffers (register_buffer)",
            )
            _show(used)
            _show(fresh)

    def _observes(self) -> None:
        if not self.thing.observes:
            raise NotHere("it does not want to know errors")

    def _asked(self, chosen: slice = slice(None), log_scale: Tensor | None = None, thing: Any = None) -> Tensor:
        thing = self.thing if thing is None else thing
        answer = noise(COUNT, thing.num_outputs(HEADS), EDGE, EDGE, name="answer")[chosen]
        scale = _log_scale() if log_scale is None else log_scale
        found = thing(answer, torch.linspace(-4.0, 4.0, COUNT)[chosen], scale[chosen])
        demand(isinstance(found, Tensor), f"it answers {type(found).__name__}, no tensor")
        return found.detach()  # type: ignore[no-any-return]


def _log_scale() -> Tensor:
    """Of an image, of noise, and of v."""
    sigma = torch.linspace(-4.0, 4.0, COUNT)
    return torch.stack([0 * sigma, -2 * sigma, torch.log1p((-2 * sigma).exp())], 1)


def _show(thing: Any, order: Tensor | None = None) -> None:
    order = torch.arange(40) if order is None else order
    log_sigma = torch.linspace(-5.0, 5.0, 40).double()
    thing.observe(log_sigma[order], (0.1 + uniform(40, HEADS).double())[order])
