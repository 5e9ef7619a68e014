"""The packages of pretrained pipelines, which bootlight does without where it can."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from bootlight.errors import BootlightError

EXTRA = "pip install 'bootlight[diffusers]'"


def peer(package: str, name: str) -> Any:
    """A class of diffusers or transformers, imported when it is needed: that takes seconds.

    Raises:
        BootlightError: the package is missing or too old; says how to install it.
    """
    try:
        return getattr(import_module(package), name)
    except (ImportError, AttributeError, RuntimeError) as error:  # diffusers raises the last where a part of it is missing
        reason = " ".join(str(error).split())
        raise BootlightError(f"{package}.{name} is needed and cannot be imported ({reason}); {EXTRA}") from error


def built(cls: Any, settings: Mapping[str, Any], key: str) -> Any:
    """A model of diffusers by its settings, with random weights.

    Args:
        cls: of diffusers.
        settings: as in its `config.json`; what begins with `_` is a note.
        key: of the settings, for messages.

    Raises:
        BootlightError: it has no such setting, or cannot be made with them.
    """
    settings = {name: value for name, value in settings.items() if not name.startswith("_")}
    if unknown := sorted(settings.keys() - inspect.signature(cls.__init__).parameters.keys()):
        raise BootlightError(f"{key}: {cls.__name__} has no {', '.join(unknown)}; leave that out, or update diffusers")
    try:
        return cls(**settings)
    except Exception as error:  # its constructors raise whatever the layer does that was given a wrong number
        reason = " ".join(str(error).split())
        raise BootlightError(f"{key}: {cls.__name__} cannot be made ({type(error).__name__}: {reason}); correct it") from error
