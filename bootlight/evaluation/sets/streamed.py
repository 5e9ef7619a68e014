"""Pictures that are decoded each time they are asked for: of any number of them, some batches are in memory."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bootlight.data.layout import Layout
from bootlight.data.store_passes import over_images
from bootlight.errors import BootlightError
from bootlight.io.arrays import ArrayReader, decode_array, open_arrays, split_row
from bootlight.io.picture_header import Header
from bootlight.io.pictures import decode
from bootlight.io.shape import Shape
from bootlight.runs.drawn import DrawnImage, check_drawn, read_drawn
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.manifest import how_to_redraw

Image = NDArray[np.uint8] | NDArray[np.float32]  # (H, W, C)


def in_batches(parts: Iterable[list[Image]], size: int) -> Iterator[Tensor]:
    """Batches (B, C, H, W) of at most `size` images, in order; all images of a batch have one size.

    Args:
        parts: arrays (H, W, C).
        size: of a batch.
    """
    waiting: list[Image] = []
    for part in parts:
        for image in part:
            if waiting and (len(waiting) == size or waiting[0].shape != image.shape):
                yield _batch(waiting)
                waiting = []
            waiting.append(image)
    if waiting:
        yield _batch(waiting)


def _batch(images: list[Image]) -> Tensor:
    # Not a copy: of grey images that would have other strides than those of a store, and a network other last bits.
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))


@dataclass(frozen=True)
class DrawnSource:
    """The images of a generation as they are on the disk; see `evaluation.sources.ImageSource`.

    Args:
        where: how messages call them.
        folder: of the generation.
        names: of the images, relative to its samples folder, in the order of the manifest.
        shape: (C, H, W) of each.
        key: changes when a file does.
        dtype: uint8 or float32.
    """

    where: str
    folder: GenerationFolder
    names: tuple[str, ...]
    shape: Shape
    key: str
    dtype: str = "uint8"
    headers: Counter[Header] = field(default_factory=Counter, repr=False, compare=False)
    layout: Layout | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """How many images have which width and height."""
        return Counter({(self.shape[2], self.shape[1]): len(self)})

    def batches(self, size: int) -> Iterator[Tensor]:
        """Batches (B, C, H, W) of at most `size` images, in order.

        Raises:
            BootlightError: a picture is missing or cannot be decoded.
        """
        with open_arrays() as reader:
            try:
                yield from in_batches(over_images(self, partial(self._read, reader), None), size)
            except BootlightError as error:
                raise BootlightError(f"{error}; {how_to_redraw(self.folder)}") from error

    def pick(self, indices: list[int]) -> list[Image]:
        """Some images, arrays (H, W, C)."""
        with open_arrays() as reader:
            return [self._read(reader, i) for i in indices]

    def size(self, i: int) -> int:
        """Bytes that are read of image i; 0 where its file cannot be looked at, as reading it will tell."""
        if split_row(self.names[i])[1] is not None:
            return math.prod(self.shape) * np.dtype(self.dtype).itemsize
        try:
            return os.stat(self._path(i)).st_size
        except OSError:
            return 0

    def _read(self, reader: ArrayReader, i: int) -> Image:
        path = self._path(i)
        if split_row(path)[1] is not None:
            return decode_array(reader.read(path), path, shape=self.shape, dtype=self.dtype)
        try:
            with open(path, "rb", buffering=0) as file:
                data = file.readall()
        except OSError as error:
            raise BootlightError(f"{path}: {error.strerror or error}") from error
        return decode(data, path, image_size=self.shape[1:], channels=self.shape[0])

    def _path(self, i: int) -> str:
        return f"{self.folder.samples}/{self.names[i]}"  # joining paths would cost as much as opening the files


def drawn_source(where: str, folder: GenerationFolder, shape: Shape) -> DrawnSource:
    """The images of a complete samples folder as everyone will see them: rounded where they are pictures.

    Args:
        where: how messages call them.
        folder: of the generation, as seen from the folder of images.
        shape: (C, H, W) to which pictures are brought, and which numbers must have.

    Raises:
        BootlightError: one is missing or was changed, or numbers are of another shape.
    """
    drawn: Sequence[DrawnImage] = read_drawn(folder)
    channels, height, width = shape
    key = hashlib.sha256(check_drawn(folder, drawn) + str((height, width, channels)).encode()).hexdigest()
    return DrawnSource(where, folder, tuple(row.file_name for row in drawn), shape, key, _dtype(folder, drawn, shape))


def _dtype(folder: GenerationFolder, drawn: Sequence[DrawnImage], shape: Shape) -> str:
    """The type of the numbers; uint8 of pictures."""
    files = dict.fromkeys(file for file, row in (split_row(image.file_name) for image in drawn) if row is not None)
    with open_arrays() as reader:
        for file in files:
            header = reader.header(f"{folder.samples}/{file}")
            if header.shape != shape:
                raise BootlightError(f"{folder.samples}/{file} has images {header.shape}, not {shape}; {how_to_redraw(folder)}")
    return header.dtype if files else "uint8"
