"""The networks of a text-to-image folder: U-Net, autoencoder, and prompts made from the names of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.io.shape import ImageSize, Shape, height_width
from bootlight.networks.autoencoder import Autoencoder
from bootlight.networks.peer import peer
from bootlight.networks.sizes import Sizes
from bootlight.networks.text_unet import WITHOUT, TextUNet
from bootlight.pipelines.folder import PipelineFolder
from bootlight.pipelines.found import Found
from bootlight.pipelines.part import Part

TEMPLATE = "a photo of a {}"
CHANNELS = 3  # of the pictures of such pipelines
_encoded: dict[tuple[str, ...], Tensor] = {}  # a module is made several times in a run, and the text encoder is large


class LatentNetwork(Found):
    """A `UNet2DConditionModel` with encoded prompts."""

    def network(self, sizes: Sizes) -> nn.Module:
        """See `Found`."""
        network = TextUNet(sizes, **self.part.arguments)
        network.unet.load_state_dict(self.folder.unet().state_dict())
        network.prompts.copy_(encoded_prompts(self.folder, self.prompts))
        return network

    def autoencoder(self, shape: Shape) -> nn.Module:
        """See `Found`."""
        assert self.coder is not None
        coder = Autoencoder(shape, **self.coder.arguments)
        coder.vae.load_state_dict(self.folder.model("vae", "AutoencoderKL").state_dict())
        return coder


def latent_network(
    folder: PipelineFolder,
    image_size: ImageSize | None = None,
    class_names: Sequence[str] | None = None,
    template: str = TEMPLATE,
) -> LatentNetwork:
    """The networks of a folder, by their settings.

    Args:
        folder: of a pipeline with latents.
        image_size: of its images; what it was trained on if left out.
        class_names: words for the classes, by label; None = no classes, and the empty prompt alone.
        template: prompt of a class, with {} where its name goes.

    Raises:
        BootlightError: a template without {}, names that are there twice, or networks that do not fit each other.
    """
    where = f"{folder.path / 'unet' / 'config.json'}"
    unet, vae = folder.settings("unet"), folder.settings("vae")
    if more := [name for name in WITHOUT if unet.get(name) is not None]:
        raise BootlightError(f"{where}: {more[0]} is {unet[more[0]]}; only what needs a text alone is understood")
    if unet.get("in_channels", 4) != vae.get("latent_channels", 4):
        raise BootlightError(
            f"{where}: in_channels is {unet.get('in_channels', 4)}, and latents have {vae.get('latent_channels', 4)}; a "
            "network that sees more than them (inpainting, for one) is not understood"
        )
    prompts = [*class_prompts(class_names or (), template), ""]
    halvings = len(vae.get("block_out_channels", (64,))) - 1
    edges = image_size if image_size is not None else _edges(unet, 2**halvings, where)
    shape = (CHANNELS, *height_width(edges, "model.image_size"))
    tokenizer = _tokenizer(folder)
    part = Part(
        TextUNet, {"settings": _own(unet, {"sample_size", "in_channels", "out_channels"}), "tokens": _tokens(tokenizer)}
    )
    coder = Part(Autoencoder, {"settings": _own(vae, {"sample_size", "in_channels", "out_channels"})})
    told = [f"{i} {text!r}" for i, text in enumerate(prompts[:-1])] + ["no label: the empty prompt", "left out: safety checker"]
    classes = None if class_names is None else len(class_names)
    return LatentNetwork(folder, part, shape, classes, coder, prompts, told)


def class_prompts(class_names: Sequence[str], template: str) -> list[str]:
    """Prompts of classes by label; `_` in a name is read as a space.

    Raises:
        BootlightError: the template has no place for a name, or two names are one.
    """
    if class_names and "{}" not in template:
        raise BootlightError(f"template is {template!r}; it must have {{}} where the name of a class goes")
    if len(set(class_names)) < len(class_names):
        raise BootlightError(f"class_names are {', '.join(class_names)}; each must be there once, in the order of the labels")
    return [template.replace("{}", name.replace("_", " ")) for name in class_names]


def encoded_prompts(folder: PipelineFolder, prompts: Sequence[str]) -> Tensor:
    """The text encoder's answers, float32 (n, tokens, D), as `StableDiffusionPipeline` hands them to its network.

    Raises:
        BootlightError: transformers is missing, or tokenizer or encoder cannot be read.
    """
    key = (str(folder.path.resolve()), *prompts)
    if key not in _encoded:
        tokenizer, encoder = _tokenizer(folder), folder.model("text_encoder", "CLIPTextModel", "transformers")
        ids = tokenizer(
            list(prompts), padding="max_length", max_length=_tokens(tokenizer), truncation=True, return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            _encoded[key] = torch.cat([encoder(row[None])[0] for row in ids]).float()
    return _encoded[key]


def _tokenizer(folder: PipelineFolder) -> Any:
    try:
        return peer("transformers", "CLIPTokenizer").from_pretrained(str(folder.path / "tokenizer"), local_files_only=True)
    except BootlightError:
        raise
    except Exception as error:  # what the loaders of two packages raise
        reason = " ".join(str(error).split())
        raise BootlightError(f"{folder.path / 'tokenizer'} cannot be read ({type(error).__name__}: {reason})") from error


def _tokens(tokenizer: Any) -> int:
    return int(tokenizer.model_max_length)


def _own(settings: Mapping[str, Any], filled: set[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if not name.startswith("_") and name not in filled}


def _edges(unet: Mapping[str, Any], factor: int, where: str) -> ImageSize:
    size = unet.get("sample_size")
    if size is None:
        raise BootlightError(f"{where} has no sample_size; say how large its images are, by --image-size")
    return size * factor if isinstance(size, int) else [edge * factor for edge in size]
