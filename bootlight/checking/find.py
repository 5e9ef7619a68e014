"""A plug-in as it is named on a command line, and the arguments of its constructor."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from jsonargparse import ArgumentParser

import bootlight
from bootlight.checking.blame import blamed
from bootlight.checking.kinds import KINDS, kind_of
from bootlight.class_path import is_class_path, module_of
from bootlight.errors import BootlightError
from bootlight.terminal import Usage


class Parser(Usage, ArgumentParser):  # type: ignore[misc]
    """Of a constructor's arguments; with safe errors."""


def find_class(path: str) -> type:
    """The class that `path` names.

    Raises:
        BootlightError: there is no such class, or its file cannot be imported.
    """
    if not is_class_path(path):
        like = f"bootlight.{path}" if path in bootlight.__all__ else "my_file.MyThing"
        raise BootlightError(f"{path!r} is no class path; give FILE.CLASS without .py, such as {like}")
    module, _, name = path.rpartition(".")
    found = module_of(path, told=lambda error: blamed(error, module))
    thing = getattr(found, name, None)
    if not inspect.isclass(thing):
        there = [key for key, value in vars(found).items() if _is_plug_in(value) and value.__module__ == module]
        there = there or get_close_matches(name, dir(found))
        what = "there is no such class" if thing is None else f"it is no class, but of type {type(thing).__name__}"
        raise BootlightError(f"{path}: {what}; {module} has {', '.join(there) or 'no plug-in'}")
    return thing


def _is_plug_in(thing: Any) -> bool:
    return inspect.isclass(thing) and any(kind._takes(thing) for kind in KINDS)


def arguments_of(cls: type, path: str, args: list[str]) -> Callable[[], dict[str, Any]]:
    """Makes arguments of the constructor, anew each time, of those of a command line as of a configuration.

    Raises:
        SystemExit: with 2, there is no such argument, or one is missing.
    """
    given = {arg.removeprefix("--").split("=")[0].split(".")[0].rstrip("+") for arg in args if arg.startswith("--")}
    left_out = set(kind_of(cls)._filled(cls)) - given
    parser = Parser(prog=f"bootlight check {path}", description=inspect.getdoc(cls))
    parser.add_class_arguments(cls, fail_untyped=False, skip=left_out, sub_configs=False)
    config = parser.parse_args(args)

    def make() -> dict[str, Any]:
        try:
            return dict(vars(parser.instantiate(config)))
        except (Exception, SystemExit) as error:
            raise BootlightError(f"{path}: an argument cannot be made: {blamed(error, cls)}") from error

    return make
