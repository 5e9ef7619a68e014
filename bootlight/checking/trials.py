"""Trials of a plug-in: a class for each kind, a method for each thing that must hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from inspect import isfunction
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from bootlight.checking.blame import blamed
from bootlight.checking.finding import Finding
from bootlight.errors import BootlightError
from bootlight.rng import numpy_rng, seed_everywhere, torch_rng

SEEDS = (11, 5, 2**62, 7)  # of images
T = TypeVar("T")


class Wrong(Exception):
    """A promise that is not kept; the message is a sentence."""


class NotHere(Exception):
    """Nothing to try; the message says why."""


class Trials:
    """What a kind of plug-in promises.

    Public methods are tried in their order; the first line of their docstrings says what must hold, and `Wrong` what does not.
    A text that is returned is a note.

    Args:
        build: makes a fresh plug-in, always the same one.
    """

    kind: ClassVar[type]
    name: ClassVar[str]  # of the kind, as a user calls it
    filled: ClassVar[Mapping[str, Any]] = {}  # arguments of the constructor that a plug-in of this kind gets from elsewhere

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self.thing = self._fresh()

    @classmethod
    def _takes(cls, thing: type) -> bool:
        """Whether a class is of this kind."""
        return issubclass(thing, cls.kind)

    @classmethod
    def _filled(cls, thing: type) -> Mapping[str, Any]:
        """Arguments that its constructor gets from elsewhere."""
        return cls.filled

    def _fresh(self, number: int = 0) -> Any:
        """A fresh plug-in, with the same weights each time; of another number with others."""
        seed_everywhere("check", "fresh", number)
        return self._build()

    def _at_identity(self) -> Any:
        """A fresh one with the settings by which it changes nothing, those that its own class names.

        Raises:
            NotHere: it names none.
        """
        if vars(type(self.thing)).get("identity") is None:  # what a base says need not hold for what is made of it
            raise NotHere("it names none")
        found = self._fresh()
        for name, value in found.identity.items():
            demand(hasattr(found, name), f"identity names {name}, which is none of its attributes")
            setattr(found, name, value)
        return found

    def _findings(self) -> Iterator[Finding]:
        """One for each trial."""
        functions = [name for base in reversed(type(self).__mro__) for name, value in vars(base).items() if isfunction(value)]
        told: set[str] = set()
        try:
            for name in dict.fromkeys(name for name in functions if not name.startswith("_")):
                method = getattr(self, name)
                found = self._tried(name, method.__doc__.strip().splitlines()[0].rstrip("."), method)
                yield found._replace(wrong="", note="see above") if found.wrong in told else found
                told |= {found.wrong} - {""}
        finally:
            self._close()

    def _close(self) -> None:
        """Leave nothing behind."""

    def _tried(self, key: str, tried: str, method: Callable[[], str | None]) -> Finding:
        seed_everywhere("check", key)
        try:
            return Finding(key, tried, note=method() or "")
        except NotHere as reason:
            return Finding(key, tried, note=str(reason), held=False)
        except (Wrong, BootlightError) as reason:
            return Finding(key, tried, str(reason), held=False)
        except (Exception, SystemExit) as error:  # whatever a plug-in does, the other trials must be made
            return Finding(key, tried, f"it raises {blamed(error, self.thing)}", held=False)


def demand(holds: bool | Tensor, sentence: str) -> None:
    """Raise `Wrong` unless it holds.

    Raises:
        Wrong: with the sentence.
    """
    if not holds:
        raise Wrong(sentence)


def tensor(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """The same, if it is a finite tensor of that shape.

    Raises:
        Wrong: it is not.
    """
    if not isinstance(value, Tensor):
        raise Wrong(f"{what} is {_article(value)}; it must be a tensor {shape}")
    demand(tuple(value.shape) == shape, f"{what} is {tuple(value.shape)}; it must be {shape}")
    count = int((~torch.isfinite(value)).sum())
    demand(count == 0, f"{what} has {count} numbers of {value.numel()} that are not finite (NaN or infinity)")
    return value.detach()


def _article(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def near(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """Whether two tensors agree, relative to the largest number where that is above 1."""
    if found.shape != wanted.shape:
        return False
    found, wanted = found.detach(), wanted.detach()
    size = max(1.0, float(wanted.abs().max())) if wanted.numel() else 1.0
    return bool(((found.double() - wanted.double()).abs() <= tolerance * size).all())


def farthest(found: Tensor, wanted: Tensor) -> str:
    """The largest difference, for a sentence."""
    return f"{float((found.double() - wanted.double()).abs().max()):.3g}"


def repeated(call: Callable[[], T], same: Callable[[T, T], bool], method: str, cure: str) -> T:
    """What a call answers, which must not depend on the global random generators.

    Raises:
        Wrong: two calls differ; `cure` says where randomness comes from.
    """
    seed_everywhere("check", "once")
    once = call()
    seed_everywhere("check", "again")
    demand(same(once, call()), f"two calls of {method} with the same arguments differ; {cure}")
    return once


def noise(*shape: int, name: str = "noise", dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers, the same each time."""
    return torch.randn(*shape, generator=torch_rng("check", name), dtype=torch.float64).to(dtype)


def uniform(*shape: int, name: str = "uniform") -> Tensor:
    """Numbers in [0, 1), the same each time."""
    return torch.from_numpy(numpy_rng("check", name).random(shape, dtype="float32"))


def readable(protocol: Any, method: str) -> None:
    """Refuse a protocol that cannot be written down.

    Raises:
        Wrong: it is no dictionary, or JSON has no such values.
    """
    demand(isinstance(protocol, dict), f"{method} answers {_article(protocol)}; it must be a dictionary")
    try:
        json.dumps(protocol)
    except (TypeError, ValueError) as error:
        raise Wrong(f"{method} cannot be written as JSON ({error}); give numbers, texts, lists and dictionaries") from error
