"""A folder of diffusers becomes the folder of a run with one published generation."""

from __future__ import annotations

import hashlib
from typing import Any

import safetensors.torch

from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.generators.diffusion import Diffusion
from bootlight.generators.load import build
from bootlight.io.atomic import write_bytes, write_json
from bootlight.io.shape import ImageSize
from bootlight.pipelines.folder import PipelineFolder
from bootlight.pipelines.part import Part
from bootlight.pipelines.pixels import image_size_of, pixel_network
from bootlight.runs.folder import RunFolder


def read_pixels(
    folder: PipelineFolder, image_size: ImageSize | None = None
) -> tuple[GeneratorModule, dict[str, Any], list[str]]:
    """A module that does what a pipeline of pixels does.

    Args:
        folder: of the pipeline.
        image_size: of its images; what its settings say if left out.

    Returns:
        The module in eval mode, class path and arguments of it, and what was understood and dropped.

    Raises:
        BootlightError: see `pixel_network` and `read_scheduler`; or its weights are missing or damaged.
    """
    found, scheduler = pixel_network(folder, image_size), folder.scheduler
    given = {"image_size": image_size_of(found.sizes), "channels": found.sizes.shape[0], "num_classes": found.sizes.num_classes}
    parts = {
        "network": found.part,
        "schedule": scheduler.schedule,
        "prediction": scheduler.prediction,
        "sampler": scheduler.sampler,
    }
    config = Part(Diffusion, given | parts | {"ema_decay": None}).written()
    module: Diffusion = build(GeneratorModule, config)
    found.fill(module.network, folder.unet().state_dict())
    return module.eval(), config, [*found.told, *(f"left out: {what}" for what in scheduler.told)]


def write_imported(
    run: RunFolder, module: GeneratorModule, config: dict[str, Any], folder: PipelineFolder, class_names: list[str] | None
) -> None:
    """Weights, then the file that declares generation 0 trained, as `Publish` writes them.

    Args:
        run: a folder that is empty, or not there.
        module: see `read_pixels`.
        config: class path and arguments.
        folder: that it was read from.
        class_names: what the labels stand for, by position; None = nobody knows.

    Raises:
        BootlightError: the run folder has something in it, or cannot be written.
    """
    check_empty(run)
    weights = safetensors.torch.save(module.published_state())
    target = run.generation(0)
    write_bytes(target.weights, weights)
    described = {
        "generation": 0,
        "image_size": module.image_size,
        "channels": module.channels,
        "class_names": class_names,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "steps": 0,
        "steps_before": 0,
        "imported": dict(folder.described),
        "model": config,
    }
    write_json(target.model_config, described)


def check_empty(run: RunFolder) -> None:
    """Refuse to write into what is there.

    Raises:
        BootlightError: names the folder.
    """
    if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
        raise BootlightError(f"{run.path} is not empty; name a folder that is not there yet")
