"""Generators: trained a few steps, continued from a checkpoint, published, drawn from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from bootlight.checking.references import stand_in
from bootlight.checking.states import different, equal, global_generators, kept, other_attributes, spoken
from bootlight.checking.training import train
from bootlight.checking.trials import SEEDS, NotHere, Trials, Wrong, demand, farthest, near, noise, readable, repeated, tensor
from bootlight.generators.base import GeneratorModule
from bootlight.rng import seed_everywhere

TOLERANCE = 1e-3  # of drawn images; a network rounds otherwise in a batch of another size
ENOUGH = 64  # numbers that are not all above 0 by chance
FEW = 0.05  # of the numbers of images may be below 0 where it seems that none should be
FROM_NOISE = "draw must take all randomness from `noise`"
FROM_BATCH = "a training step must take all randomness from the batch: batch.normal(...), batch.uniform(...)"


class GeneratorTrials(Trials):
    """Of a `GeneratorModule`."""

    kind = GeneratorModule
    name = "generator"
    filled: ClassVar[Mapping[str, Any]] = {"image_size": 8, "channels": 1}

    def __init__(self, build: Callable[[], Any]) -> None:
        self._ended: Any = None
        self._first = torch.empty(0)  # images after the training
        self._by_chance: list[str] = []  # attributes that differ between two equal trainings, such as times
        self._why_not = ""  # the trials after the first that fails altogether would say the same
        super().__init__(build)
        self._folder = tempfile.TemporaryDirectory(prefix="bootlight-check-")

    def trains(self) -> str | None:
        """A few steps of training change its state and leave it finite."""
        self._why_not = "it cannot be trained"
        before, after = self._awake().state_dict(), self._train()[1]
        for name, value in after.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                demand(bool(torch.isfinite(value).all()), f"{name} is not finite after a few steps")
        changed = different(before, after) != []
        idle = not any(parameter.requires_grad for parameter in self.thing.parameters())
        demand(changed or idle, "training changes nothing of its state_dict: does training_step return the loss?")
        self._why_not = ""
        return None if changed else "it has nothing to learn"

    def sizes(self) -> None:
        """`image_shape` tells the shape of its images, which are finite."""
        module, self._why_not = self._trained, "its images cannot be used"
        shape = module.image_shape
        whole = len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)
        demand(whole, f"image_shape is {shape!r}; it must be three whole numbers (C, H, W)")
        self._first = self._images(module)
        self._why_not = ""

    def trains_again(self) -> None:
        """Training is deterministic: the same steps lead to the same state, bit for bit."""
        trained = self._trained
        again, state = self._train(2)
        self._images(again)
        self._by_chance = other_attributes(again, trained)
        self._same(state, "trained twice on the same batches it ends otherwise", FROM_BATCH)

    def continues(self) -> None:
        """Continued from a checkpoint it ends as if it never had stopped, bit for bit."""
        trained, resumed = self._trained, self._fresh(1)
        train(resumed, Path(self._folder.name), resume=True)
        state, images = kept(resumed.state_dict()), self._images(resumed)
        lost = spoken(set(other_attributes(resumed, trained)) - set(self._by_chance))
        cure = (
            f"a checkpoint does not have {lost}: make it a buffer (register_buffer), or save it in on_save_checkpoint"
            if lost
            else "is all state in buffers or in the optimizer?"
        )
        self._same(state, "continued from a checkpoint it ends otherwise than trained straight through", cure)
        sentence = f"continued from a checkpoint it is not what it is when trained straight through; {cure}"
        demand(not lost and near(images, self._first, 0), sentence)

    def published(self) -> None:
        """A fresh one with the published weights draws the same images."""
        trained, fresh = self._trained, self._fresh(1)
        fresh.load_published(kept(self._ended[2]))
        images = self._images(fresh)
        lost = spoken(other_attributes(fresh, trained, but=trained.unpublished))
        cure = (
            f"they do not have {lost}: make it a buffer (register_buffer)" if lost else "is all that decides them in buffers?"
        )
        same = near(images, self._first, 1e-6)
        demand(same, f"a fresh one with the published weights draws other images; {cure}")

    def seed_alone(self) -> None:
        """Image i depends on seed i (and label i) alone: not on global random generators, the batch, or its place in it."""
        module = self._trained
        together = repeated(lambda: self._draw(module), torch.equal, "sample", FROM_NOISE)
        for chosen in ([2, 1], [3, 0, 2], [0]):
            images = self._draw(module, chosen)
            demand(
                near(images, together[chosen], TOLERANCE),
                f"an image drawn with {len(chosen) - 1} others is not what it is with {len(SEEDS) - 1} others, off by "
                f"{farthest(images, together[chosen])}: it depends on the batch (statistics of the batch, as batch norm in "
                "training mode has them? noise that is not the image's own?)",
            )
        demand((together[0] - together[1]).abs().max() > 0, "images of different seeds are equal: the noise is not used")

    def any_rank(self) -> None:
        """Image i is the same whichever process draws it."""
        module = self._trained
        here = self._images(module)
        with (
            patch.object(LightningModule, "global_rank", 1),
            patch.object(LightningModule, "local_rank", 1),
            patch.dict(os.environ, RANK="1", LOCAL_RANK="1", WORLD_SIZE="2"),
        ):
            there = self._images(module)
        demand(
            near(there, here, TOLERANCE), f"another process draws another image, off by {farthest(there, here)}; {FROM_NOISE}"
        )

    def draws_only(self) -> None:
        """Drawing changes nothing: no state, no mode, no global random generator."""
        module = self._trained
        module.train()
        before = {name: value.clone() for name, value in module.state_dict().items() if isinstance(value, Tensor)}
        modes = {name: part.training for name, part in module.named_modules()}
        generators = global_generators()
        self._draw(module)
        changed = different(before, module.state_dict())
        demand(changed == [], f"drawing changes {', '.join(changed[:3])}: is a batch norm in training mode?")
        other = [name or "the module" for name, part in module.named_modules() if part.training != modes[name]]
        demand(other == [], f"drawing leaves {', '.join(other[:3])} in another mode (train or eval)")
        demand(equal(generators, global_generators()), f"drawing uses a global random generator; {FROM_NOISE}")

    def no_gradient(self) -> None:
        """Drawn images keep no gradient."""
        with torch.enable_grad():
            images = self._trained.shortened()[0].sample(SEEDS, labels=self._labels())
        demand(not images.requires_grad, "images require a gradient: memory would grow; do not enable gradients in draw")

    def in_range(self) -> None:
        """Images are about [-1, 1], as the training images are: black is -1."""
        module = self._trained
        if module.image_dtype != "uint8":
            raise NotHere("images of float data are as they are")
        images = self._draw(module)
        if images.numel() < ENOUGH:
            raise NotHere("its images have too few numbers")
        # A network that has learned little may draw one grey; with its weights negated another one, unless its range is wrong.
        both = [images, *self._negated()]
        demand(
            max(float((part < 0).double().mean()) for part in both) > FEW,
            f"hardly a number in its images is below 0, they go from {images.min():.3g} to {images.max():.3g}: it seems "
            f"to draw images of {'[0, 255]' if images.max() > 2 else '[0, 1]'}",
        )

    def told(self) -> None:
        """`protocol` can be written down."""
        readable(self._trained.protocol(), "protocol()")

    def _need(self) -> None:
        if self._why_not:
            raise NotHere(self._why_not)

    @property
    def _trained(self) -> Any:
        """After its training; what it was at the end of that is kept, because a broken one may change when it is drawn from."""
        self._need()
        if self._ended is None:
            module, state = self._train()
            self._ended = module, state, kept(module.published_state())
        return self._ended[0]

    def _close(self) -> None:
        self._folder.cleanup()

    def _fresh(self, number: int = 0) -> Any:
        module = super()._fresh(number)
        if getattr(module, "references", None):
            module.attach({name: stand_in(module) for name in module.references})
        return module

    def _awake(self) -> Any:
        """A fresh one whose weights are nowhere 0: many networks begin with an answer that does not depend on anything."""
        module = self._fresh()
        state = module.published_state()
        for name, parameter in module.named_parameters():
            if name in state and parameter.requires_grad and not parameter.any():
                state[name] = 0.1 * noise(*parameter.shape, name=name, dtype=parameter.dtype)
        module.load_published(state)
        return module

    def _train(self, times: int = 1) -> tuple[Any, dict[str, Any]]:
        """A module after its training, and its state."""
        module = self._awake()
        seed_everywhere("check", "training", times)  # on which nothing may depend
        train(module, Path(self._folder.name))
        return module, kept(module.state_dict())

    def _same(self, found: Mapping[str, Any], sentence: str, cure: str) -> None:
        names = different(self._ended[1], found)
        demand(names == [], f"{sentence}: {len(names)} of its tensors, such as {', '.join(names[:2])}; {cure}")

    def _negated(self) -> list[Tensor]:
        """Images by the negated weights; none where they are no images."""
        module = self._awake()
        state = module.published_state()
        for name, parameter in module.named_parameters():
            if name in state and parameter.requires_grad:
                state[name] = -self._ended[2][name]
        module.load_published(state)
        try:
            return [self._draw(module)]
        except Wrong:
            return []

    def _labels(self, chosen: list[int] | None = None) -> Tensor | None:
        classes = self.thing.num_classes
        return None if classes is None else torch.tensor([i % classes for i in chosen or range(len(SEEDS))])

    def _images(self, module: Any) -> Tensor:
        """For comparison, also of one that uses global random generators."""
        seed_everywhere("check", "images")
        return self._draw(module)

    def _draw(self, module: Any, chosen: list[int] | None = None) -> Tensor:
        """Images, in as few steps as it can."""
        seeds = SEEDS if chosen is None else [SEEDS[i] for i in chosen]
        images = module.shortened()[0].sample(seeds, labels=self._labels(chosen))
        return tensor(images, (len(seeds), *self.thing.image_shape), "what draw answers")
