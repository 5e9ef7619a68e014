"""The two networks of DCGAN (Radford et al. 2016) for images that can be halved to a base of 4 to 7 pixels.

The paper's are squares with a base of 4 x 4 pixels. No convolution has a bias, as in PyTorch's example; the paper initialises
weights alone.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError, check_range
from bootlight.io.shape import Shape, as_size

ALLOWED = "halves height and width together, once or more, until the smaller one has 4 to 7 pixels"


def initialize(module: nn.Module) -> None:
    """The paper's initialisation: weights N(0, 0.02), batch-norm scales N(1, 0.02), shifts 0. Use with `apply`."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def halvings(height: int, width: int) -> int | None:
    """How often strided convolutions halve both edges until the smaller one has 4 to 7 pixels; None where they cannot."""
    count = (min(height, width) // 4).bit_length() - 1
    return count if count >= 1 and height % 2**count == 0 == width % 2**count else None


def stages(shape: Shape, width: int) -> tuple[list[int], tuple[int, int]]:
    """Channels after each halving, `width` after the first and doubled at each other, and height and width after the last.

    Raises:
        BootlightError: a shape that DCGAN has no stages for.
    """
    check_range("model.width", width, 1)
    _, *edges = shape
    count = halvings(*edges)
    if count is None:
        raise BootlightError(
            f"data.image_size is {as_size(*edges)}; DCGAN {ALLOWED}: squares of 8, 10, 12, 14, 16, 20, 24, 28, 32, "
            "40, 48, 56, 64, ... pixels"
        )
    return [width * 2**k for k in range(count)], (edges[0] >> count, edges[1] >> count)


class Generator(nn.Module):
    """Latent vectors to images.

    Args:
        shape: (C, H, W) of the images, see `halvings`.
        latent_dim: length of a latent vector.
        width: channels of the last hidden stage.
    """

    def __init__(self, shape: Shape, latent_dim: int, width: int) -> None:
        super().__init__()
        widths, base = stages(shape, width)
        widths = widths[::-1]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent_dim, widths[0], base, 1, 0, bias=False)]
        for inputs, outputs in pairwise(widths):
            layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], shape[0], 4, 2, 1, bias=False), nn.Tanh())
        self.apply(initialize)
        self.to(memory_format=torch.channels_last)  # a tenth to a quarter faster on CPUs

    def forward(self, latent: Tensor) -> Tensor:
        """(B, latent_dim) to images (B, channels, H, W) in [-1, 1]."""
        images: Tensor = self.layers(latent[:, :, None, None])
        return images


class Discriminator(nn.Module):
    """Images to logits: above 0 means "real".

    Args:
        shape: (C, H, W) of the images, see `halvings`.
        width: channels of the first stage.
    """

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        widths, base = stages(shape, width)
        layers: list[nn.Module] = [nn.Conv2d(shape[0], widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        for inputs, outputs in pairwise(widths):
            layers += [
                nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, base, 1, 0, bias=False))
        self.apply(initialize)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) in [-1, 1] to logits (B,)."""
        return torch.flatten(self.layers(images.contiguous(memory_format=torch.channels_last)))
