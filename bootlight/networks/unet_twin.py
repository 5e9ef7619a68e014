"""`bootlight.UNet` and `diffusers.UNet2DModel`: where both do the same computation, and how weights go over.

They do where each norm has one and the same number of groups, and each attention heads of one and the same width (or one head).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.io.shape import as_size
from bootlight.networks.sizes import Sizes
from bootlight.networks.unet import Attention, Downsample, ResBlock, UNet, Upsample

State = dict[str, Tensor]
PARTS = ("weight", "bias")


def twin_settings(unet: UNet, sizes: Sizes) -> dict[str, Any]:
    """Settings of the `UNet2DModel` that does the same as a U-Net.

    Raises:
        BootlightError: there is none; says what differs.
    """
    levels = _levels(unet)
    if not levels[0]:
        raise BootlightError("a UNet with num_res_blocks 0 has no equal in diffusers; take 1 or more")
    attention = [any(isinstance(layer, Attention) for layer in level[0]) for level in levels]
    down = [f"{'Attn' if has else ''}DownBlock2D" for has in attention]
    first: Any = levels[0][0][0]
    groups = _groups(unet)
    return {
        "sample_size": as_size(*sizes.shape[1:]),
        "in_channels": sizes.shape[0],
        "out_channels": sizes.outputs,
        "num_class_embeds": None if sizes.num_classes is None else sizes.num_classes + 1,
        "down_block_types": down,
        "up_block_types": [name.replace("Down", "Up") for name in reversed(down)],
        "block_out_channels": [level[0][0].conv1.out_channels for level in levels],  # type: ignore[union-attr]
        "layers_per_block": len(levels[0]),
        "attention_head_dim": _head_width(unet),
        "norm_num_groups": groups,
        "attn_norm_num_groups": groups,
        "norm_eps": first.norm1.eps,
        "dropout": first.dropout.p,
        "resnet_time_scale_shift": "scale_shift" if first.scale_shift_norm else "default",
    }


def _levels(unet: UNet) -> list[list[nn.ModuleList]]:
    """The stages of each level on the way down, without those that halve."""
    levels: list[list[Any]] = [[]]
    for stage in list(unet.down)[1:]:
        if isinstance(stage[0], Downsample):  # type: ignore[index]
            levels.append([])
        else:
            levels[-1].append(stage)
    return levels


def _groups(unet: UNet) -> int:
    found = {norm.num_groups for norm in unet.modules() if isinstance(norm, nn.GroupNorm)}
    if len(found) > 1:
        raise BootlightError(
            f"its norms have {', '.join(map(str, sorted(found)))} groups and diffusers knows one number for all; take a "
            "model.width that is a multiple of 32"
        )
    return int(found.pop())


def _head_width(unet: UNet) -> int | None:
    """Channels of a head; None = one head, of all channels."""
    layers = [layer for layer in unet.modules() if isinstance(layer, Attention)]
    widths = {layer.norm.num_channels // layer.num_heads for layer in layers}
    if len(widths) == 1:
        return int(widths.pop())
    if all(layer.num_heads == 1 for layer in layers):
        return None
    raise BootlightError(
        f"its attention has heads of {', '.join(map(str, sorted(widths)))} channels and diffusers knows one number for all; "
        "take model.num_heads 1, or attention at levels of equal width alone (model.attention_resolutions)"
    )


def _pairs(unet: UNet) -> Iterator[tuple[str, str]]:
    """Names of the layers with weights, and those in the twin."""
    yield from (("embed.0", "time_embedding.linear_1"), ("embed.2", "time_embedding.linear_2"))
    yield from (("down.0.0", "conv_in"), ("out.0", "conv_norm_out"), ("out.2", "conv_out"))
    level = number = 0
    for i, stage in enumerate(list(unet.down)[1:], 1):
        block = f"down_blocks.{level}"
        if isinstance(stage[0], Downsample):  # type: ignore[index]
            yield f"down.{i}.0.conv", f"{block}.downsamplers.0.conv"
            level, number = level + 1, 0
        else:
            yield from _stage(stage, f"down.{i}", block, number)
            number += 1
    yield from _block(unet.middle[0], "middle.0", "mid_block.resnets.0")
    yield from _attention("middle.1", "mid_block.attentions.0")
    yield from _block(unet.middle[2], "middle.2", "mid_block.resnets.1")
    for i, stage in enumerate(unet.up):
        level, number = divmod(i, len(unet.up) // len(_levels(unet)))
        yield from _stage(stage, f"up.{i}", f"up_blocks.{level}", number)


def _stage(stage: Any, own: str, theirs: str, number: int) -> Iterator[tuple[str, str]]:
    for j, layer in enumerate(stage):
        if isinstance(layer, ResBlock):
            yield from _block(layer, f"{own}.{j}", f"{theirs}.resnets.{number}")
        elif isinstance(layer, Attention):
            yield from _attention(f"{own}.{j}", f"{theirs}.attentions.{number}")
        elif isinstance(layer, Upsample):
            yield f"{own}.{j}.conv", f"{theirs}.upsamplers.0.conv"


def _block(block: Any, own: str, theirs: str) -> Iterator[tuple[str, str]]:
    names = {name: name for name in ("norm1", "conv1", "norm2", "conv2")} | {"project": "time_emb_proj"}
    if not isinstance(block.skip, nn.Identity):
        names["skip"] = "conv_shortcut"
    yield from ((f"{own}.{name}", f"{theirs}.{their}") for name, their in names.items())


def _attention(own: str, theirs: str) -> Iterator[tuple[str, str]]:
    names = {"norm": "group_norm", "to_qkv": "to_qkv", "to_out": "to_out.0"}
    yield from ((f"{own}.{name}", f"{theirs}.{their}") for name, their in names.items())


def to_twin(unet: UNet) -> State:
    """The weights of a U-Net under the names and in the shapes of its twin."""
    state, found = unet.state_dict(), {}
    for own, theirs in _pairs(unet):
        for part in PARTS:
            value = state[f"{own}.{part}"]
            if theirs.endswith("to_qkv"):
                for name, third in zip("qkv", value.chunk(3), strict=True):
                    found[f"{theirs[:-3]}{name}.{part}"] = _matrix(third)
            else:
                found[f"{theirs}.{part}"] = _matrix(value) if theirs.endswith("to_out.0") else value
    if unet.embed_label is not None:
        found["class_embedding.weight"] = unet.embed_label.weight.detach()
    return {name: value.contiguous().clone() for name, value in found.items()}


def _matrix(weight: Tensor) -> Tensor:
    """A 1x1 convolution as the matrix that it is; other weights as they are."""
    return weight.flatten(1) if weight.dim() == 4 else weight


def from_twin(unet: UNet, state: Mapping[str, Tensor]) -> None:
    """Take the weights of the twin."""
    own_state, found = unet.state_dict(), {}
    for own, theirs in _pairs(unet):
        for part in PARTS:
            if theirs.endswith("to_qkv"):
                value = torch.cat([state[f"{theirs[:-3]}{name}.{part}"] for name in "qkv"])
            else:
                value = state[f"{theirs}.{part}"]
            found[f"{own}.{part}"] = value.reshape(own_state[f"{own}.{part}"].shape)
    if unet.embed_label is not None:
        found["embed_label.weight"] = state["class_embedding.weight"]
    unet.load_state_dict(found)


def twin_of(settings: Mapping[str, Any], sizes: Sizes) -> dict[str, Any] | None:
    """Arguments of the `bootlight.UNet` that does the same as a `UNet2DModel`; None where there is none.

    Args:
        settings: all of them, those that are left at their defaults too.
        sizes: of its images.
    """
    channels, head = list(settings["block_out_channels"]), settings["attention_head_dim"]
    if any(width % channels[0] for width in channels) or any(
        name not in ALIKE or settings[name] not in ALIKE[name] for name in ALIKE
    ):
        return None
    edge = max(sizes.shape[1:])
    found = {
        "width": channels[0],
        "channel_multipliers": [width // channels[0] for width in channels],
        "num_res_blocks": settings["layers_per_block"],
        "attention_resolutions": [
            edge // 2**i for i, name in enumerate(settings["down_block_types"]) if name.startswith("Attn")
        ],
        "num_heads": 1 if head is None else channels[-1] // head,
        "dropout": settings["dropout"],
        "scale_shift_norm": settings["resnet_time_scale_shift"] == "scale_shift",
    }
    try:
        with torch.device("meta"):
            same = twin_settings(UNet(sizes, **found), sizes)
    except BootlightError:
        return None
    theirs = dict(settings)
    if theirs["attn_norm_num_groups"] is None and theirs["resnet_time_scale_shift"] == "default":
        theirs["attn_norm_num_groups"] = theirs["norm_num_groups"]
    if head is None and same["attention_head_dim"] == channels[-1]:
        same["attention_head_dim"] = None
    differs = [name for name, value in same.items() if name != "sample_size" and _plain(theirs[name]) != _plain(value)]
    return None if differs else found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


# Values of settings that a twin has; what else there is follows from the network.
ALIKE: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "time_embedding_dim": (None,),
    "freq_shift": (0,),
    "flip_sin_to_cos": (True,),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_padding": (1,),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "act_fn": ("silu", "swish"),
    "add_attention": (True,),
    "class_embed_type": (None,),
}
