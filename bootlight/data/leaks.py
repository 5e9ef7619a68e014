"""Held-out images that are trained on: the same picture twice, which flatters every score on held-out images."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bootlight.data.mixing import Source

CHUNK = 4096


class Leak(NamedTuple):
    """Held-out images with the very pixels of a training image, at the size of training.

    Attributes:
        number: of them.
        held_out: name of the first.
        train: name of a training image that it equals.
    """

    number: int
    held_out: str
    train: str


def find_leak(train: Source, held_out: Source) -> Leak | None:
    """Compare pixels, of most images a few rows only: 100,000 take a second.

    Args:
        train: images that may be trained on.
        held_out: images of the same shape.

    Returns:
        None where all held-out images are others.
    """
    marks = [list(_marks(source)) for source in (train, held_out)]
    both = set(marks[0]) & set(marks[1])
    if not both:
        return None
    trained = {_digest(train, i): i for i in reversed(range(len(train))) if marks[0][i] in both}
    equal = [(i, trained.get(_digest(held_out, i))) for i in range(len(held_out)) if marks[1][i] in both]
    found = [(i, j) for i, j in equal if j is not None]
    if not found:
        return None
    first, other = found[0]
    return Leak(len(found), _name(held_out, first), _name(train, other))


def _marks(source: Source) -> Iterator[bytes]:
    """Of each image a hash of two rows, which are little of a large image and tell nearly all of them apart."""
    images = source.store.images
    height = images.shape[1]
    for start in range(0, len(source), CHUNK):
        chosen = source.indices[start : start + CHUNK]
        rows = np.stack([images[:, row][chosen] for row in (height // 3, 2 * height // 3)], 1)
        for each in rows:
            yield hashlib.blake2b(each.data, digest_size=16).digest()


def _digest(source: Source, i: int) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(source.store.images[source.indices[i]]).data).digest()


def _name(source: Source, i: int) -> str:
    return source.store.names[source.indices[i]]
