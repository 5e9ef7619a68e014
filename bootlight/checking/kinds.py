"""The kinds of plug-ins, and how one is tried."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch

from bootlight.checking.blame import blamed
from bootlight.checking.corruptions import CorruptionTrials, ViewTrials
from bootlight.checking.denoisers import CompositionTrials, DenoiserTrials, ObjectiveTrials
from bootlight.checking.finding import Finding
from bootlight.checking.generator import GeneratorTrials
from bootlight.checking.head_weights import HeadWeightsTrials
from bootlight.checking.judged import CuratorTrials, RewardTrials
from bootlight.checking.levels import PredictionTrials, WeightingTrials
from bootlight.checking.metric import MetricTrials
from bootlight.checking.network import NetworkTrials
from bootlight.checking.origin import OriginTrials
from bootlight.checking.perturbation import PerturbationTrials
from bootlight.checking.policy import PolicyTrials
from bootlight.checking.sampler import MarkovTrials, SamplerTrials
from bootlight.checking.schedule import ScheduleTrials
from bootlight.checking.stage import StageTrials
from bootlight.checking.synthesizer import SynthesizerTrials
from bootlight.checking.timesteps import TimestepTrials
from bootlight.checking.trials import Trials
from bootlight.errors import BootlightError

KINDS: tuple[type[Trials], ...] = (  # of several that fit, the first one counts
    *(GeneratorTrials, MarkovTrials, SamplerTrials, TimestepTrials, WeightingTrials, PredictionTrials, ScheduleTrials),
    HeadWeightsTrials,
    PerturbationTrials,
    *(ObjectiveTrials, CompositionTrials, DenoiserTrials, ViewTrials, CorruptionTrials),
    *(SynthesizerTrials, CuratorTrials, RewardTrials, OriginTrials, PolicyTrials, StageTrials),
    *(MetricTrials, NetworkTrials),
)


def check(thing: Any, **arguments: Any) -> list[Finding]:
    """Try a plug-in against what its kind promises; global random generators are left as they were.

    Args:
        thing: a class, or an instance, of which copies are tried.
        arguments: of the constructor of a class; such as image_size and channels are filled in where they are left out.

    Returns:
        A finding for each trial; all is well where all are `ok`.

    Raises:
        BootlightError: it is of no known kind.
    """
    return list(findings(thing, lambda: deepcopy(arguments)))  # of their own for each: some learn


def findings(thing: Any, arguments: Callable[[], dict[str, Any]]) -> Iterator[Finding]:
    """The same, one by one; fresh arguments are made for each object."""
    cls = thing if inspect.isclass(thing) else type(thing)
    kind = kind_of(cls)
    if inspect.isclass(thing):
        settings = arguments()
        more = filled(kind, cls, settings)
        build: Callable[[], Any] = lambda: cls(**deepcopy(more), **arguments())  # noqa: E731
        note = ", ".join(f"{name} {_short(value)}" for name, value in (more | _unusual(cls, settings)).items())
    else:
        build, note = partial(deepcopy, deepcopy(thing)), "copies of an instance"
    with _generators_kept():
        yield from _all(
            kind, build, Finding("made", f"{cls.__name__} is {article(kind.name)} that can be made", note=note), cls
        )


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Global random generators of the CPU are afterwards as before."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def article(name: str) -> str:
    """A name with a or an before it."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _all(kind: type[Trials], build: Any, made: Finding, cls: type) -> Iterator[Finding]:
    try:
        trials = kind(build)
    except (Exception, SystemExit) as error:
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        given = f"; it was given {made.note}" if made.note else ""
        said = str(error) if isinstance(error, BootlightError) else f"making it raises {blamed(error, cls)}"
        wrong = f"it lacks {', '.join(missing)}" if missing else said + given
        yield made._replace(wrong=wrong, held=False)
        return
    yield made
    yield from trials._findings()


def kind_of(cls: type) -> type[Trials]:
    """What a class is tried as.

    Raises:
        BootlightError: it is of no known kind.
    """
    found = next((kind for kind in KINDS if kind._takes(cls)), None)
    if found is None:
        bases = ", ".join(dict.fromkeys(kind.kind.__name__ for kind in KINDS))
        raise BootlightError(
            f"{cls.__module__}.{cls.__qualname__} is no plug-in that could be tried: derive it from one of {bases}; a Module "
            "is tried as a network where its first argument is a `Sizes`"
        )
    return found


def filled(kind: type[Trials], cls: type, given: Any) -> dict[str, Any]:
    """Arguments that a plug-in gets from elsewhere, those that its constructor takes and that are not given."""
    taken: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        taken |= inspect.signature(vars(base).get("__init__", object.__init__)).parameters
        if "__init__" in vars(base) and not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            break  # else they are handed on to the next one
        taken = {name: parameter for name, parameter in taken.items() if parameter.kind is not parameter.VAR_KEYWORD}
    return {name: value for name, value in kind._filled(cls).items() if name in taken and name not in given}


def _unusual(cls: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Those that are not the defaults."""
    usual = {name: _plain(parameter.default) for name, parameter in inspect.signature(cls).parameters.items()}
    return {name: value for name, value in settings.items() if name not in usual or _plain(value) != usual[name]}


def _plain(value: Any) -> Any:
    """A number or text, or a list of them; for all else its place in memory."""
    if isinstance(value, str | int | float | None):
        return value
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else id(value)


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | list | tuple | None) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:37]}..."
