"""Randomness as a function of counters: (seed, generation, step or image index), never of a state that must be saved.

Every stream has a name made of counters, of which SHA-256 makes 128 bits of key. Numbers for images and batches come from the
counter-based generator Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), which is integer
arithmetic: bits and uniform numbers are the same on every device. Normal numbers are computed from them in float64 and rounded
to float32, so devices differ in about one of 10^8, by its last bit.
"""

import hashlib
import operator
import random
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Counter = int | str
Word = Tensor | int  # of 32 bits, in int64
_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)  # Salmon et al. 2011, table 2
_WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key after each round: golden ratio, sqrt(3) - 1
_ROUNDS = 10
_AT_ONCE = 2**20  # numbers; each takes some 50 bytes on the way
_MT_HEADER, _MT_WORDS = 24, 624  # bytes before, and words of, the Mersenne twister in the state of torch's CPU generator


def derive_key(*counters: Counter) -> int:
    """Hash counters and stream names to a key in [0, 2^128): equal counters, equal key; else independent."""
    return int.from_bytes(_digest(counters)[:16], "big")


def derive_seed(*counters: Counter) -> int:
    """The same in [0, 2^63), for seeds that are written down: an int64 is what every reader of JSON holds exactly."""
    return int.from_bytes(_digest(counters)[:8], "big") >> 1


def _digest(counters: tuple[Counter, ...]) -> bytes:
    plain = tuple(c if isinstance(c, str) else operator.index(c) for c in counters)  # numpy's 5 is 5 too
    return hashlib.sha256(repr(plain).encode()).digest()


def numpy_rng(*counters: Counter) -> np.random.Generator:
    """A numpy generator for the stream named by `counters`."""
    return np.random.default_rng(derive_key(*counters))


def torch_rng(*counters: Counter, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device` for the stream named by `counters`; its numbers differ between kinds of devices."""
    key = derive_key(*counters)
    generator = torch.Generator(device=device).manual_seed(key & (2**64 - 1))
    if generator.device.type == "cpu":
        generator.set_state(_mersenne_state(key))
    return generator


def seed_torch(*counters: Counter) -> None:
    """Seed the global generators of torch, on every device: dropout and fresh weights draw from them."""
    key = derive_key(*counters)
    if torch.accelerator.is_available():  # else torch would note a stack trace for a CUDA that never comes
        torch.manual_seed(key & (2**64 - 1))
    torch.set_rng_state(_mersenne_state(key))


def seed_everywhere(*counters: Counter) -> None:
    """Seed the global generators of torch, numpy and Python."""
    key = derive_key(*counters)
    random.seed(key)
    np.random.set_state(("MT19937", _twister_words(key), _MT_WORDS, 0, 0.0))
    seed_torch(*counters)


def _twister_words(key: int) -> NDArray[np.uint32]:
    """A state of the Mersenne twister that depends on every bit of a key; seeds of 32 bits would repeat."""
    return np.random.Philox(key=key).random_raw(_MT_WORDS // 2).astype("<u8").view("<u4")


def _mersenne_state(key: int) -> Tensor:
    """State of torch's CPU generator, of whose seed `manual_seed` keeps the low 32 bits."""
    state = torch.Generator().get_state()
    words = state.numpy()[_MT_HEADER : _MT_HEADER + 8 * _MT_WORDS].view(np.uint64)  # each holds 32 bits
    words[:] = _twister_words(key)
    return state


def philox(counter: Sequence[Word], key: Sequence[Word]) -> tuple[Word, Word, Word, Word]:
    """Philox4x32-10: four random words for each counter.

    Args:
        counter: four words, tensors int64 that broadcast, or integers, in [0, 2^32).
        key: two such words.

    Returns:
        Four words in [0, 2^32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]  # 64 bits: what of a product is beyond int64 wraps to its sign
        c0, c1, c2, c3 = (p1 >> 32 & _MASK) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32 & _MASK) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def split_key(key: int) -> tuple[int, int, int, int]:
    """The four words of a key of 128 bits: two of Philox's key, two of its counter."""
    return key >> 96, key >> 64 & _MASK, key >> 32 & _MASK, key & _MASK


def by_name(key: int, ids: Tensor) -> tuple[tuple[Word, Word, Word, Word], Tensor]:
    """Key and rows of `random_words` and `normal_rows` for images by their names, whatever their batch.

    Args:
        key: of 128 bits.
        ids: int64 (R,), from 0.
    """
    k0, k1, c2, c3 = split_key(key)
    rows = ids[:, None]
    return (k0, k1, c2, c3 ^ (rows >> 32)), rows & _MASK


def random_words(key: Sequence[Word], rows: Tensor, count: int) -> Tensor:
    """Random words of some rows of a stream.

    Args:
        key: four words, integers or tensors int64 (R, 1): one stream for all rows, or one for each.
        rows: int64 (R, 1), in [0, 2^32): which row of its stream.
        count: words in a row, up to 2^34.

    Returns:
        Tensor int64 (R, count) on the device of `rows`, in [0, 2^32); a longer row begins with a shorter one.
    """
    k0, k1, c2, c3 = key
    blocks = torch.arange(-(-count // 4), device=rows.device)
    words = [torch.as_tensor(word) for word in philox((blocks, rows, c2, c3), (k0, k1))]
    return torch.stack(words, -1).flatten(1)[:, :count]


def to_normal(words: Tensor) -> Tensor:
    """Standard normal numbers, float32, by the inverse of their distribution function; within 6.34 of 0."""
    # Not erfinv, whose vector instructions round a number by its place in memory.
    return torch.special.ndtri((words.double() + 0.5) * 2.0**-32).float()


def to_uniform(words: Tensor) -> Tensor:
    """Uniform numbers in [0, 1), float32: multiples of 2^-24, as many as it can tell apart there."""
    return (words >> 8).float() * 2.0**-24


def normal_rows(key: Sequence[Word], rows: Tensor, *shape: int) -> Tensor:
    """Standard normal numbers (R, *shape), float32, of some rows of a stream; arguments as in `random_words`."""
    count = int(np.prod(shape, dtype=np.int64))
    out = torch.empty(len(rows), count, device=rows.device)
    step = max(1, _AT_ONCE // max(1, count))
    for start in range(0, len(rows), step):
        here = slice(start, start + step)
        part = [word[here] if isinstance(word, Tensor) else word for word in key]
        out[here] = to_normal(random_words(part, rows[here], count))
    return out.reshape(len(rows), *shape)


class NoiseStreams:
    """One independent stream of normal noise for each image, so that image i does not depend on its batch.

    Args:
        seeds: one integer for each image.
        device: where the noise is made and used.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._made_on = torch.device("cpu") if self.device.type == "mps" else self.device  # which has no float64
        words = torch.tensor([split_key(derive_key("image", seed)) for seed in seeds], dtype=torch.int64).reshape(-1, 4)
        words = words.to(self._made_on, non_blocking=True)
        self._key = [words[:, i : i + 1] for i in range(4)]
        self._drawn = 0

    def normal(self, *shape: int) -> Tensor:
        """The next standard normal draw of each stream, shape (B, *shape), float32."""
        rows = torch.full_like(self._key[0], self._drawn)
        self._drawn += 1
        return normal_rows(self._key, rows, *shape).to(self.device, non_blocking=True)
