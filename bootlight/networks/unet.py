"""The U-Net of improved DDPM (Nichol and Dhariwal 2021; Dhariwal and Nichol 2021 for the wider multipliers)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bootlight.errors import BootlightError, check_range
from bootlight.io.shape import as_size
from bootlight.networks.features import Change, Features
from bootlight.networks.layers import Pointwise, conditioned, normalization, timestep_embedding, zero_init
from bootlight.networks.sizes import Sizes


class ResBlock(nn.Module):
    """Two convolutions around an injection of the embedding.

    Args:
        inputs: channels that come in.
        outputs: channels that leave.
        embedding: width of the timestep embedding.
        dropout: probability before the second convolution.
        scale_shift_norm: the embedding scales and shifts the second norm; otherwise it is added before it.
    """

    def __init__(self, inputs: int, outputs: int, embedding: int, dropout: float, scale_shift_norm: bool) -> None:
        super().__init__()
        self.scale_shift_norm = scale_shift_norm
        self.norm1 = normalization(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.project = nn.Linear(embedding, 2 * outputs if scale_shift_norm else outputs)
        self.norm2 = normalization(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero_init(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Identity() if inputs == outputs else Pointwise(inputs, outputs)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, inputs, H, W) and the activated embedding (B, E) to (B, outputs, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        injected = self.project(embedding)[:, :, None, None]
        if self.scale_shift_norm:
            scale, shift = injected.chunk(2, 1)
            h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        else:
            h = self.norm2(h + injected)
        return self.skip(x) + self.conv2(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Self-attention over all positions, residual.

    Args:
        channels: in and out; a multiple of `num_heads`.
        num_heads: number of heads.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = normalization(channels)
        self.to_qkv = Pointwise(channels, 3 * channels)
        self.to_out = zero_init(Pointwise(channels, channels))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape; the embedding is not used."""
        batch, channels, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).permute(0, 2, 3, 1)
        heads = qkv.reshape(batch, height * width, 3, self.num_heads, channels // self.num_heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(*heads.unbind())
        return x + self.to_out(out.transpose(1, 2).reshape(batch, height, width, channels).permute(0, 3, 1, 2))


class Downsample(nn.Module):
    """Halve height and width by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H / 2, W / 2)."""
        return self.conv(x)


class Upsample(nn.Module):
    """Double height and width, nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2 H, 2 W)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.ModuleList):
    """Layers that share the embedding, applied in turn."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Apply all layers."""
        for layer in self:
            x = layer(x, embedding)
        return x


class UNet(nn.Module):
    """Noisy images and timesteps to a prediction.

    Args:
        sizes: what it sees and answers. Height and width must be divisible by 2 for each level but the first.
        width: channels of the first level.
        channel_multipliers: channels of each level in units of `width`; each level but the last halves height and width.
        num_res_blocks: for each level on the way down; one more on the way up.
        attention_resolutions: larger edges in pixels of the levels that have attention; the middle always has.
        num_heads: attention heads; every level's channels must be divisible by it.
        dropout: probability in every residual block.
        scale_shift_norm: how the embedding is injected, see `ResBlock`.

    Raises:
        BootlightError: a shape that it cannot have; names the key.
    """

    def __init__(
        self,
        sizes: Sizes,
        width: int = 64,
        channel_multipliers: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 3,
        attention_resolutions: Sequence[int] = (16, 8),
        num_heads: int = 4,
        dropout: float = 0.0,
        scale_shift_norm: bool = True,
    ) -> None:
        super().__init__()
        check_levels(sizes, width, channel_multipliers, num_heads)
        check_range("model.num_res_blocks", num_res_blocks, 0)
        check_range("model.dropout", dropout, 0, 1)
        self.width = width
        embedding = 4 * width
        self.embed = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.embed_label = None if sizes.num_classes is None else nn.Embedding(sizes.num_classes + 1, embedding)

        def layers(inputs: int, outputs: int, size: int) -> list[nn.Module]:
            block = ResBlock(inputs, outputs, embedding, dropout, scale_shift_norm)
            return [block, Attention(outputs, num_heads)] if size in attention_resolutions else [block]

        self.down = nn.ModuleList([Stage([ConvIn(sizes.shape[0], width)])])
        skips, channels, size = [width], width, max(sizes.shape[1:])
        for level, multiplier in enumerate(channel_multipliers):
            for _ in range(num_res_blocks):
                self.down.append(Stage(layers(channels, multiplier * width, size)))
                channels = multiplier * width
                skips.append(channels)
            if level < len(channel_multipliers) - 1:
                self.down.append(Stage([Downsample(channels)]))
                skips.append(channels)
                size //= 2
        block = ResBlock(channels, channels, embedding, dropout, scale_shift_norm)
        last = ResBlock(channels, channels, embedding, dropout, scale_shift_norm)
        self.middle = Stage([block, Attention(channels, num_heads), last])
        self.up = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(channel_multipliers))):
            for i in range(num_res_blocks + 1):
                stage = layers(channels + skips.pop(), multiplier * width, size)
                channels = multiplier * width
                if i == num_res_blocks and level > 0:
                    stage.append(Upsample(channels))
                    size *= 2
                self.up.append(Stage(stage))
        self.out = nn.Sequential(
            normalization(channels), nn.SiLU(), zero_init(nn.Conv2d(channels, sizes.outputs, 3, padding=1))
        )
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Predict.

        Args:
            x: noisy images (B, C, H, W).
            t: times (B,), float or whole, embedded as they are: 0 to about 1,000 is the range that suits the embedding.
            labels: int64 (B,); `num_classes` or None for the whole batch = no label.

        Returns:
            (B, outputs, H, W).
        """
        return self.decode(self.encode(x, t, labels))

    def encode(self, x: Tensor, t: Tensor, labels: Tensor | None = None, *, change: Change | None = None) -> Features:
        """See `networks.features.TakenApart`; a layer is a stage, the bottleneck what leaves the middle."""
        angles = timestep_embedding(t, self.width).to(x.dtype)
        embedding = conditioned(self.embed, self.embed_label, angles, labels)
        skips = []
        x = x.contiguous(
            memory_format=torch.channels_last
        )  # 1.2 to 1.5 times faster on CPUs, and what GPUs want in half precision
        for stage in self.down:
            x = stage(x, embedding)
            x = x if change is None else change(x)
            skips.append(x)
        return Features(self.middle(x, embedding), (tuple(skips), embedding))

    def decode(self, features: Features, *, change: Change | None = None) -> Tensor:
        """See `networks.features.TakenApart`."""
        x, (skips, embedding) = features
        for stage, skip in zip(self.up, reversed(skips), strict=True):
            x = stage(torch.cat([x, skip], 1), embedding)
            x = x if change is None else change(x)
        out: Tensor = self.out(x)
        return out


class ConvIn(nn.Conv2d):
    """The first convolution, in the form of a layer of a stage."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return super().forward(x)


def check_levels(sizes: Sizes, width: int, channel_multipliers: Sequence[int], num_heads: int) -> None:
    """Refuse shapes that the U-Net cannot have.

    Raises:
        BootlightError: names the key and what it may be.
    """
    check_range("model.width", width, 1)
    check_range("model.num_heads", num_heads, 1)
    if not channel_multipliers or min(channel_multipliers) < 1:
        raise BootlightError(f"model.channel_multipliers is {list(channel_multipliers)}; give one number >= 1 for each level")
    halvings = len(channel_multipliers) - 1
    if any(edge % 2**halvings for edge in sizes.shape[1:]):
        raise BootlightError(
            f"data.image_size is {as_size(*sizes.shape[1:])}, halved {halvings} times by model.channel_multipliers: take a "
            f"multiple of {2**halvings}, or fewer levels"
        )
    if any(width * multiplier % num_heads for multiplier in channel_multipliers):
        raise BootlightError(f"model.width is {width}; every level must be divisible by model.num_heads, {num_heads}")
