"""Sets of images to be measured: folders, zips, generations of a run, arrays; read in batches, known by their content."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bootlight.data.contents import usable
from bootlight.data.layout import Layout
from bootlight.data.reader import open_images
from bootlight.data.reading import SAFE, Reading
from bootlight.data.resolve import resolve
from bootlight.data.store import Store, build_store
from bootlight.data.store_passes import over_images
from bootlight.data.store_skipped import tell_skipped
from bootlight.evaluation.sets.file_source import Decode, FileSource
from bootlight.evaluation.sets.streamed import Image
from bootlight.io.picture_header import Header, Headers
from bootlight.io.pictures import decode_stored


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

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """How many images have which width and height."""

    @property
    def headers(self) -> Counter[Header]:
        """How many of the files that were read have which header; empty where there were none."""

    @property
    def layout(self) -> Layout | None:
        """What was understood of the folder or zip, where the images come from one."""

    @property
    def dtype(self) -> str:
        """Of the images: uint8 or float32."""

    def batches(self, size: int) -> Iterator[Tensor]:
        """Batches (B, C, H, W) of at most `size` images, in order, uint8 or float32; all images of a batch have one size."""

    def pick(self, indices: list[int]) -> list[Image]:
        """Some images, arrays (H, W, C)."""


@dataclass(frozen=True)
class StoreSource:
    """Decoded images of one size.

    Args:
        where: how messages call it.
        store: the images.
        indices: which of them, in this order; None = all.
        headers: of the files that the images were decoded from, where they were looked at.
        layout: of the folder or zip.
    """

    where: str
    store: Store
    indices: NDArray[np.int64] | None = None
    headers: Counter[Header] = field(default_factory=Counter, repr=False, compare=False)
    layout: Layout | None = field(default=None, repr=False, compare=False)

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """See `ImageSource`."""
        height, width = self.store.images.shape[1:3]
        return Counter({(width, height): len(self._chosen)})

    @property
    def key(self) -> str:
        """See `ImageSource`."""
        if self.indices is None:
            return self.store.key
        return hashlib.sha256(self.store.key.encode() + self.indices.astype(np.int64).tobytes()).hexdigest()

    @property
    def dtype(self) -> str:
        """See `ImageSource`."""
        return self.store.images.dtype.name

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

    def pick(self, indices: list[int]) -> list[Image]:
        """See `ImageSource`."""
        return [np.asarray(self.store.images[self._chosen[i]]) for i in indices]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Of the images, (n,); -1 = none."""
        return self.store.labels[self._chosen]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        height, width, channels = self.store.images.shape[1:]
        return channels, height, width

    @property
    def _chosen(self) -> NDArray[np.int64]:
        return np.arange(len(self.store.images)) if self.indices is None else self.indices


def open_source(
    text: str,
    *,
    image_size: int | Sequence[int] | None,
    cache: Path,
    channels: int = 3,
    decode: Decode = decode_stored,
    reading: Reading = SAFE,
) -> ImageSource:
    """Open what a user names.

    Args:
        text: a folder or zip of images; a run folder, meaning the newest generation that has images; a run folder or such
            followed by `@` and a generation (`runs/x@2`), or images followed by `@` and a split (`faces.zip@test`).
        image_size: cut the center and resize to this edge, or height and width, as for training; None = the images as they
            are.
        cache: folder of decoded images.
        channels: 1 (grey) or 3 (RGB), where `image_size` is given; otherwise pictures are RGB.
        reading: whether links are followed, and how many bad pictures may be left out.
        decode: how pixels are read where `image_size` is None; as FID's programs do, if nothing else is given.

    Raises:
        BootlightError: there is nothing such, or a picture cannot be decoded.
    """
    if image_size is not None:
        return open_store(text, image_size=image_size, cache=cache, channels=channels, reading=reading)
    root, split = resolve(text)
    headers = Headers()
    with open_images(root, split, reading) as found, _quiet_pictures():
        if found.numbers is not None:
            return open_store(text, image_size=None, cache=cache, reading=reading)
        good = usable(found, lambda i: decode(found.read(i), found.names[i]).shape, f"looking at {text}", reading.max_bad)
        images = good.images
        content = hashlib.sha256(decode.__name__.encode())

        def checksum(i: int) -> str:
            data = images.read(i)
            headers.note(data)
            return hashlib.sha256(data).hexdigest()

        for part in over_images(images, checksum, f"checksums of {text}"):
            content.update(json.dumps(part).encode())
        content.update(json.dumps(images.known_as).encode())
    tell_skipped(text, good.skipped, len(images), cache, content.hexdigest())
    names, layout = tuple(images.names), found.layout
    return FileSource(text, content.hexdigest(), names, root, split, decode, headers.counted(), reading, layout)


def open_store(
    text: str, *, image_size: int | Sequence[int] | None, cache: Path, channels: int = 3, reading: Reading = SAFE
) -> StoreSource:
    """`open_source` at a given size, decoded once and kept in the cache; numbers have the channels that they have.

    Raises:
        BootlightError: as `open_source`, or images that are numbers have another size.
    """
    root, split = resolve(text)
    headers = Headers()
    with open_images(root, split, reading) as images:
        layout, numbers = images.layout, images.numbers
    if numbers is not None:
        channels = numbers.shape[0]
        image_size = numbers.shape[1:] if image_size is None else image_size
    assert image_size is not None
    with _quiet_pictures():
        store = build_store(
            root,
            image_size=image_size,
            channels=channels,
            cache=cache,
            split=split,
            description=f"reading {text}",
            note=headers.note,
            reading=reading,
        )
    tell_skipped(text, store.skipped, len(store.images), cache, store.key)
    return StoreSource(text, store, headers=headers.counted(), layout=layout)


@contextmanager
def _quiet_pictures() -> Iterator[None]:
    """Without Pillow's notes on odd metadata; around all threads, which share the filters."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield
