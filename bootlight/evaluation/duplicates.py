"""Pictures that are there twice: inside a set, or in two sets that should have nothing in common."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from bootlight.errors import safe
from bootlight.evaluation.near import nearest_within
from bootlight.io.shape import is_picture

EDGE = 16  # pixels of a thumbnail
NEAR = 0.03  # root-mean-square difference of two thumbnails, pixels in [0, 1], that still counts as the same picture
SHARE = 0.5  # of either picture's structure that the difference may be: two unrelated pictures differ by all of it or more
FLAT = 0.01  # structure below which a JPEG of quality 50 differs from its original by more than that share
BATCH = 256


class Prints(NamedTuple):
    """What is compared of a set of images.

    Attributes:
        hashes: SHA-256 of the size and pixels of each image: equal for the same picture in another lossless file.
        thumbnails: (N, 3, 16, 16) in [0, 1], the mean of each channel taken away, so that brightness does not count.
        structure: (N,), see `structure_of`.
    """

    hashes: list[bytes]
    thumbnails: Tensor
    structure: Tensor

    @property
    def flat(self) -> list[int]:
        """Indices of pictures with too little structure to be compared; equal pixels are found all the same."""
        return (self.structure < FLAT).nonzero().flatten().tolist()


class Pair(NamedTuple):
    """Two pictures that seem to be one.

    Attributes:
        first: index in the first set.
        second: index in the second set, or in the same one.
        difference: root-mean-square difference of the thumbnails; 0 for equal pixels.
        mirrored: whether one had to be mirrored.
    """

    first: int
    second: int
    difference: float
    mirrored: bool


class Looked(Protocol):
    """What is asked of a set of images."""

    @property
    def where(self) -> str:
        """How a bar calls it."""

    @property
    def names(self) -> Sequence[str]:
        """Of the images, for their number."""

    @property
    def dtype(self) -> str:
        """Of the images."""

    def batches(self, size: int) -> Iterator[Tensor]:
        """Batches (B, C, H, W)."""


def take_prints(source: Looked) -> Prints:
    """Read all images of a set once."""
    hashes, thumbnails, structures = [], [], []
    with tqdm(total=len(source.names), desc=safe(f"looking at {source.where}"), unit=" images", leave=False) as bar:
        for images in source.batches(BATCH):
            for image in images.numpy():
                hashes.append(hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).data).digest())
            if not is_picture((images.shape[1], *images.shape[2:]), source.dtype):  # equal numbers count, and nothing is near
                images = torch.zeros_like(images[:, :1])
            small = F.interpolate(images.float() / 255, (EDGE, EDGE), mode="area").expand(-1, 3, -1, -1)
            thumbnails.append(small - small.mean((2, 3), keepdim=True))
            structures.append(structure_of(thumbnails[-1]))
            bar.update(len(images))
    return Prints(hashes, torch.cat(thumbnails), torch.cat(structures))


def structure_of(thumbnails: Tensor) -> Tensor:
    """What thumbnails (B, 3, 16, 16) show besides light and shade, (B,), in the units of pixels.

    It is the root mean square of what is left when the polynomial of degree 2 that is nearest is taken away. Pictures
    of walls, skies and mist, lit from one side or darker at the corners, look alike and are not the same.
    """
    line = torch.linspace(-1, 1, EDGE, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    shades = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y]).flatten(1)
    basis = torch.linalg.qr(shades.T).Q
    pixels = thumbnails.flatten(2).double()
    return (pixels - pixels @ basis @ basis.T).square().mean((1, 2)).sqrt()


def exact_pairs(first: Prints, second: Prints | None = None) -> list[Pair]:
    """Images with equal pixels: each of the second set with the first one it equals, or inside one set with `second` None."""
    seen: dict[bytes, int] = {}
    pairs = []
    for i, digest in enumerate(first.hashes):
        if digest in seen and second is None:
            pairs.append(Pair(seen[digest], i, 0.0, False))
        seen.setdefault(digest, i)
    if second is not None:
        pairs = [Pair(seen[digest], i, 0.0, False) for i, digest in enumerate(second.hashes) if digest in seen]
    return pairs


def near_pairs(first: Prints, second: Prints | None = None, *, limit: float = NEAR) -> list[Pair]:
    """Images whose thumbnails hardly differ, also when one is mirrored, closest first; those with equal pixels are left out.

    Each image of the second set is compared with its nearest one of the first; inside one set each pair is given once.
    Recompression, slight blur, another size or brightness leave a picture near; another crop does not. Two pictures are near
    if their difference is at most `limit` and at most half of the structure of each; flat ones are not compared at all.

    Args:
        first: a set.
        second: another one; None = the same.
        limit: largest root-mean-square difference of two thumbnails.
    """
    same = second is None
    other = first if second is None else second
    structures = (first.structure, other.structure)
    ours, theirs = ((structure >= FLAT).nonzero().flatten() for structure in structures)
    if len(ours) < 1 + same or not len(theirs):
        return []
    among, scale = first.thumbnails[ours].flatten(1), first.thumbnails[0].numel() ** 0.5
    found: dict[tuple[int, int], Pair] = {}
    for mirrored in (False, True):
        queries = other.thumbnails[theirs].flip(3) if mirrored else other.thumbnails[theirs]
        # With `same` a symmetric picture is not near to its own mirror image either, which would say nothing.
        rows, columns, distances = nearest_within(
            queries.flatten(1), among, scale * limit, same=same, description="near duplicates" + ", mirrored" * mirrored
        )
        least = torch.minimum(structures[0][ours][columns], structures[1][theirs][rows])
        for k in (distances <= scale * torch.clamp(SHARE * least, max=limit)).nonzero().flatten().tolist():
            i, j = int(theirs[rows[k]]), int(ours[columns[k]])
            equal = first.hashes[j] == other.hashes[i]
            key = (min(i, j), max(i, j)) if same else (j, i)
            if not equal and key not in found:
                found[key] = Pair(key[0], key[1], distances[k].item() / scale, mirrored)
    return sorted(found.values(), key=lambda pair: (pair.difference, pair.first, pair.second))
