"""The contract of a pluggable generator."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from bootlight.batch import Batch
from bootlight.errors import BootlightError
from bootlight.generators.ema import EMA
from bootlight.io.shape import Shape, shape_of, size_words
from bootlight.networks.lora import load_plain, plain_state
from bootlight.rng import NoiseStreams, seed_torch

EMA_PREFIX = "ema."


class GeneratorModule(LightningModule, ABC):
    """A generative model that can be trained on batches of images and asked for images by seed.

    A subclass writes `training_step(batch, batch_idx)`, where `batch` is a `bootlight.Batch`, `configure_optimizers()` and
    `draw(noise, labels)`; where it wants the average of a network to be drawn from, it calls `average(network, decay)`.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config.
        channels: 1 or more; taken from the data section of a config.
        num_classes: number of labels of a class-conditional model; None = unconditional. In a config, auto is the number that
            the images have, None where they have no labels.
    """

    references: Mapping[str, str] = {}  # published networks that it needs besides its own, by a name of its choice
    image_dtype = "uint8"  # of the data; what is drawn is rounded to it, or left as it is where that is float32
    unpublished: tuple[str, ...] = (EMA_PREFIX,)  # beginnings of names in the state that is for resuming alone
    has_noise_levels = False  # whether an image can be trained at some levels of noise and not at others
    accepts_unlabelled = False  # whether a class-conditional model can train on images without a label, -1 in the batch

    def __init__(
        self, image_size: int | list[int], channels: int = 3, num_classes: int | Literal["auto"] | None = None
    ) -> None:
        super().__init__()
        self._shape = shape_of(image_size, channels)
        if isinstance(num_classes, str):
            raise BootlightError(f"model.num_classes is {num_classes}, which bootlight fit alone can replace; give a number")
        self.image_size: int | list[int] = image_size
        self.channels = channels
        self.num_classes = num_classes
        self.ema: EMA | None = None
        self.attached: dict[str, GeneratorModule] = {}  # in a dictionary: no part of this module's state
        self._averaged: list[nn.Module] = []  # in a list: not a second registration of the same network

    def noise_levels(self) -> Any:
        """How noise levels of a step are drawn, `data.eligible.Levels`, for a loader that draws them before the images.

        None, and the model sees shuffled images, as they come, with `Batch.noise` where that says something of them.

        Raises:
            BootlightError: they cannot be drawn before the images.
        """
        return None

    @abstractmethod
    def draw(self, noise: NoiseStreams, labels: Tensor | None) -> Tensor:
        """Images (B, C, H, W), about [-1, 1] of 8-bit data and as they are of float data, one for each stream of `noise`.

        Image i must depend on stream i (and label i) alone. Called without gradients and in eval mode.
        """

    def attach(self, parts: "Mapping[str, GeneratorModule]") -> None:
        """Take the networks that `references` names, by the same names, in eval mode; called after the constructor.

        They are frozen, go to the device where this module goes, and are not in its state.
        """
        self.attached.update(parts)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        for part in self.attached.values():
            part._apply(fn, recurse)
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    @property
    def image_shape(self) -> Shape:
        """(C, H, W)."""
        return self._shape

    def protocol(self) -> dict[str, Any]:
        """What, besides weights and seed, decides the drawn images; written into `metadata.jsonl`."""
        return {"sampler": type(self).__name__, "num_steps": 1}

    def set_num_steps(self, num_steps: int) -> None:
        """Draw with so many network calls for each image.

        Raises:
            BootlightError: this generator has no such choice, or not that many.
        """
        raise BootlightError(f"{type(self).__name__} draws an image in one step; leave out --steps")

    def at_size(self, height: int, width: int) -> "GeneratorModule":
        """A copy that shares the weights and draws images of another size, in pixels.

        Raises:
            BootlightError: it draws images of one size alone.
        """
        raise BootlightError(f"{type(self).__name__} draws images of {size_words(*self.image_shape[1:])} pixels alone")

    def shortened(self) -> tuple["GeneratorModule", float]:
        """A copy that draws worse images in less time, and by what factor less: for estimates of time."""
        return self, 1.0

    def average(self, network: nn.Module, decay: float | None) -> None:
        """Follow `network` by an EMA from now on, updated after each optimizer step; None = no average.

        With manual optimization (`automatic_optimization = False`) call `update_average()` after the step.
        """
        if decay is not None:
            self._averaged = [network]
            self.ema = EMA(network, decay)

    def compile_networks(self) -> None:
        """Let torch compile each network and its average when they are first called; names stay as they are."""
        for network in self.children():
            (network.network if isinstance(network, EMA) else network).compile()

    def drawn(self, network: nn.Module, ema: bool = True) -> nn.Module:
        """The network to draw with: the average where there is one."""
        return network if self.ema is None or not ema else self.ema.network

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], *, labels: Tensor | None = None) -> Tensor:
        """Draw one image for each seed, by the EMA weights, in eval mode.

        Args:
            seeds: any integers. Image i depends on seed i and label i alone, not on batch size, rank or world size (up to
                float rounding in the network, which may differ with the batch size).
            labels: int64 (B,), for a class-conditional model.

        Returns:
            Float images (B, C, H, W), see `draw`, on the module's device.

        Raises:
            BootlightError: labels without a conditional model, the reverse, or a label out of range; images of another shape.
        """
        self._check_labels(len(seeds), labels)
        with self.drawing_mode():
            images = self.draw(NoiseStreams(list(seeds), self.device), None if labels is None else labels.to(self.device))
        if tuple(images.shape) != (len(seeds), *self.image_shape):
            raise BootlightError(
                f"{type(self).__name__}.draw answered {tuple(images.shape)} to {len(seeds)} noise streams; correct it to "
                f"{(len(seeds), *self.image_shape)}"
            )
        return images

    @contextmanager
    def drawing_mode(self) -> Iterator[None]:
        """In eval mode meanwhile."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    def _check_labels(self, count: int, labels: Tensor | None) -> None:
        if labels is None and self.num_classes is not None:
            raise BootlightError(f"this model is class-conditional with {self.num_classes} classes: give labels (--label)")
        if labels is not None and self.num_classes is None:
            raise BootlightError("this model is unconditional: leave out the labels (--label)")
        if labels is not None and self.num_classes is not None and count > 0:
            low, high = int(labels.min()), int(labels.max())
            if len(labels) != count or low < 0 or high >= self.num_classes:
                raise BootlightError(f"labels must be {count} integers from 0 to {self.num_classes - 1}")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout and the like by step and share of its images, so that no random state needs saving.

        A share is a rank's; where gradients are accumulated, a rank's in one of the batches.

        Raises:
            BootlightError: images may be trained at some levels of noise only, and this model has none.
        """
        if isinstance(batch, Batch) and batch.noise is not None and not self.has_noise_levels:
            raise BootlightError(no_levels(type(self).__name__))
        if isinstance(batch, Batch) and len(batch.images):
            seed_torch(batch.seed, batch.start // len(batch.images))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then update the average: before any callback can save a checkpoint without it."""
        super().optimizer_step(*args, **kwargs)
        self.update_average()

    def update_average(self) -> None:
        """Let the average follow; to be called after the step by modules that optimize manually."""
        if self.ema is not None:
            self.ema.update(self._averaged[0])

    def described(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """What a published JSON file says of the module: `model`, class path and arguments that build it, and what else counts.

        Args:
            model: class path and arguments of the configuration.
        """
        return {"model": model}

    def published_state(self) -> dict[str, Tensor]:
        """What `model.safetensors` holds: all weights, an averaged network's replaced by their average, adapters merged."""
        state = {name: value for name, value in plain_state(self).items() if not name.startswith(self.unpublished)}
        if self.ema is not None:
            prefix = next(f"{name}." for name, module in self.named_modules() if module is self._averaged[0])
            state |= {prefix + name: value for name, value in plain_state(self.ema.network).items()}
        return {name: value.detach().cpu().contiguous() for name, value in state.items()}

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Start from published weights; network and average both become what was published.

        Raises:
            BootlightError: the weights belong to another architecture.
        """
        own = {name: value for name, value in plain_state(self).items() if not name.startswith(self.unpublished)}
        wrong = sorted(own.keys() ^ state.keys()) or [name for name in own if own[name].shape != state[name].shape]
        if wrong:
            first = wrong[0]
            how = "of another shape" if first in own.keys() & state.keys() else "missing" if first in own else "not part of it"
            raise BootlightError(
                f"the weights do not fit this model: {len(wrong)} differ, the first is {first}, which is {how}; they were "
                "published with other settings or by another version of bootlight; use those"
            )
        load_plain(self, state)
        if self.ema is not None:
            self.ema.network.load_state_dict(self._averaged[0].state_dict())


def no_levels(name: str) -> str:
    """Why a model of a class cannot be trained on images that have a range of noise."""
    return (
        f"some images may be trained at certain noise levels only, and {name} has none; take a diffusion model, leave the "
        "ranges out of the curation, or have the images taken as clean by data.mixing bootlight.AsClean"
    )
