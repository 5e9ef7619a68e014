"""Whose code a file may name: bootlight's, that of installed generators, and what the user trusts by name; nothing else."""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from jsonargparse import set_parsing_settings
from jsonargparse._common import parsing_settings  # there is no public way to lift a restriction again

from bootlight.errors import BootlightError
from bootlight.lazy import known

MAX_VALUES = 2000  # keys and values of a configuration
OWN = frozenset(known)


def class_paths(config: Any) -> list[str]:
    """Every class path in a configuration, at whatever depth, once.

    Raises:
        BootlightError: one of them is no text, or what jsonargparse cannot read in sensible time and memory: more than
            `MAX_VALUES`, or a text that is YAML with aliases, of which a few lines can stand for terabytes.
    """
    found: dict[str, None] = {}
    waiting = [config]
    left = MAX_VALUES
    while waiting:
        value = waiting.pop()
        left -= 1
        if left < 0:
            raise BootlightError(f"it has more than {MAX_VALUES} settings")
        if isinstance(value, dict):
            if not isinstance(value.get("class_path", ""), str):
                raise BootlightError(f"class_path is {value['class_path']!r}; it must be the name of a class")
            found |= {value["class_path"]: None} if "class_path" in value else {}
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and "&" in value and "*" in value:
            raise BootlightError(f"{value!r} cannot be a setting: it has the & and * of YAML aliases; write it out")
    return list(found)


def importable(wanted: Iterable[str], trust: Collection[str]) -> set[str]:
    """All names that may be imported for a configuration with these class paths.

    Trusted and installed classes are imported, to learn their other names: a class that a package passes on from one of its
    modules is known by both.

    Args:
        wanted: class paths.
        trust: those that the user has named.

    Raises:
        BootlightError: names all that are not trusted, and the cure; or one that cannot be imported.
    """
    allowed = set(OWN)
    wanted = [path for path in wanted if path not in allowed]
    for plug_in in entry_points(group="bootlight.generators"):
        if any(_could_be(path, plug_in.value) for path in wanted):
            allowed |= _names(plug_in.load())
    for path in trust:
        allowed |= {path} | (_names(_imported(path)) if path in wanted else set())
    strangers = [path for path in wanted if path not in allowed]
    if strangers:
        raise BootlightError(distrust(strangers))
    return allowed


def distrust(paths: list[str]) -> str:
    """What to say about code that is not trusted."""
    cure = " ".join(f"--trust {path}" for path in paths)
    return f"cannot build {', '.join(paths)} (not a class of bootlight; if you know and trust its code, add {cure})"


def refused(message: str) -> str | None:
    """The name that jsonargparse did not import because of `only`, from its message."""
    found = re.search(r"Importing '(\S+)' is not allowed", message)
    return found and found[1]


@contextmanager
def only(names: Collection[str]) -> Iterator[None]:
    """Let jsonargparse import nothing else that a value names, be it a class, a function or a module."""
    before = dict(parsing_settings)
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=[name for name in names if _is_path(name)])
    try:
        yield
    finally:
        parsing_settings.update(before)


def _is_path(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _could_be(path: str, registered: str) -> bool:
    """Whether a class path names an entry point, which may be written with another module of the same package."""
    module, _, name = registered.partition(":")
    return path.split(".")[0] == module.split(".")[0] and path.rpartition(".")[2] == name.strip()


def _names(thing: Any) -> set[str]:
    """The place where a class is defined, and the packages around that, which may pass it on."""
    parts = str(thing.__module__).split(".")
    return {".".join([*parts[:length], thing.__qualname__]) for length in range(1, len(parts) + 1)}


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # a module may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise BootlightError(f"cannot build {path} ({reason}; run from the folder where its file lies)") from error
