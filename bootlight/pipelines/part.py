"""A class and its arguments: made, or written as a configuration names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Part(NamedTuple):
    """An object of bootlight that is not yet made.

    Args:
        cls: public.
        arguments: of its constructor; parts among them are made with it.
    """

    cls: type
    arguments: Mapping[str, Any] = {}

    def make(self) -> Any:
        """The object."""
        return self.cls(**{name: value.make() if isinstance(value, Part) else value for name, value in self.arguments.items()})

    def written(self) -> dict[str, Any]:
        """Class path and arguments, as `model.json` has them."""
        given = {name: value.written() if isinstance(value, Part) else value for name, value in self.arguments.items()}
        return {"class_path": f"bootlight.{self.cls.__name__}", "init_args": given}
