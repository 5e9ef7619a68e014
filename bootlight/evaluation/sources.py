"""Sets of images to be measured: folders, zips, generations of a run, arrays; read in batches, known by their content."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bootlight.data.reader import open_images
from bootlight.data.resolve import resolve
from bootlight.data.store import Store, build_store
from bootlight.data.store_passes import over_images
from bootlight.images import decode_whole


class ImageSource(Protocol):
    """Images in a fixed order."""

    @property
    def where(self) -> str:
        """How messages and tables call it."""

    @property
    def key(self) -> str:
        """Hash of the content: equal keys, equal images in equal order."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the images."""

    def batches(self, size: int) -> Iterator[Tensor]:
        """Batches uint8 (B, C, H, W) of at most `size` images, in order; all images of a batch have one size."""

    def pick(self, indices: list[int]) -> list[NDArray[np.uint8]]:
        """Some images, arrays (H, W, C)."""


@dataclass(frozen=True)
class StoreSource:
    """Decoded images of one size.

    Args:
        where: how messages call it.
        store: the images.
        indices: which of them, in this order; None = all.
    """

    where: str
    store: Store
    indices: NDArray[np.int64] | None = None

    @property
    def key(self) -> str:
        """See `ImageSource`."""
        if self.indices is None:
            return self.store.key
        return hashlib.sha256(self.store.key.encode() + self.indices.astype(np.int64).tobytes()).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """See `ImageSource`."""
        return tuple(self.store.names[i] for i in self._chosen)

    def batches(self, size: int) -> Iterator[Tensor]:
        """See `ImageSource`."""
        chosen = self._chosen
        for start in range(0, len(chosen), size):
            chunk = self.store.images[chosen[start : start + size]].transpose(0, 3, 1, 2)
            yield torch.from_numpy(np.ascontiguousarray(chunk))

    def pick(self, indices: list[int]) -> list[NDArray[np.uint8]]:
        """See `ImageSource`."""
        return [np.asarray(self.store.images[self._chosen[i]]) for i in indices]

    @property
    def _chosen(self) -> NDArray[np.int64]:
        return np.arange(len(self.store.images)) if self.indices is None else self.indices


@dataclass(frozen=True)
class FileSource:
    """Images as they lie in a folder or zip, at their own sizes, decoded to RGB each time they are asked for.

    Args:
        where: how messages call it.
        key: hash of files, and of names without the folders that hold all of them.
        names: of the images.
        root: folder or zip.
        split: of the root, or None.
    """

    where: str
    key: str
    names: tuple[str, ...]
    root: Path
    split: str | None

    def batches(self, size: int) -> Iterator[Tensor]:
        """See `ImageSource`."""
        waiting: list[NDArray[np.uint8]] = []
        with open_images(self.root, self.split) as images:

            def read(i: int) -> NDArray[np.uint8]:
                return decode_whole(images.read(i), images.names[i])

            for part in over_images(images, read, None):
                for image in part:
                    if waiting and (len(waiting) == size or waiting[0].shape != image.shape):
                        yield _batch(waiting)
                        waiting = []
                    waiting.append(image)
        if waiting:
            yield _batch(waiting)

    def pick(self, indices: list[int]) -> list[NDArray[np.uint8]]:
        """See `ImageSource`."""
        with open_images(self.root, self.split) as images:
            return [decode_whole(images.read(i), images.names[i]) for i in indices]


def _batch(images: list[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())


def open_source(text: str, *, image_size: int | None, cache: Path, channels: int = 3) -> ImageSource:
    """Open what a user names.

    Args:
        text: a folder or zip of images; a run folder, meaning the newest generation that has images; a run folder or such
            followed by `@` and a generation (`runs/x@2`), or images followed by `@` and a split (`faces.zip@test`).
        image_size: cut the centred square and resize to this edge, as for training; None = the images as they are.
        cache: folder of decoded images.
        channels: 1 (grey) or 3 (RGB), where `image_size` is given; otherwise images are RGB.

    Raises:
        BootlightError: there is nothing such, or a picture cannot be decoded.
    """
    if image_size is not None:
        return open_store(text, image_size=image_size, cache=cache, channels=channels)
    root, split = resolve(text)
    with open_images(root, split) as images:
        content = hashlib.sha256()
        for part in over_images(images, lambda i: hashlib.sha256(images.read(i)).hexdigest(), f"checksums of {text}"):
            content.update(json.dumps(part).encode())
        content.update(json.dumps(images.known_as).encode())
        return FileSource(text, content.hexdigest(), tuple(images.names), root, split)


def size_remark(sources: Mapping[str, ImageSource]) -> tuple[str, ...]:
    """A warning where sets differ in the size of their images, as far as the first of each tells.

    Args:
        sources: sets by role.
    """
    sizes = {role: source.pick([0])[0].shape[:2] for role, source in sources.items()}
    if len(set(sizes.values())) < 2:
        return ()
    said = ", ".join(f"{role} {width} x {height}" for role, (height, width) in sizes.items())
    least = min(map(min, sizes.values()))
    return (f"sizes in pixels differ ({said}), and resolution is part of every score; --image-size {least} brings all to one",)


def open_store(text: str, *, image_size: int, cache: Path, channels: int = 3) -> StoreSource:
    """`open_source` at a given size, decoded once and kept in the cache."""
    root, split = resolve(text)
    description = f"reading {text}"
    return StoreSource(
        text, build_store(root, image_size=image_size, channels=channels, cache=cache, split=split, description=description)
    )
