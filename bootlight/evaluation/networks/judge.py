"""A judge, the discriminator of a DCGAN that has seen all real images: trained, kept, found and read.

The metric is `metrics.discriminator`; what several judges say is `evaluation.judges`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import nn

from bootlight.data.datamodule import BootstrapData
from bootlight.distributed.processes import agree, rank
from bootlight.distributed.stopping import handlers_kept
from bootlight.errors import BootlightError
from bootlight.evaluation.networks.trained_networks import load_network, reference_key, save_network
from bootlight.generators.dcgan import DCGAN
from bootlight.generators.load import COPIES, SPARE_ELEMENTS, Allocations
from bootlight.io.atomic import read_json, read_weights
from bootlight.io.shape import ImageSize, as_size, height_width
from bootlight.metrics.discriminator import JudgeLogits
from bootlight.rng import seed_everywhere
from bootlight.runs.folder import RunFolder
from bootlight.runs.shared_cache import shared


class Judge(NamedTuple):
    """A judge and the images that it understands.

    Attributes:
        logits: from uint8 images (B, C, H, W) to (B, 1).
        image_size: edge of squares in pixels, or [height, width].
    """

    logits: JudgeLogits
    image_size: ImageSize


def find_judge(path: Path) -> Path:
    """The weights file of the judge of a run, or the file itself.

    Raises:
        BootlightError: there is none, or more than one.
    """
    if path.is_file():
        return path
    found = sorted(RunFolder(path).references.glob("judge-*.safetensors"))
    if len(found) != 1:
        raise BootlightError(f"{path} has {len(found)} judges in its folder references; name one judge-*.safetensors")
    return found[0]


def load_judge(file: Path) -> Judge:
    """Read a judge and the settings that lie beside it.

    Raises:
        BootlightError: one of the two files is missing, damaged or of something else.
    """
    settings = read_json(file.with_suffix(".json"))
    weights = read_weights(file, described=file.with_suffix(".json"))
    try:
        size, channels, width = as_size(*height_width(settings["size"])), int(settings["channels"]), int(settings["width"])
        with Allocations(COPIES * sum(tensor.numel() for tensor in weights.values()) + SPARE_ELEMENTS):
            network = DCGAN(size, channels, width=width).net_d
        network.load_state_dict(weights)
    except (BootlightError, KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise BootlightError(f"{file}: it and the .json beside it do not describe a judge ({error}); train it again") from error
    return Judge(JudgeLogits(network.eval(), channels), size)


def train_judge(
    data: BootstrapData, folder: Path, *, num_steps: int, width: int, batch_size: int, trainer: Callable[[], Trainer]
) -> nn.Module:
    """The discriminator of a DCGAN trained on all real training images (bootstrapping paper, section 5.3).

    Args:
        data: set up for generation 0.
        folder: where its weights are kept.
        num_steps: training steps.
        width: channels of its first stage.
        batch_size: images of one step.
        trainer: makes the trainer.

    Returns:
        A module from float images (B, C, H, W) in [-1, 1] to logits (B,), in eval mode.
    """
    settings = {"steps": num_steps, "width": width, "batch": batch_size, "flip": data.flip}
    settings |= {"size": data.image_shape[1], "channels": data.channels}
    file = folder / f"judge-{reference_key(data, **settings)}.safetensors"
    judge = DCGAN(data.image_shape[1], data.channels, width=width).net_d
    if not agree(file.exists()):
        own = trainer()
        with shared_judge(file, data, own) as found:
            if not found:
                judge = trained_gan(data, num_steps=num_steps, width=width, batch_size=batch_size, trainer=own).net_d
                if rank() == 0:
                    save_network(judge, file, settings)
    return load_network(judge, file) if rank() == 0 else judge  # only rank 0 evaluates


@contextmanager
def shared_judge(file: Path, data: BootstrapData, trainer: Trainer) -> Iterator[bool]:
    """Whether another run has trained this judge; see `shared`. Rank 0 looks and keeps."""
    if rank() > 0:
        yield agree(False)
        return
    setting = {
        "precision": str(trainer.precision),
        "world_size": trainer.world_size,
        "device": trainer.strategy.root_device.type,
        "strategy": type(trainer.strategy).__name__,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    with shared(file, data.cache / "judges", setting, wait=trainer.world_size == 1) as found:
        yield agree(found)


def trained_gan(data: BootstrapData, *, num_steps: int, width: int, batch_size: int, trainer: Trainer, seed: int = 0) -> DCGAN:
    """A DCGAN trained on all real training images; another `seed` is another start and another order of the images."""
    counters = ("judge",) if seed == 0 else ("judge", seed)
    seed_everywhere(*counters)
    gan = DCGAN(data.image_shape[1], data.channels, width=width)
    with handlers_kept():
        trainer.fit(gan, datamodule=data.for_judge(num_steps, batch_size, seed))
    return gan
