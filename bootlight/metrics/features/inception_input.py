"""What each FID tool makes of an image before the Inception network sees it: three ways, each bit for bit as its tool.

All map uint8 images (B, 3, H, W) of any size to float32 (B, 3, 299, 299). They differ more than rounding: FID values of two of
them must not be compared (Parmar et al. 2022, "On aliased resizing and surprising subtleties in GAN evaluation").
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

SIZE = 299


def tf_input(images: Tensor) -> Tensor:
    """As torch-fidelity, and the original code of FID and the Inception score in TensorFlow 1: in [-1, 127/128].

    Bilinear without antialiasing; pixel i of the result lies at i * H / 299 of the image, so that the picture is shifted by up
    to half a pixel. The range ends below 1 because 128 is taken off and divided by.
    """
    rows = _tf_interpolate(images.float(), 3)
    return (_tf_interpolate(rows, 2) - 128) / 128


def _tf_interpolate(x: Tensor, dim: int) -> Tensor:
    """Linear interpolation of (B, C, H, W) along an axis at multiples of a step, all in float32."""
    size = x.shape[dim]
    step = torch.tensor(size / SIZE, dtype=torch.float32, device=x.device)
    position = torch.arange(SIZE, dtype=torch.float32, device=x.device) * step
    low = position.long()
    high = (low + 1).clamp(max=size - 1)
    share = (position - low.float()).view([SIZE if axis == dim else 1 for axis in range(4)])
    below, above = x.index_select(dim, low), x.index_select(dim, high)
    return below + (above - below) * share


def pytorch_input(images: Tensor) -> Tensor:
    """As pytorch-fid: in [-1, 1].

    Bilinear without antialiasing; pixel i of the result lies at (i + 1/2) * H / 299 - 1/2 of the image.
    """
    unit = images.contiguous().float() / 255
    return 2 * F.interpolate(unit, size=(SIZE, SIZE), mode="bilinear", align_corners=False) - 1


def clean_input(images: Tensor) -> Tensor:
    """As clean-fid's mode `clean`: in [-1, 127/128].

    Pillow's bicubic, which widens its kernel when shrinking (antialiased), of each channel in float32, clipped to [0, 255] and
    not rounded. Pillow runs on the CPU: 2 to 12 ms an image, wherever the images are.
    """
    planes = images.flatten(0, 1).cpu().numpy().astype(np.float32)
    resized = [Image.fromarray(plane).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for plane in planes]
    pixels = torch.from_numpy(np.stack([np.asarray(plane) for plane in resized]))
    return (pixels.to(images.device).view(len(images), 3, SIZE, SIZE).clamp(0, 255) - 128) / 128
