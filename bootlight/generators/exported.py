"""A published diffusion model becomes a folder that `DDPMPipeline.from_pretrained` of diffusers loads and draws with."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.generators.diffusion import Diffusion
from bootlight.io.atomic import write_json
from bootlight.io.owner import temporary_name
from bootlight.networks.lora import merge
from bootlight.networks.peer import built, peer
from bootlight.networks.sizes import Sizes
from bootlight.networks.text_unet import TextUNet
from bootlight.networks.unet import UNet
from bootlight.networks.unet_2d import UNet2D
from bootlight.networks.unet_twin import to_twin, twin_settings
from bootlight.pipelines.folder import NOTE
from bootlight.pipelines.scheduler_of import scheduler_of


def export(module: GeneratorModule, folder: Path, note: dict[str, Any]) -> list[str]:
    """Write network and scheduler; the folder is there whole or not at all.

    Args:
        module: as `load_generator` has it.
        folder: not there, or empty.
        note: of the run, kept as `bootlight.json`.

    Returns:
        What diffusers does otherwise, in words.

    Raises:
        BootlightError: diffusers cannot express the module, or the folder has something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BootlightError(f"{folder} is not empty; name a folder that is not there yet")
    if not isinstance(module, Diffusion):
        raise BootlightError(f"a {type(module).__name__} cannot be exported: it is no bootlight.Diffusion with one network")
    if module.compose is not None or module.references:
        raise BootlightError("a model with model.compose cannot be exported: diffusers draws by one network; export its parts")
    name, settings, told = scheduler_of(module.schedule, module.prediction, module.sampler)
    unet = _unet(module)
    temporary = folder.with_name(temporary_name(folder.name))
    try:
        pipeline = peer("diffusers", "DDPMPipeline")(unet=unet, scheduler=built(peer("diffusers", name), settings, "scheduler"))
        pipeline.save_pretrained(str(temporary), safe_serialization=True)
        write_json(temporary / NOTE, {**note, "num_classes": module.num_classes, "protocol": module.protocol()})
        os.replace(temporary, folder)
    except OSError as error:
        raise BootlightError(
            f"cannot write {folder}: {error.strerror or error}; free space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if module.num_classes is not None:
        told.append(
            "classes: DDPMPipeline hands the network no class_labels; call pipeline.unet(x, t, class_labels=...) yourself"
        )
    return told


def _unet(module: Diffusion) -> Any:
    """The network as a `UNet2DModel`.

    Raises:
        BootlightError: there is none that does the same.
    """
    network = merge(module.network)
    if isinstance(network, UNet2D):
        return network.unet.eval()
    if isinstance(network, TextUNet):
        raise BootlightError(
            "a text-to-image model cannot be exported: its text encoder is no part of the run; put the weights that begin with "
            "net.unet. into the unet of the folder that it came from"
        )
    if type(network) is not UNet:
        raise BootlightError(
            f"model.network is {type(network).__name__}, which diffusers has no equal of; bootlight.UNet2D and, in most "
            "shapes, bootlight.UNet can be exported"
        )
    sizes = Sizes(module.image_shape, module.prediction.num_outputs(module.channels), module.num_classes)
    try:
        settings = twin_settings(network, sizes)
    except BootlightError as error:
        raise BootlightError(f"model.network: {error}; or train a bootlight.UNet2D, which is exported as it is") from error
    twin = built(peer("diffusers", "UNet2DModel"), settings, "model.network")
    twin.load_state_dict(to_twin(network))
    return twin.eval()
