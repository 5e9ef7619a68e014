"""Stores of images that are computed, batch after batch: few are kept in memory, many in a file of this process."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from bootlight.data.contents import content_key
from bootlight.data.store import Store, store_from_arrays
from bootlight.data.store_folder import mapped
from bootlight.errors import BootlightError
from bootlight.io.cache_folder import temporary_cache

if TYPE_CHECKING:
    from numpy.typing import NDArray

IN_MEMORY = 2**26  # bytes of images; more are written to the disk and mapped
_files = count()
_made: dict[tuple[object, ...], Store] = {}


def made_once(key: tuple[object, ...], make: Callable[[], Store]) -> Store:
    """What `make` makes, or has made before under a key that says all it depends on: every generation asks for the same."""
    if key not in _made:
        _made[key] = make()
    return _made[key]


def store_of_batches(
    batches: Iterable[NDArray[Any]], like: Store, dtype: str, size: tuple[int, int, int] | None = None
) -> Store:
    """A store of as many images as another, of their names and labels.

    Its key is that of `store_from_arrays`, so that nothing depends on where the images are kept. A file of them lies in the
    system's folder for temporary files ($TMPDIR), and goes with the process.

    Args:
        batches: of images (n, H, W, C), in the order of `like`.
        like: has the names and labels.
        dtype: of the images, uint8 or float32.
        size: (H, W, C) of the images; that of `like` if left out.

    Raises:
        BootlightError: there is no room for them.
    """
    shape = (len(like.labels), *(size or like.images.shape[1:]))
    if math.prod(shape) * np.dtype(dtype).itemsize <= IN_MEMORY:
        images = np.concatenate([np.empty((0, *shape[1:]), dtype), *batches])
        made = store_from_arrays(images, like.labels, like.class_names, like.names)
        return replace(made, skipped=like.skipped)
    kind = np.dtype(dtype).newbyteorder("<")
    path = temporary_cache() / f"made-{next(_files)}.npy"
    digests: list[bytes] = []
    try:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": kind.str, "fortran_order": False, "shape": shape})
            for images in batches:
                file.write(np.ascontiguousarray(images, kind).data)
                rows = images if dtype == "uint8" else images.transpose(0, 3, 1, 2)  # numbers lie so in .npy files
                digests += [hashlib.sha256(np.ascontiguousarray(row).data).digest() for row in rows]
    except OSError as error:
        raise BootlightError(
            f"{path}: no room for images that are computed ({error.strerror or error}); set TMPDIR to a folder that has some"
        ) from error
    texts = [None if label < 0 else like.class_names[label] for label in like.labels.tolist()]
    marks = () if dtype == "uint8" else (dtype,)
    key = content_key((*shape[1:], *marks), like.class_names, like.names, texts, digests)
    return Store(mapped(path), like.labels, like.class_names, like.names, key, like.skipped)
