"""Numbers that stand for images, the same in every run that reads the same images."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bootlight.rng import derive_key


def image_ids(key: str, items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers in [0, 2^63) that stand for images of a store: equal ones for equal key and position, else as random ones.

    The mixing function of SplitMix64 (Steele et al. 2014), a bijection, over a key of the store's: within a store no two are
    equal before the last bit is dropped.
    """
    words = items.astype(np.uint64)
    words += 1
    words *= 0x9E3779B97F4A7C15
    words += _id_key(key)
    words ^= words >> 30
    words *= 0xBF58476D1CE4E5B9
    words ^= words >> 27
    words *= 0x94D049BB133111EB
    words ^= words >> 31
    words >>= 1
    return words.view(np.int64)


@lru_cache(maxsize=64)
def _id_key(key: str) -> int:
    return derive_key("image ids", key) & (2**64 - 1)
