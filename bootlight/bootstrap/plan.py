"""What a run would do and cost, before it is started."""

import math
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from bootlight.batch import Batch
from bootlight.bootstrap.settings import BootstrapSettings
from bootlight.bootstrap.trainers import HELPER
from bootlight.data.datamodule import BootstrapData
from bootlight.generators.base import GeneratorModule
from bootlight.generators.denoising import DenoisingModule
from bootlight.generators.part import EMA_PREFIX, PartModule
from bootlight.io.shape import is_picture
from bootlight.terminal import say

PNG_SHARE = 0.75  # photographs in PNG shrink to about this share of their raw size
PROBE_IMAGES = 4
LONG = 0.5  # seconds
PLANNED_BATCH = 100  # where the size of a call in synthesis is left to be measured
COPIES_OF_WEIGHTS = 4  # in trained.ckpt: network, average, two moments
PROBE = {**HELPER, "accumulate_grad_batches": 1, "callbacks": [], "logger": False, "enable_progress_bar": False}
HEADER = "generation  training set    steps  images seen   drawn  disk (MiB)  time (min)"


def print_plan(
    settings: BootstrapSettings,
    model: PartModule,
    data: BootstrapData,
    batch_size: int,
    make_trainer: Callable[..., Trainer],
    drawn_by: Callable[[int, str], int] | None = None,
) -> None:
    """Print what is understood of the images, and for each generation its training set, steps, images, disk and time.

    Times are of this machine, measured on one device. Of several processes that a launcher has started, the first prints.

    Args:
        settings: of the loop.
        model: as configured, untrained.
        data: as configured, set up.
        batch_size: images of one network call in synthesis.
        make_trainer: makes a trainer of the configured devices, given its callbacks and limits.
        drawn_by: images that a generation draws into a folder, where that differs from what the loop says.
    """
    configured = make_trainer(**PROBE)
    if not configured.is_global_zero:
        return
    devices = configured.world_size
    train, draw = seconds_an_image(model, data, batch_size, configured, make_trainer)
    drawn_bytes = settings.num_synthetic * drawn_image_bytes(data)
    weights = weight_bytes(model)
    say(HEADER)
    total = 0.0
    for generation in range(settings.num_generations):
        size = data.train_size(generation, settings.num_synthetic if drawn_by is None else drawn_by)
        steps = data.steps_for(size)
        seen = steps * data.batch_size
        seconds = seen * train + settings.num_synthetic * draw
        total += seconds
        kept = {"all": True, "last": generation == settings.num_generations - 1, "none": False}[settings.keep_checkpoints]
        disk = (drawn_bytes + weights * (1 + COPIES_OF_WEIGHTS * kept)) / 2**20
        say(f"{generation:10}{size:14}{steps:9}{seen:13}{settings.num_synthetic:8}{disk:12.1f}{seconds / 60:12.1f}")
    for line in model.planned(data.batch_size // devices):
        say(line)
    shared = f" if {devices} such devices are {devices} times as fast as one" if devices > 1 else ""
    say(
        f"about {total / 60:.0f} min in all on this machine{shared}; judge and evaluation come on top; results in "
        f"{settings.run_dir}"
    )


def weight_bytes(model: PartModule) -> int:
    """What its published weights take on the disk."""
    return 4 * sum(p.numel() for name, p in model.named_parameters() if not name.startswith(EMA_PREFIX))


def drawn_image_bytes(data: BootstrapData) -> float:
    """About how much a drawn image takes on the disk."""
    numbers, dtype = math.prod(data.image_shape), data.real.store.images.dtype
    return numbers * (PNG_SHARE if is_picture(data.image_shape, dtype.name) else dtype.itemsize)


class StepTimes(Callback):
    """Notes when each training step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def seconds_an_image(
    model: PartModule, data: BootstrapData, batch_size: int, configured: Trainer, make_trainer: Callable[..., Trainer]
) -> tuple[float, float]:
    """Seconds of a training image and of a drawn one, if so many devices as are configured are so many times as fast as one."""
    train = training_seconds(model, data, configured, make_trainer)
    if not isinstance(model, GeneratorModule):
        return train / configured.world_size, 0.0
    draw = drawing_seconds(model, batch_size, configured.strategy.root_device, _beside(model, data))
    return train / configured.world_size, draw / configured.world_size


def training_seconds(
    model: PartModule, data: BootstrapData, configured: Trainer, make_trainer: Callable[..., Trainer]
) -> float:
    """Seconds of one training image, measured over a few steps of the first device with its share of a batch."""

    def step(images: int) -> float:
        times = StepTimes()
        trainer = make_trainer(**{**PROBE, **alone(configured), "callbacks": [times]})
        trainer.fit(model, datamodule=data.for_judge(num_steps=3, batch_size=images))
        return (times.ends[-1] - times.ends[0]) / (len(times.ends) - 1)

    return seconds_per_image(step, max(1, data.batch_size // configured.world_size))


def alone(configured: Trainer) -> dict[str, Any]:
    """Settings of a trainer on the first device of another."""
    index = configured.strategy.root_device.index
    return {"devices": 1 if index is None else [index], "num_nodes": 1, "strategy": "auto"}


def _beside(model: GeneratorModule, data: BootstrapData) -> dict[str, Tensor]:
    """What comes with the images of a step, (B, ...) by name, for networks that do not answer without."""
    if data.view_of is None or not isinstance(model, DenoisingModule):
        return {}
    first: Batch = data.train_dataloader().dataset[0]
    return data.on_after_batch_transfer(first, 0).cond


def drawing_seconds(
    model: GeneratorModule, batch_size: int, device: torch.device, beside: Mapping[str, Tensor] = MappingProxyType({})
) -> float:
    """Seconds of one drawn image, brought back from the device.

    Args:
        model: that draws.
        batch_size: images of a call.
        device: of the model.
        beside: what its network takes besides noisy images, (B, ...), by name.
    """
    short, factor = model.to(device).shortened()

    def draw(images: int) -> float:
        labels = None if model.num_classes is None else torch.zeros(images, dtype=torch.int64)
        for _ in range(2):  # the first call warms up
            start = time.perf_counter()
            cond = {name: value[torch.arange(images) % len(value)].to(device) for name, value in beside.items()}
            short.sample(range(images), labels=labels, **cond).cpu()
        return time.perf_counter() - start

    return factor * seconds_per_image(draw, batch_size)


def seconds_per_image(work: Callable[[int], float], batch_size: int) -> float:
    """Time work on a few images, and on a whole batch where that does not take long: small batches are less efficient."""
    few = min(PROBE_IMAGES, batch_size)
    seconds = work(few)
    return seconds / few if seconds > LONG else work(batch_size) / batch_size
