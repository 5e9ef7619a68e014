"""A configuration with some of its settings replaced, for one part of a generation."""

import json
from collections import UserDict
from collections.abc import Mapping
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type
from lightning.pytorch.cli import LightningArgumentParser

from bootlight.errors import BootlightError
from bootlight.io.paths import expand_settings


class AsWritten(UserDict[str, Any]):
    """A part of a configuration that is kept for later: the parser would make an object of everything with a class path."""


register_type(AsWritten, serializer=dict, deserializer=AsWritten)
OPEN = ("data.", "model", "trainer.")  # what a part may have of its own; the rest is of the whole run


def as_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Dotted keys and their values, as on the command line."""
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]


def changed(parser: LightningArgumentParser, config: Namespace, settings: Mapping[str, Any]) -> Namespace:
    """The configuration with dotted keys replaced, as if they were given last on the command line.

    Raises:
        BootlightError: a key that a part cannot have of its own, or a value that does not fit.
    """
    for key in settings:
        if not key.startswith(OPEN):
            raise BootlightError(f"bootstrap.stages: settings: {key} is of the whole run; a part has data, model, trainer")
    said, before = StringIO(), config.clone()
    if isinstance(settings.get("model"), Mapping):  # another module has nothing of the one before, such as its learning rate
        before.pop("model", None)
    try:
        with redirect_stderr(said):
            found: Namespace = parser.parse_args(as_arguments(settings), namespace=before)
    except (SystemExit, ValueError) as error:
        reason = " ".join((said.getvalue() or str(error)).split())
        raise BootlightError(f"bootstrap.stages: settings: {reason}") from error
    expand_settings(found)
    return found


def made(kind: type, section: str, config: Any) -> Any:
    """The object of one section of a configuration, alone."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, section)
    return parser.instantiate(parser.parse_object({section: config}))[section]
