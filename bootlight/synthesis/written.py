"""The images of a folder on the disk: each is a PNG, or, of what a PNG cannot hold, a row of a `.npy` file.

A `.npy` file has what one network call has drawn, whole or not at all: what was being written in a kill is missing and drawn
anew, as a picture is. Its name says which images it has: the first, the last and, where it is not 1, the step between them.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.io.arrays import decode_array, encode_array, open_arrays, row_name
from bootlight.io.atomic import write_bytes
from bootlight.io.pictures import decode, to_arrays, to_float
from bootlight.io.shape import Shape, is_picture
from bootlight.runs.folder import IMAGES_PER_FOLDER, GenerationFolder
from bootlight.synthesis.folder import write_image

Images = NDArray[np.uint8] | NDArray[np.float32]
_ROWS = re.compile(r"(\d+)-(\d+)(?:x(\d+))?\.npy")


@dataclass(frozen=True)
class Written:
    """Where images are, and of which shape and type.

    Args:
        folder: of the generation, as seen from the folder of images.
        shape: (C, H, W).
        dtype: of the data: uint8 or float32.
    """

    folder: GenerationFolder
    shape: Shape
    dtype: str

    @classmethod
    def by(cls, generator: GeneratorModule, folder: GenerationFolder) -> "Written":
        """Images of a generator."""
        return cls(folder, generator.image_shape, generator.image_dtype)

    @property
    def is_picture(self) -> bool:
        """Whether each image is a PNG."""
        return is_picture(self.shape, self.dtype)

    def has(self, numbers: Sequence[int]) -> bool:
        """Whether all images of one network call are there, by their numbers."""
        if self.is_picture:
            return all(self.folder.sample_file(i).exists() for i in numbers)
        if all((self.folder.samples / name).exists() for name, _ in files_of(numbers)):
            return True
        return all(i in self._found for i in numbers)  # in files of another size of a batch

    @cached_property
    def _found(self) -> dict[int, str]:
        """What was there at the first look."""
        return rows_on_disk(self.folder)

    def jobs(self, numbers: Sequence[int], images: Tensor) -> Iterator[tuple[Sequence[int], Callable[[], str]]]:
        """What writes drawn images: which of them, and a call that answers with the SHA-256 of the file.

        Args:
            numbers: of the images in the folder.
            images: float (B, C, H, W).

        Raises:
            BootlightError: the network diverged.
        """
        arrays = to_arrays(images) if self.dtype == "uint8" else as_numbers(images)
        if self.is_picture:
            for i, image in zip(numbers, arrays, strict=True):
                yield [i], partial(write_image, self.folder.sample_file(i), image)
            return
        rows: Any = arrays.transpose(0, 3, 1, 2)
        order = np.argsort(np.array(numbers), kind="stable")
        start = 0
        for name, own in files_of(numbers):
            part = rows[order[start : start + len(own)]]
            start += len(own)
            yield own, partial(_write, self.folder.samples / name, part)

    def read(self, numbers: Sequence[int]) -> Tensor:
        """Images float32 (n, C, H, W) of a folder that need not be complete, by number: 8 bits as [-1, 1], numbers as they are.

        Raises:
            BootlightError: one is missing or damaged.
        """
        if self.is_picture:
            channels, *size = self.shape
            files = [self.folder.sample_file(number) for number in numbers]
            found: list[Images] = [decode(f.read_bytes(), str(f), image_size=size, channels=channels) for f in files]
        else:
            found = self._rows(numbers)
        return to_float(torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous())

    def names(self, count: int) -> list[str] | None:
        """Names of images 0 to `count` - 1 of a complete folder, relative to it; None where each is a PNG of its own.

        Raises:
            BootlightError: one is missing.
        """
        if self.is_picture:
            return None
        found = rows_on_disk(self.folder)
        missing = next((i for i in range(count) if i not in found), None)
        if missing is not None:
            raise BootlightError(f"{self.folder.samples} has no image {missing}; run the same command again")
        return [found[i] for i in range(count)]

    def _rows(self, numbers: Sequence[int]) -> list[Images]:
        names = rows_on_disk(self.folder)
        try:
            paths = [f"{self.folder.samples}/{names[i]}" for i in numbers]
        except KeyError as error:
            raise BootlightError(f"{self.folder.samples} has no image {error}; run the same command again") from error
        with open_arrays() as reader:
            return [decode_array(reader.read(path), path, shape=self.shape, dtype=self.dtype) for path in paths]


def as_numbers(images: Tensor) -> NDArray[np.float32]:
    """Float images (B, C, H, W) as arrays (B, H, W, C) float32, nothing clipped or rounded.

    Raises:
        BootlightError: a number is NaN or infinite.
    """
    if not torch.isfinite(images).all():
        raise BootlightError("the generator drew NaN or infinite numbers: its training diverged; lower the learning rate")
    return images.float().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _write(path: Path, rows: Images) -> str:
    data = encode_array(rows)
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def files_of(numbers: Sequence[int]) -> Iterator[tuple[str, range]]:
    """Names of the `.npy` files of one network call, relative to the samples folder, and the images of each in order.

    One, unless the numbers are not evenly spaced: then as many as it takes.
    """
    left = sorted(numbers)
    while left:
        step = left[1] - left[0] if len(left) > 1 else 1
        count = 1
        while count < len(left) and left[count] - left[count - 1] == step:
            count += 1
        own = range(left[0], left[count - 1] + 1, step)
        suffix = "" if step == 1 else f"x{step}"
        yield f"{own[0] // IMAGES_PER_FOLDER:05d}/{own[0]:06d}-{own[-1]:06d}{suffix}.npy", own
        left = left[count:]


def rows_on_disk(folder: GenerationFolder) -> dict[int, str]:
    """Names of the images that `.npy` files have, by number; of several files that have one, always the same counts."""
    found: dict[int, str] = {}
    for path in sorted(folder.samples.glob("*/*.npy")):
        match = _ROWS.fullmatch(path.name)
        if match:
            own = range(int(match[1]), int(match[2]) + 1, int(match[3] or 1) or 1)
            if own.stop - own.start > own.step * path.stat().st_size:  # no name of ours: each image has a byte or more
                continue
            for row, i in enumerate(own):
                found.setdefault(i, row_name(f"{path.parent.name}/{path.name}", row))
    return found
