"""What several metrics, or all generations of a run, need of the same features: computed once."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from bootlight.metrics.features.feature_cache import cached_features

FORMAT = 1  # to be raised when what is kept in files would be another for the same features
Answer = TypeVar("Answer")


class _Shelf(NamedTuple):
    answers: dict[str, Any]
    folder: Path | None


_SHELF: ContextVar[_Shelf | None] = ContextVar("shelf", default=None)


@contextmanager
def once(folder: Path | None = None) -> Iterator[None]:
    """Inside, `shared` and `kept` compute nothing twice; outside they only compute. A block within another one shares with it.

    Args:
        folder: where what is `kept` is also written, in its folder `features`; None = nowhere.
    """
    outer = _SHELF.get()
    if outer is not None and folder in (None, outer.folder):
        yield
        return
    token = _SHELF.set(_Shelf({}, folder))
    try:
        yield
    finally:
        _SHELF.reset(token)


def shared(what: str, sets: Sequence[Tensor], compute: Callable[[], Answer]) -> Answer:
    """An answer that depends on nothing but `what` it is and these sets of features (N, D); forgotten at the end of `once`."""
    shelf = _SHELF.get()
    if shelf is None:
        return compute()
    key = _key(what, sets)
    if key not in shelf.answers:
        shelf.answers[key] = compute()
    return cast(Answer, shelf.answers[key])


def kept(what: str, features: Tensor, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """As `shared`, and where `once` has a folder a file there, for the next process; then the answer is on the CPU.

    For references only: files stay. See `feature_cache` for what may become of them.

    Raises:
        BootlightError: a file cannot be read or written.
    """

    def find() -> dict[str, Tensor]:
        shelf = _SHELF.get()
        if shelf is None or shelf.folder is None:
            return compute()
        return cached_features(_key(what, [features]), compute, shelf.folder)

    return shared(what, [features], find)


def _key(what: str, sets: Sequence[Tensor]) -> str:
    """SHA-256 over name, types, shapes and bytes."""
    digest = hashlib.sha256(f"{FORMAT} {what}\n".encode())
    for features in sets:
        values = features.detach().cpu().contiguous()
        digest.update(f"{values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(cast(np.ndarray[Any, Any], values.flatten().view(torch.uint8).numpy()).data)
    return digest.hexdigest()
