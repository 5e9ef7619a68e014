"""Pictures that are decoded each time they are asked for: of any number of them, some batches are in memory."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bootlight.data.layout import Layout
from bootlight.data.store_passes import over_images
from bootlight.errors import BootlightError
from bootlight.io.picture_header import Header
from bootlight.io.pictures import decode
from bootlight.runs.drawn import DrawnImage, check_drawn, read_drawn
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.manifest import how_to_redraw


def in_batches(parts: Iterable[list[NDArray[np.uint8]]], size: int) -> Iterator[Tensor]:
    """Batches uint8 (B, C, H, W) of at most `size` images, in order; all images of a batch have one size.

    Args:
        parts: arrays (H, W, C).
        size: of a batch.
    """
    waiting: list[NDArray[np.uint8]] = []
    for part in parts:
        for image in part:
            if waiting and (len(waiting) == size or waiting[0].shape != image.shape):
                yield _batch(waiting)
                waiting = []
            waiting.append(image)
    if waiting:
        yield _batch(waiting)


def _batch(images: list[NDArray[np.uint8]]) -> Tensor:
    # Not a copy: of grey images that would have other strides than those of a store, and a network other last bits.
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))


@dataclass(frozen=True)
class DrawnSource:
    """The images of a generation as they are on the disk; see `evaluation.sources.ImageSource`.

    Args:
        where: how messages call them.
        folder: of the generation.
        names: of the images, relative to its samples folder, in the order of the manifest.
        shape: (H, W, C) of each.
        key: changes when a file does.
    """

    where: str
    folder: GenerationFolder
    names: tuple[str, ...]
    shape: tuple[int, int, int]
    key: str
    headers: Counter[Header] = field(default_factory=Counter, repr=False, compare=False)
    layout: Layout | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """How many images have which width and height."""
        return Counter({(self.shape[1], self.shape[0]): len(self)})

    def batches(self, size: int) -> Iterator[Tensor]:
        """Batches uint8 (B, C, H, W) of at most `size` images, in order.

        Raises:
            BootlightError: a picture is missing or cannot be decoded.
        """
        try:
            yield from in_batches(over_images(self, self._read, None), size)
        except BootlightError as error:
            raise BootlightError(f"{error}; {how_to_redraw(self.folder)}") from error

    def pick(self, indices: list[int]) -> list[NDArray[np.uint8]]:
        """Some images, arrays (H, W, C)."""
        return [self._read(i) for i in indices]

    def size(self, i: int) -> int:
        """Bytes of the file of image i; 0 where it cannot be looked at, as reading it will tell."""
        try:
            return os.stat(self._path(i)).st_size
        except OSError:
            return 0

    def _read(self, i: int) -> NDArray[np.uint8]:
        path = self._path(i)
        try:
            with open(path, "rb", buffering=0) as file:
                data = file.readall()
        except OSError as error:
            raise BootlightError(f"{path}: {error.strerror or error}") from error
        return decode(data, path, image_size=self.shape[0], channels=self.shape[2])

    def _path(self, i: int) -> str:
        return f"{self.folder.samples}/{self.names[i]}"  # joining paths would cost as much as opening the files


def drawn_source(where: str, folder: GenerationFolder, image_size: int, channels: int) -> DrawnSource:
    """The images of a complete samples folder, rounded, as everyone will see them.

    Raises:
        BootlightError: one is missing or was changed.
    """
    drawn: Sequence[DrawnImage] = read_drawn(folder)
    shape = (image_size, image_size, channels)
    key = hashlib.sha256(check_drawn(folder, drawn) + str(shape).encode()).hexdigest()
    return DrawnSource(where, folder, tuple(row.file_name for row in drawn), shape, key)
