"""Decoding all images of a set into the files of a store."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from bootlight.data.store_folder import sums
from bootlight.data.store_passes import over_images
from bootlight.io.arrays import decode_array
from bootlight.io.atomic import atomic_write, write_json
from bootlight.io.pictures import decode

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bootlight.data.reader import ImageSet
    from bootlight.io.shape import Shape


def write_store(images: ImageSet, shape: Shape, description: str, folder: Path) -> None:
    """Fill a folder; `store.json` is written last.

    Args:
        images: that can be read.
        shape: (C, H, W) of the decoded ones.
        description: of the progress bar.
        folder: an empty one.

    Raises:
        BadPictures: some cannot be decoded.
    """
    positions = {name: i for i, name in enumerate(images.class_names)}
    labels = np.array([-1 if label is None else positions[label] for label in images.labels], dtype=np.int64)
    _write_images(folder / "images.npy", images, shape, description)
    with atomic_write(folder / "labels.npy") as file:
        np.save(file, labels)
    channels, height, width = shape
    about = {"shape": [len(images), height, width, channels], "class_names": images.class_names, "names": images.known_as}
    write_json(folder / "store.json", about | {"sha256": sums(folder)})


def _write_images(path: Path, images: ImageSet, shape: Shape, description: str) -> None:
    """Decode into a .npy file. Not through a memory map: on a full disk that is a bus error instead of an exception."""
    channels, height, width = shape
    kind = np.dtype("u1" if images.numbers is None else images.numbers.dtype).newbyteorder("<")
    header = {"descr": kind.str, "fortran_order": False, "shape": (len(images), height, width, channels)}

    def decode_one(i: int) -> NDArray[np.uint8] | NDArray[np.float32]:
        data, name = images.read(i), images.names[i]
        if images.numbers is not None:
            return decode_array(data, name, shape=shape, dtype=images.numbers.dtype)
        return decode(data, name, image_size=(height, width), channels=channels)

    # Pillow's notes on odd metadata. Here and not in `decode`, because filters are shared by all threads.
    with warnings.catch_warnings(), atomic_write(path) as file:
        warnings.filterwarnings("ignore", module="PIL")
        np.lib.format.write_array_header_1_0(file, header)
        for part in over_images(images, decode_one, description):
            file.write(np.stack(part))
