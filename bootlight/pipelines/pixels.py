"""The network of a folder that denoises pixels: a `UNet2DModel`, or bootlight's own U-Net where that does the same."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bootlight.errors import BootlightError
from bootlight.io.shape import ImageSize, Shape, height_width
from bootlight.networks.peer import peer
from bootlight.networks.sizes import Sizes
from bootlight.networks.unet import UNet
from bootlight.networks.unet_2d import UNet2D
from bootlight.networks.unet_twin import from_twin, twin_of
from bootlight.pipelines.folder import PipelineFolder
from bootlight.pipelines.found import Found
from bootlight.pipelines.part import Part

EMBEDDING = "class_embedding.weight"
FILLED = {"sample_size", "in_channels", "out_channels", "num_class_embeds", "num_train_timesteps"}


class PixelNetwork(Found):
    """A `UNet2DModel`."""

    def network(self, sizes: Sizes) -> nn.Module:
        """See `Found`."""
        network: nn.Module = self.part.cls(sizes, **self.part.arguments)
        state = self.folder.unet().state_dict()
        if self.num_classes is not None and len(state[EMBEDDING]) == self.num_classes:  # no label adds nothing to the time
            rows = state[EMBEDDING]
            state = {**state, EMBEDDING: torch.cat([rows, torch.zeros_like(rows[:1])])}
        if isinstance(network, UNet):
            from_twin(network, state)
        else:
            assert isinstance(network, UNet2D)
            network.unet.load_state_dict(state)
        return network


def pixel_network(folder: PipelineFolder, image_size: ImageSize | None = None) -> PixelNetwork:
    """The network of a folder, by its settings.

    Args:
        folder: of a pipeline without latents.
        image_size: of its images; what its settings say if left out.

    Raises:
        BootlightError: they say nothing, or its channels do not fit the scheduler.
    """
    defaults = {n: p.default for n, p in inspect.signature(peer("diffusers", "UNet2DModel").__init__).parameters.items()}
    settings = {n: v for n, v in defaults.items() if n != "self"} | folder.settings("unet")
    where = folder.path / "unet" / "config.json"
    told = []
    if settings["num_class_embeds"] is None:
        classes = None
    elif folder.note.get("num_classes") == settings["num_class_embeds"] - 1:
        classes = settings["num_class_embeds"] - 1
    else:
        classes = settings["num_class_embeds"]
        told.append("no label: the time alone, which the network has not learned; leave guidance at 1")
    channels = settings["in_channels"]
    outputs = folder.scheduler.prediction.make().num_outputs(channels)
    if settings["out_channels"] != outputs:
        raise BootlightError(
            f"{where}: out_channels is {settings['out_channels']}, and by its scheduler's variance_type it must be {outputs}"
        )
    sizes = Sizes(_shape(settings, image_size, str(where)), outputs, classes)
    twin = twin_of(settings, sizes)
    if twin is not None:
        told.append("bootlight.UNet, which does the same")
        return PixelNetwork(folder, Part(UNet, twin), sizes.shape, classes, told=told)
    own = {
        n: v for n, v in settings.items() if not n.startswith("_") and n not in FILLED and _plain(v) != _plain(defaults.get(n))
    }
    told.append("UNet2DModel of diffusers")
    return PixelNetwork(folder, Part(UNet2D, {"settings": own}), sizes.shape, classes, told=told)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shape(settings: Mapping[str, Any], image_size: ImageSize | None, where: str) -> Shape:
    edges = settings["sample_size"] if image_size is None else image_size
    if edges is None:
        raise BootlightError(f"{where} has no sample_size; say how large its images are, by --image-size")
    return settings["in_channels"], *height_width(edges if isinstance(edges, int) else list(edges), where)
