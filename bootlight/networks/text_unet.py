"""The U-Net of a text-to-image pipeline, asked by labels: each stands for a prompt whose text is encoded once and for all."""

from typing import Any

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.io.shape import as_size
from bootlight.networks.blocks import decode_blocks, encode_blocks
from bootlight.networks.features import Change, Features
from bootlight.networks.peer import built, peer
from bootlight.networks.sizes import Sizes

KEY = "model.network.settings"
# Inputs besides image, time and text, which nobody would give it.
WITHOUT = ("class_embed_type", "addition_embed_type", "encoder_hid_dim", "encoder_hid_dim_type", "time_cond_proj_dim")


class TextUNet(nn.Module):
    """`diffusers.UNet2DConditionModel` with encoded prompts, one of each class and the empty one; needs that package.

    The prompts are a buffer, 0 until they are loaded: they are published with the weights, and nobody needs the text encoder to
    draw. `bootlight.Pretrained` fills it.

    Args:
        sizes: what it sees and answers; of latents, where it was trained on them.
        settings: of `UNet2DConditionModel`, as in a folder's `unet/config.json`; sizes and channels are filled in.
        tokens: of a prompt.

    Raises:
        BootlightError: diffusers is missing, or its model cannot be made with these settings and sizes.
    """

    prompts: Tensor

    def __init__(self, sizes: Sizes, settings: dict[str, Any] | None = None, tokens: int = 77) -> None:
        super().__init__()
        channels, height, width = sizes.shape
        given = {name: value for name, value in (settings or {}).items() if not name.startswith("_")}
        known = {"in_channels": channels, "out_channels": sizes.outputs}
        if wrong := [name for name, value in known.items() if given.get(name, value) != value]:
            told = ", ".join(f"{name} is {given[name]} and must be {known[name]}" for name in wrong)
            raise BootlightError(f"{KEY}: {told} for these images; leave it out, it is filled in")
        if more := [name for name in WITHOUT if given.get(name) is not None]:
            raise BootlightError(f"{KEY}: {more[0]} is {given[more[0]]}; it must need a text alone")
        self.unet = built(
            peer("diffusers", "UNet2DConditionModel"), given | known | {"sample_size": as_size(height, width)}, KEY
        )
        halved = 2 ** (len(self.unet.config.block_out_channels) - 1)
        if height % halved or width % halved:
            raise BootlightError(
                f"data.image_size: the network sees {width} x {height} numbers, and {KEY} needs a multiple of {halved}"
            )
        rows = 1 + (sizes.num_classes or 0)
        self.register_buffer("prompts", torch.zeros(rows, tokens, self.unet.config.cross_attention_dim))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Predict.

        Args:
            x: noisy images or latents (B, C, H, W).
            t: times (B,), float or whole; a published model knows those from 0 to T - 1.
            labels: int64 (B,); `num_classes` or None for the whole batch = the empty prompt.

        Returns:
            (B, outputs, H, W).
        """
        return self.decode(self.encode(x, t, labels))

    def encode(self, x: Tensor, t: Tensor, labels: Tensor | None = None, *, change: Change | None = None) -> Features:
        """See `TakenApart`; a layer is a block of diffusers."""
        embedding = self.unet.time_embedding(self.unet.time_proj(t).to(x.dtype))
        return encode_blocks(self.unet, x, embedding, self.texts(x, labels), change)

    def decode(self, features: Features, *, change: Change | None = None) -> Tensor:
        """See `TakenApart`."""
        return decode_blocks(self.unet, features, change)

    def texts(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Encoded prompts (B, tokens, D) of the labels of some images."""
        rows = torch.full((len(x),), len(self.prompts) - 1, device=x.device) if labels is None else labels
        return self.prompts[rows].to(x.dtype)
