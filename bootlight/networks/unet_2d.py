"""The U-Net of diffusers as a network of bootlight: what is trained with it is exported as it is."""

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


class UNet2D(nn.Module):
    """`diffusers.UNet2DModel`; needs that package.

    With classes it has one row more than there are, for "no label" (classifier-free guidance).

    Args:
        sizes: what it sees and answers.
        settings: of `UNet2DModel`, as in a folder's `unet/config.json`; sizes, channels and classes are filled in.

    Raises:
        BootlightError: diffusers is missing, or its model cannot be made with these settings and sizes.
    """

    def __init__(self, sizes: Sizes, settings: dict[str, Any] | None = None) -> None:
        super().__init__()
        channels, height, width = sizes.shape
        known = {"in_channels": channels, "out_channels": sizes.outputs, "num_class_embeds": None}
        if sizes.num_classes is not None:
            known["num_class_embeds"] = sizes.num_classes + 1
        given = {name: value for name, value in (settings or {}).items() if not name.startswith("_")}
        if wrong := [name for name, value in known.items() if given.get(name, value) != value]:
            told = ", ".join(f"{name} is {given[name]} and must be {known[name]}" for name in wrong)
            raise BootlightError(f"{KEY}: {told} for these images; leave it out, it is filled in")
        if given.get("time_embedding_type", "positional") != "positional" or given.get("class_embed_type") is not None:
            raise BootlightError(f"{KEY}: only a time_embedding_type positional and a class_embed_type null are understood")
        given |= known | {"sample_size": as_size(height, width)}
        self.unet = built(peer("diffusers", "UNet2DModel"), given, KEY)
        if any(hasattr(block, "skip_conv") for block in self.unet.down_blocks):
            raise BootlightError(f"{KEY}: blocks whose name begins with Skip are not understood; take others")
        self.num_classes = sizes.num_classes
        halved = 2 ** (len(self.unet.config.block_out_channels) - 1)
        if height % halved or width % halved:
            raise BootlightError(f"data.image_size is {as_size(height, width)}; {KEY} needs a multiple of {halved}")

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Predict.

        Args:
            x: noisy images (B, C, H, W).
            t: times (B,), float or whole; a published model knows those from 0 to T - 1.
            labels: int64 (B,); `num_classes` or None for the whole batch = no label.

        Returns:
            (B, outputs, H, W).
        """
        return self.decode(self.encode(x, t, labels))

    def encode(self, x: Tensor, t: Tensor, labels: Tensor | None = None, *, change: Change | None = None) -> Features:
        """See `TakenApart`; a layer is a block of diffusers."""
        embedding = self.unet.time_embedding(self.unet.time_proj(t).to(x.dtype))
        if self.num_classes is not None:
            rows = torch.full((len(x),), self.num_classes, device=x.device) if labels is None else labels
            embedding = embedding + self.unet.class_embedding(rows)
        return encode_blocks(self.unet, x, embedding, None, change)

    def decode(self, features: Features, *, change: Change | None = None) -> Tensor:
        """See `TakenApart`."""
        return decode_blocks(self.unet, features, change)
