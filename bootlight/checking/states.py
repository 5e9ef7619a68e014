"""States of two modules, compared bit for bit."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import Metric


def global_generators() -> tuple[Any, ...]:
    """States of the global random generators."""
    return torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)


def kept(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state as it is now: tensors of `state_dict` go on changing."""
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items()}


def different(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names in two states whose values are not equal."""
    return [name for name in one.keys() | other.keys() if not equal(one.get(name), other.get(name))]


def equal(one: Any, other: Any) -> bool:
    """Whether two values are equal bit for bit; of what is no number, text, tensor, random generator nor made of them, yes."""
    one, other = _state_of(one), _state_of(other)
    if isinstance(one, Tensor | np.ndarray) or isinstance(other, Tensor | np.ndarray):
        one, other = (value.detach().cpu().numpy() if isinstance(value, Tensor) else value for value in (one, other))
        kept = isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
        return kept and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    plain = isinstance(one, bool | int | float | str | None) and isinstance(other, bool | int | float | str | None)
    return one == other or (one != one and other != other) if plain else True


def _state_of(value: Any) -> Any:
    """That of a random generator; any other value itself."""
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    return value.getstate() if isinstance(value, random.Random) else value


def other_attributes(found: nn.Module, wanted: nn.Module, but: tuple[str, ...] = ()) -> list[str]:
    """Names of attributes that differ between two modules of a kind; without those of torch, Lightning and metrics.

    Args:
        found: of which some are missing.
        wanted: as they should be.
        but: beginnings of names of modules that do not count.
    """
    usual = vars(LightningModule()).keys() | {"ema"}
    others = dict(found.named_modules())
    names = []
    for place, module in wanted.named_modules():
        if f"{place}.".startswith(but or ("\0",)) or place not in others or isinstance(module, Metric):
            continue
        cached = {
            name for base in type(module).__mro__ for name, value in vars(base).items() if isinstance(value, cached_property)
        }
        mine = {name: value for name, value in vars(module).items() if name not in usual | cached}
        names += [f"{place}.{name}".lstrip(".") for name in different(mine, {n: vars(others[place]).get(n) for n in mine})]
    return names


def spoken(names: Iterable[str]) -> str:
    """The first of some attributes, in words."""
    return ", ".join(f"self.{name}" for name in sorted(names)[:3])
