"""A folder of diffusers becomes the folder of a run with one published generation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import safetensors.torch

from bootlight.errors import BootlightError
from bootlight.generators.diffusion import Diffusion
from bootlight.io.atomic import write_bytes, write_json
from bootlight.io.shape import as_size
from bootlight.pipelines.found import Found
from bootlight.runs.folder import RunFolder


def module_of(found: Found) -> Diffusion:
    """A module that does what a pipeline does, in eval mode.

    Raises:
        BootlightError: weights are missing or damaged, or do not fit.
    """
    channels, height, width = found.image_shape
    scheduler = found.folder.scheduler
    return Diffusion(
        as_size(height, width),
        found.network,
        channels,
        scheduler.schedule.make(),
        scheduler.prediction.make(),
        sampler=scheduler.sampler.make(),
        num_classes=found.num_classes,
        ema_decay=None,
        autoencoder=None if found.coder is None else found.autoencoder,
    ).eval()


def write_imported(run: RunFolder, found: Found, class_names: Sequence[str] | None, num_steps: int | None = None) -> Diffusion:
    """Weights, then the file that declares generation 0 trained, as `Publish` writes them.

    Args:
        run: a folder that is empty, or not there.
        found: what was understood of the pipeline.
        class_names: what the labels stand for, by position; None = nobody knows.
        num_steps: of the sampler of what is returned; None = as the folder says.

    Returns:
        The module, to be drawn from.

    Raises:
        BootlightError: the run folder has something in it, or cannot be written; see `module_of`.
    """
    check_empty(run)
    module = module_of(found)
    if num_steps is not None:
        module.set_num_steps(num_steps)
    weights = safetensors.torch.save(module.published_state())
    target = run.generation(0)
    write_bytes(target.weights, weights)
    described: dict[str, Any] = {
        "generation": 0,
        "image_size": module.image_size,
        "channels": module.channels,
        "class_names": None if class_names is None else list(class_names),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "steps": 0,
        "steps_before": 0,
        "pretrained": found.described(),
        "model": {"class_path": "bootlight.Diffusion", "init_args": found.arguments() | {"ema_decay": None}},
    }
    write_json(target.model_config, described)
    return module


def check_empty(run: RunFolder) -> None:
    """Refuse to write into what is there.

    Raises:
        BootlightError: names the folder.
    """
    if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
        raise BootlightError(f"{run.path} is not empty; name a folder that is not there yet")
