"""A small network for points, and for whatever else is few numbers without neighbors."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from bootlight.errors import check_range
from bootlight.networks.layers import conditioned, timestep_embedding, zero_init
from bootlight.networks.sizes import Sizes


class Block(nn.Module):
    """Two linear layers around an injection of the embedding, residual; nothing but its skip when it is new.

    Args:
        width: of both layers and of the embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        self.second = zero_init(nn.Linear(width, width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, width) and the activated embedding (B, width) to (B, width)."""
        hidden = self.first(F.silu(x)) + self.project(embedding)
        return x + self.second(F.silu(hidden))


class MLP(nn.Module):
    """Noisy points and timesteps to a prediction, all numbers of a point on an equal footing.

    Args:
        sizes: what it sees and answers; points of D numbers are (D, 1, 1), other shapes are flattened.
        width: of the hidden layers and of the embedding of the time.
        depth: residual blocks.

    Raises:
        BootlightError: a size that it cannot have; names the key.
    """

    def __init__(self, sizes: Sizes, width: int = 128, depth: int = 3) -> None:
        super().__init__()
        check_range("model.width", width, 1)
        check_range("model.depth", depth, 1)
        self.width = width
        self.answer = (sizes.outputs, *sizes.shape[1:])
        self.embed = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.embed_label = None if sizes.num_classes is None else nn.Embedding(sizes.num_classes + 1, width)
        self.first = nn.Linear(math.prod(sizes.shape), width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.last = zero_init(nn.Linear(width, math.prod(self.answer)))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Predict.

        Args:
            x: noisy points (B, C, H, W).
            t: times (B,), float or whole, embedded as they are: 0 to about 1,000 is the range that suits the embedding.
            labels: int64 (B,); `num_classes` or None for the whole batch = no label.

        Returns:
            (B, outputs, H, W).
        """
        angles = timestep_embedding(t, self.width).to(x.dtype)
        embedding = conditioned(self.embed, self.embed_label, angles, labels)
        hidden = self.first(x.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        out: Tensor = self.last(F.silu(hidden))
        return out.reshape(len(x), *self.answer)
