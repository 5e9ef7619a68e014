"""The U-Nets of diffusers in two halves: down to what leaves the middle block, and up from there."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bootlight.networks.features import Change, Features


def encode_blocks(unet: Any, x: Tensor, embedding: Tensor, texts: Tensor | None, change: Change | None) -> Features:
    """The first half.

    Args:
        unet: `UNet2DModel` or `UNet2DConditionModel`.
        x: noisy images (B, C, H, W).
        embedding: of time and label, (B, E).
        texts: encoded prompts (B, tokens, D), where it reads them.
        change: see `TakenApart.encode`; a layer is the first convolution, or a block with the convolution that halves.
    """
    if unet.config.center_input_sample:
        x = 2 * x - 1
    act = getattr(unet, "time_embed_act", None)
    embedding = embedding if act is None else act(embedding)

    def changed(h: Tensor) -> Tensor:
        return h if change is None else change(h)

    h = changed(unet.conv_in(x))
    skips = [h]
    for block in unet.down_blocks:
        h, outputs = block(hidden_states=h, temb=embedding, **_read(block, texts))
        h = changed(h)
        skips += [*outputs[:-1], h]
    if unet.mid_block is not None:
        h = unet.mid_block(h, embedding, **_read(unet.mid_block, texts))
    return Features(h, (tuple(skips), embedding, texts))


def decode_blocks(unet: Any, features: Features, change: Change | None) -> Tensor:
    """The second half: the answer (B, outputs, H, W).

    Args:
        unet: as in `encode_blocks`.
        features: from there.
        change: see `TakenApart.decode`; a layer is a block with the convolution that doubles.
    """
    h, (skips, embedding, texts) = features
    for block in unet.up_blocks:
        count = len(block.resnets)
        skips, own = skips[:-count], skips[-count:]
        h = block(hidden_states=h, res_hidden_states_tuple=own, temb=embedding, **_read(block, texts))
        h = h if change is None else change(h)
    if unet.conv_norm_out is not None:
        h = unet.conv_act(unet.conv_norm_out(h))
    answer: Tensor = unet.conv_out(h)
    return answer


def _read(block: Any, texts: Tensor | None) -> dict[str, Any]:
    return {"encoder_hidden_states": texts} if getattr(block, "has_cross_attention", False) else {}
