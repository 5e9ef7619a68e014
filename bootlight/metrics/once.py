"""What several metrics, or all generations of a run, need of the same features: computed once."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

FORMAT = 1  # to be raised when what is kept in files would be another for the same features
SEEN = 6  # sets of features that are held so that their hashes are known: both sides of a comparison, and what was before
Answer = TypeVar("Answer")


Compute = Callable[[], dict[str, Tensor]]
Keep = Callable[[str, Compute], dict[str, Tensor]]  # answers from what is kept under a key, or computes and keeps it


class _Shelf(NamedTuple):
    answers: dict[str, Any]
    keep: Keep | None
    seen: dict[tuple[Any, ...], tuple[Tensor, str]]  # hashes by place in memory, with what keeps the place taken


_SHELF: ContextVar[_Shelf | None] = ContextVar("shelf", default=None)


@contextmanager
def once(keep: Keep | None = None) -> Iterator[None]:
    """Inside, `shared` and `kept` compute nothing twice; outside they only compute. A block within another one shares with it.

    Args:
        keep: lets what is `kept` be found by later processes, as `feature_cache.KeptIn` does; None = nothing is.
    """
    outer = _SHELF.get()
    if outer is not None and keep in (None, outer.keep):
        yield
        return
    token = _SHELF.set(_Shelf({}, keep, {}))
    try:
        yield
    finally:
        _SHELF.reset(token)


def sharing() -> bool:
    """Whether this is inside `once`: then it pays to compute what others are about to ask for."""
    return _SHELF.get() is not None


def shared(what: str, sets: Sequence[Tensor], compute: Callable[[], Answer]) -> Answer:
    """An answer that depends on nothing but `what` it is and these sets of features (N, D); forgotten at the end of `once`."""
    shelf = _SHELF.get()
    if shelf is None:
        return compute()
    key = " ".join([what, *(_digest(features, shelf) for features in sets)])
    if key not in shelf.answers:
        shelf.answers[key] = compute()
    return cast(Answer, shelf.answers[key])


def kept(what: str, features: Tensor, compute: Compute) -> dict[str, Tensor]:
    """As `shared`, and kept for the next process where `once` has been told how; then the answer is on the CPU.

    For references only: files stay. See `feature_cache` for what may become of them.

    Raises:
        BootlightError: a file cannot be read or written.
    """

    def find() -> dict[str, Tensor]:
        shelf = _SHELF.get()
        if shelf is None or shelf.keep is None:
            return compute()
        return shelf.keep(_key(what, [features]), compute)

    return shared(what, [features], find)


def _digest(features: Tensor, shelf: _Shelf) -> str:
    """SHA-256 of features, computed once for a tensor that nobody has written to since."""
    if features.is_inference():  # which do not count what is written to them
        return _key("", [features])
    place = (features.data_ptr(), features.shape, features.stride(), features.dtype, features.device, features._version)
    if place not in shelf.seen:
        if len(shelf.seen) == SEEN:
            del shelf.seen[next(iter(shelf.seen))]
        shelf.seen[place] = features, _key("", [features])
    return shelf.seen[place][1]


def _key(what: str, sets: Sequence[Tensor]) -> str:
    """SHA-256 over name, types, shapes and bytes."""
    digest = hashlib.sha256(f"{FORMAT} {what}\n".encode())
    for features in sets:
        values = features.detach().cpu().contiguous()
        digest.update(f"{values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(cast(np.ndarray[Any, Any], values.flatten().view(torch.uint8).numpy()).data)
    return digest.hexdigest()
