"""A network without a size: each pixel of the answer sees a square window of the picture and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bootlight.errors import BootlightError, check_range
from bootlight.networks.layers import Pointwise, conditioned, timestep_embedding, zero_init
from bootlight.networks.sizes import Sizes

KERNEL, INNER_KERNEL = 7, 3
WIDER_BY_A_BLOCK = (KERNEL - 1) + 2 * (INNER_KERNEL - 1)  # pixels of the window


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NextBlock(nn.Module):
    """Depthwise 7x7, embedding, norm, 3x3 to a multiple of the channels and back, residual (Liu et al. 2022, "ConvNeXt").

    Args:
        inputs: channels, of the block before and of a skip.
        width: channels of the answer, and numbers of the embedding.
        expansion: channels between the two 3x3 convolutions, in units of `width`.
    """

    def __init__(self, inputs: int, width: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, KERNEL, padding=KERNEL // 2, groups=inputs)
        self.project = nn.Linear(width, inputs)
        self.norm = ChannelNorm(inputs)
        self.widen = nn.Conv2d(inputs, expansion * width, INNER_KERNEL, padding=INNER_KERNEL // 2)
        self.narrow = nn.Conv2d(expansion * width, width, INNER_KERNEL, padding=INNER_KERNEL // 2)
        self.skip = nn.Identity() if inputs == width else Pointwise(inputs, width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, inputs, H, W) and the activated embedding (B, width) to (B, width, H, W)."""
        hidden = self.depthwise(x) + self.project(embedding)[:, :, None, None]
        hidden = self.narrow(F.gelu(self.widen(self.norm(hidden))))
        return hidden + self.skip(x)  # type: ignore[no-any-return]


class NextNet(nn.Module):
    """Blocks at one resolution, without attention; long skips from the first to the last (Nikankin et al. 2023, "SinFusion").

    It takes pictures of any height and width. A pixel of the answer depends on the window of `field_of_view` pixels around it;
    where that is smaller than the picture, the model learns its patches and not the picture by heart. Beyond the edges of the
    picture it sees zeros.

    Args:
        sizes: what it sees and answers.
        width: channels of each block.
        depth: blocks.
        expansion: channels within a block, in units of `width`.
        beside: names of pictures that come with a noisy one, such as the frame before; as large as it, with as many channels.
        numbers: names of numbers that come with it, such as the gap between two frames.

    Raises:
        BootlightError: a size that it cannot have, or a name twice.
    """

    def __init__(
        self,
        sizes: Sizes,
        width: int = 64,
        depth: int = 16,
        expansion: int = 3,
        beside: Sequence[str] = (),
        numbers: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.any_size = True
        for key, value in (("width", width), ("depth", depth), ("expansion", expansion)):
            check_range(f"model.{key}", value, 1)
        if len({*beside, *numbers}) < len(beside) + len(numbers):
            raise BootlightError(
                f"NextNet beside is {list(beside)} and numbers is {list(numbers)}; give each a name of its own"
            )
        self.width, self.beside, self.numbers = width, tuple(beside), tuple(numbers)
        self.field_of_view = 1 + WIDER_BY_A_BLOCK * depth
        self.embed = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.embed_label = None if sizes.num_classes is None else nn.Embedding(sizes.num_classes + 1, width)
        self.embed_numbers = nn.ModuleDict({name: nn.Linear(width, width) for name in numbers})
        self.first = Pointwise(sizes.shape[0] * (1 + len(beside)), width)
        self.pairs = depth // 2  # of blocks with a skip from one to the other
        inputs = [width] * (depth - self.pairs) + [2 * width] * self.pairs
        self.blocks = nn.ModuleList(NextBlock(channels, width, expansion) for channels in inputs)
        self.last = zero_init(nn.Conv2d(width, sizes.outputs, 1))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Tensor:
        """Predict.

        Args:
            x: noisy pictures (B, C, H, W), of any height and width.
            t: times (B,), float or whole, embedded as they are.
            labels: int64 (B,); `num_classes` or None for the whole batch = no label.
            cond: pictures (B, C, H, W) and numbers (B,) by the names that the constructor was given; no others are looked at.

        Returns:
            (B, outputs, H, W).

        Raises:
            BootlightError: one of them is missing.
        """
        if missing := [name for name in (*self.beside, *self.numbers) if name not in cond]:
            raise BootlightError(
                f"the network takes {missing[0]} beside the noisy picture, and nobody gives it; take an origin of data that "
                "does, such as bootlight.FramePairs, or leave it out of model.network"
            )
        embedding = self._embedding(x, t, labels, cond)
        hidden = self.first(torch.cat([x, *(cond[name].to(x) for name in self.beside)], 1))
        skips: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            from_skip = i >= len(self.blocks) - self.pairs
            hidden = block(torch.cat([hidden, skips.pop()], 1) if from_skip else hidden, embedding)
            if i < self.pairs:
                skips.append(hidden)
        return self.last(hidden)  # type: ignore[no-any-return]

    def _embedding(self, x: Tensor, t: Tensor, labels: Tensor | None, cond: dict[str, Tensor]) -> Tensor:
        """Of time, label and numbers, (B, width), activated."""
        angles = timestep_embedding(t, self.width).to(x.dtype)
        found = conditioned(self.embed, self.embed_label, angles, labels)
        for name, layer in self.embed_numbers.items():
            found = found + layer(timestep_embedding(cond[name], self.width).to(x.dtype))
        return found
