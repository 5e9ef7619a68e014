"""Pictures as they lie in a folder or zip, each at its own size."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bootlight.data.layout import Layout
from bootlight.data.reader import ImageSet, open_images
from bootlight.data.reading import SAFE, Reading
from bootlight.data.store_passes import over_images
from bootlight.evaluation.sets.streamed import Image, in_batches
from bootlight.io.picture_header import Header
from bootlight.io.pictures import decode_stored

Decode = Callable[[bytes, str], NDArray[np.uint8]]  # encoded picture and its name -> array (H, W, 3)


@dataclass(frozen=True)
class FileSource:
    """Images as they lie in a folder or zip, at their own sizes, decoded to RGB each time they are asked for.

    Which pixels those are, `decode` says: by default the ones that FID's programs read.

    Args:
        where: how messages call it.
        key: hash of files, and of names without the folders that hold all of them.
        names: of the images.
        root: folder or zip.
        split: of the root, or None.
        decode: makes an array (H, W, 3) of an encoded picture and its name.
        headers: of the files.
        reading: whether links are followed, and how many bad pictures may be left out.
        layout: of the folder or zip.
        dtype: of the images; of pictures always uint8.
    """

    where: str
    key: str
    names: tuple[str, ...]
    root: Path
    split: str | None
    decode: Decode = decode_stored
    headers: Counter[Header] = field(default_factory=Counter, repr=False, compare=False)
    reading: Reading = SAFE
    layout: Layout | None = field(default=None, repr=False, compare=False)
    dtype: str = "uint8"

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """See `ImageSource`; pictures whose header cannot be read are left out."""
        sizes: Counter[tuple[int, int]] = Counter()
        for header, count in self.headers.items():
            sizes[header.width, header.height] += count
        return sizes

    def batches(self, size: int) -> Iterator[Tensor]:
        """See `ImageSource`."""
        with self._open() as images:

            def read(i: int) -> Image:
                return self.decode(images.read(i), images.names[i])

            yield from in_batches(over_images(images, read, None), size)

    def pick(self, indices: list[int]) -> list[Image]:
        """See `ImageSource`."""
        with self._open() as images:
            return [self.decode(images.read(i), images.names[i]) for i in indices]

    def labels(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Class of each image, int64 (N,), -1 = none; and the names of the classes."""
        with self._open() as images:
            number = {name: i for i, name in enumerate(images.class_names)}
            of_images = [-1 if label is None else number[label] for label in images.labels]
            return np.array(of_images, np.int64), images.class_names

    def _open(self) -> ImageSet:
        """The files, without those that were left out when the source was made."""
        images = open_images(self.root, self.split, self.reading)
        if len(images) == len(self.names):
            return images
        names = set(self.names)
        return images.chosen([i for i, name in enumerate(images.names) if name in names])
