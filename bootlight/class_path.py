"""Code of a user's own, by the path that names it: `my_file.MyThing`."""

import os
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from bootlight.errors import BootlightError, told_in_a_line

Told = Callable[[BaseException], str]


def is_class_path(path: str) -> bool:
    """Whether a text has the form of one: names with dots between them, and no name of a file."""
    module, _, name = path.rpartition(".")
    return bool(module) and name != "py" and all(part.isidentifier() for part in path.split("."))


def module_of(path: str, told: Told = told_in_a_line) -> ModuleType:
    """The module that a class path names, imported.

    Args:
        path: see `is_class_path`.
        told: what is said of an exception of its code.

    Raises:
        BootlightError: there is none, or its file cannot be imported.
    """
    module = path.rpartition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise BootlightError(f"{path}: its file cannot be imported: {told(error)}") from error
        raise BootlightError(
            f"{path}: there is no module {error.name} in {os.getcwd()}; run from the folder where its file lies"
        ) from error
    except (Exception, SystemExit) as error:  # a module may raise anything
        raise BootlightError(f"{path}: its file cannot be imported: {told(error)}") from error
