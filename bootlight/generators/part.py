"""The contract of what a generation trains and publishes: a part."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from bootlight.batch import Batch
from bootlight.errors import BootlightError
from bootlight.generators.ema import EMA
from bootlight.io.shape import Shape, shape_of
from bootlight.networks.lora import load_plain, plain_state
from bootlight.rng import seed_torch

if TYPE_CHECKING:
    from bootlight.runs.generation import Generation

EMA_PREFIX = "ema."


class PartModule(LightningModule):
    """What `bootlight.Train` trains on batches of images and publishes as a part: a generator, a classifier.

    A subclass writes `training_step(batch, batch_idx)`, where `batch` is a `bootlight.Batch`, and `configure_optimizers()`;
    where the average of a network is to be published, it calls `average(network, decay)`.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config.
        channels: 1 or more; taken from the data section of a config.
        num_classes: number of labels; None = it takes none. In a config, auto is the number that the images have, None where
            they have no labels.
    """

    references: Mapping[str, str] = {}  # published networks that it needs besides its own, by a name of its choice
    judges_by: Sequence[str] = ()  # networks of the evaluation that its training needs, `judge` and `features`
    image_dtype = "uint8"  # of the data; float32 of such that have no range
    unpublished: tuple[str, ...] = (EMA_PREFIX,)  # beginnings of names in the state that is for resuming alone
    has_noise_levels = False  # whether an image can be trained at some levels of noise and not at others
    accepts_unlabelled = False  # whether a part with classes can train on images without a label, -1 in the batch

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
        self.attached: dict[str, PartModule] = {}  # in a dictionary: no part of this module's state
        self._averaged: list[nn.Module] = []  # in a list: not a second registration of the same network

    def noise_levels(self) -> Any:
        """How noise levels of a step are drawn, `data.eligible.Levels`, for a loader that draws them before the images.

        None, and the model sees shuffled images, as they come, with `Batch.noise` where that says something of them.

        Raises:
            BootlightError: they cannot be drawn before the images.
        """
        return None

    def attach(self, parts: "Mapping[str, PartModule]") -> None:
        """Take the networks that `references` names, by the same names, in eval mode; called after the constructor.

        They are frozen, go to the device where this module goes, and are not in its state.
        """
        self.accompany(parts)

    def accompany(self, parts: "Mapping[str, PartModule]") -> None:
        """Let other networks go to the device where this module goes; they are not in its state."""
        self.attached.update(parts)

    def begin(self, generation: "Generation | None") -> None:
        """Take what the training needs of a generation, such as `generation.judge`; called before it.

        Args:
            generation: that is trained; None = the first steps are taken on trial, when networks of `judges_by` are not there.
        """
        return

    def planned(self, batch_size: int) -> list[str]:
        """What a plan should say of a training with so many images on a device, besides its time."""
        return []

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        for part in self.attached.values():
            part._apply(fn, recurse)
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    @property
    def image_shape(self) -> Shape:
        """(C, H, W)."""
        return self._shape

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
