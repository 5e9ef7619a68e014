"""FID's Inception network, its layers arranged for speed: the same sums, some of them in another order.

Once, from torch-fidelity's layers: batch norm is folded into the convolutions; the 1 x 1 convolutions that read the same block
become one; a mean over neighbours in front of such a convolution is taken behind it, where channels are fewer. Both are linear,
and the mean of a bias is that bias.

At each call, on a CPU: few images go through the wide first layers at a time. Their answers then fit into the cache, and stay
below the 32 MiB above which the C library takes fresh memory from the system, page by page, for each layer.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

WIDE_IMAGES = 4  # images at a time in the first layers on a CPU: 21 MiB of float32 behind the largest of them
IMAGES = 16  # in all others: 22 MiB; fewer would read the 83 MiB of weights more often for each image
SPATIAL_CHANNELS = 7
WIDE = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2")


class InceptionNetwork(nn.Module):
    """All that metrics look at, from prepared images; see `bootlight.metrics.features.inception.InceptionFeatures.outputs`.

    Args:
        source: torch-fidelity's network in evaluation mode, whose layers are used up.
    """

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        self.wide = nn.Sequential(*(_single(source, name) for name in WIDE))
        self.middle = nn.Sequential(
            *(_mixed_5(source, f"Mixed_5{letter}") for letter in "bcd"),
            _mixed_6a(source),
            *(_mixed_6(source, f"Mixed_6{letter}") for letter in "bcd"),
        )
        self.top = nn.Sequential(_mixed_6(source, "Mixed_6e"), _mixed_7a(source), _mixed_7b(source), _mixed_7c(source))
        self.register_buffer("class_weights", cast(nn.Linear, source.get_submodule("fc")).weight)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, prepare: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """`features`, `logits` and `spatial` of uint8 images (B, 3, H, W).

        Args:
            images: of any size.
            prepare: makes float32 (B, 3, 299, 299) of them.
        """
        if images.device.type != "cpu":
            return self._outputs(self._first(prepare(images)))
        parts = []
        for some in torch.split(images, IMAGES):
            few = [self._first(prepare(part)) for part in torch.split(some, WIDE_IMAGES)]
            parts.append(self._outputs(torch.cat(few)))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _first(self, x: Tensor) -> Tensor:
        """The wide layers, (B, 192, 35, 35)."""
        answer: Tensor = self.wide(x.contiguous(memory_format=torch.channels_last))
        return answer

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        """The same from what comes out of `wide`, (B, 192, 35, 35)."""
        block = self.middle(x)
        features = self.top(block).mean((2, 3))
        # The block's first channels are those of its 1 x 1 branch.
        spatial = block[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        return {"features": features, "logits": features @ self.class_weights.T, "spatial": spatial}


class _Branches(nn.Module):
    """Branches side by side, their channels joined, negative ones set to 0.

    Args:
        heads: 1 x 1 convolutions that read the input, done as one.
        behind: for each of them what follows.
        others: further branches on the input itself.
    """

    def __init__(
        self, heads: Sequence[nn.Conv2d] = (), behind: Sequence[nn.Module] = (), others: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.widths = [conv.out_channels for conv in heads]
        self.head = _joined(heads) if heads else None
        self.behind, self.others = nn.ModuleList(behind), nn.ModuleList(others)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C', H', W') of (B, C, H, W)."""
        parts = () if self.head is None else self.head(x).split(self.widths, 1)
        ends = [module(part) for module, part in zip(self.behind, parts, strict=True)]
        return torch.cat([*ends, *(module(x) for module in self.others)], 1).relu_()


class _MaxPool(nn.Module):
    """Largest of 3 x 3 places at every second one: first of rows, then of columns, which a CPU does twice as fast."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H', W') of (B, C, H, W)."""
        if x.device.type != "cpu":
            return F.max_pool2d(x, 3, 2)
        rows = torch.maximum(x[:, :, :-2:2], x[:, :, 1:-1:2]).maximum(x[:, :, 2::2])
        return torch.maximum(rows[..., :-2:2], rows[..., 1:-1:2]).maximum(rows[..., 2::2])


def _folded(source: nn.Module, name: str) -> nn.Conv2d:
    """The convolution of a layer, with its batch norm."""
    layer = source.get_submodule(name)
    return fuse_conv_bn_eval(cast(nn.Conv2d, layer.conv), cast(nn.BatchNorm2d, layer.bn))


def _single(source: nn.Module, name: str) -> nn.Module:
    """One of the first layers."""
    return _MaxPool() if name.startswith("MaxPool") else nn.Sequential(_folded(source, name), nn.ReLU(inplace=True))


def _joined(convs: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """One 1 x 1 convolution that answers with the channels of all."""
    joined = nn.Conv2d(convs[0].in_channels, sum(conv.out_channels for conv in convs), 1)
    joined.weight = nn.Parameter(torch.cat([conv.weight for conv in convs]), requires_grad=False)
    joined.bias = nn.Parameter(torch.cat([cast(Tensor, conv.bias) for conv in convs]), requires_grad=False)
    return joined


def _chain(source: nn.Module, *names: str) -> nn.Sequential:
    """Convolutions with what is negative set to 0 before each; the first reads a slice of channels, and makes it contiguous."""
    layers: list[nn.Module] = []
    for name in names:
        layers += [nn.ReLU(inplace=bool(layers)), _folded(source, name)]
    return nn.Sequential(*layers)


def _mean_of_neighbours() -> nn.Module:
    """TensorFlow's: places beyond the border do not count."""
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def _mixed_5(source: nn.Module, name: str) -> nn.Module:
    heads = [_folded(source, f"{name}.{branch}") for branch in ("branch1x1", "branch5x5_1", "branch3x3dbl_1", "branch_pool")]
    five = _chain(source, f"{name}.branch5x5_2")
    double = _chain(source, f"{name}.branch3x3dbl_2", f"{name}.branch3x3dbl_3")
    return _Branches(heads, [nn.Identity(), five, double, _mean_of_neighbours()])


def _mixed_6a(source: nn.Module) -> nn.Module:
    first = _folded(source, "Mixed_6a.branch3x3dbl_1")
    double = nn.Sequential(first, *_chain(source, "Mixed_6a.branch3x3dbl_2", "Mixed_6a.branch3x3dbl_3"))
    return _Branches(others=[_folded(source, "Mixed_6a.branch3x3"), double, _MaxPool()])


def _mixed_6(source: nn.Module, name: str) -> nn.Module:
    heads = [_folded(source, f"{name}.{branch}") for branch in ("branch1x1", "branch7x7_1", "branch7x7dbl_1", "branch_pool")]
    seven = _chain(source, *(f"{name}.branch7x7_{i}" for i in (2, 3)))
    double = _chain(source, *(f"{name}.branch7x7dbl_{i}" for i in (2, 3, 4, 5)))
    return _Branches(heads, [nn.Identity(), seven, double, _mean_of_neighbours()])


def _mixed_7a(source: nn.Module) -> nn.Module:
    heads = [_folded(source, f"Mixed_7a.{branch}") for branch in ("branch3x3_1", "branch7x7x3_1")]
    three = _chain(source, "Mixed_7a.branch3x3_2")
    seven = _chain(source, *(f"Mixed_7a.branch7x7x3_{i}" for i in (2, 3, 4)))
    return _Branches(heads, [three, seven], [_MaxPool()])


def _mixed_7b(source: nn.Module) -> nn.Module:
    heads, behind = _wide_heads(source, "Mixed_7b")
    return _Branches([*heads, _folded(source, "Mixed_7b.branch_pool")], [*behind, _mean_of_neighbours()])


def _mixed_7c(source: nn.Module) -> nn.Module:
    """Here the largest neighbour is taken, as in the original code of FID; that cannot change places with a convolution."""
    heads, behind = _wide_heads(source, "Mixed_7c")
    return _Branches(heads, behind, [nn.Sequential(nn.MaxPool2d(3, 1, 1), _folded(source, "Mixed_7c.branch_pool"))])


def _wide_heads(source: nn.Module, name: str) -> tuple[list[nn.Conv2d], list[nn.Module]]:
    """The three branches that both of the last blocks have; two of them end in a row and a column side by side."""
    heads = [_folded(source, f"{name}.{branch}") for branch in ("branch1x1", "branch3x3_1", "branch3x3dbl_1")]
    three, double = (
        _Branches(others=[_folded(source, f"{name}.{branch}{end}") for end in "ab"])
        for branch in ("branch3x3_2", "branch3x3dbl_3")
    )
    chain = _chain(source, f"{name}.branch3x3dbl_2")
    return heads, [nn.Identity(), nn.Sequential(nn.ReLU(), three), nn.Sequential(*chain, nn.ReLU(inplace=True), double)]
