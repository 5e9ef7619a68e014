"""Paths as users write them: `~` and variables mean the same in a configuration, in a study and on the command line."""

import os
import re
from pathlib import Path
from typing import Any

from bootlight.errors import BootlightError

_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([^}]*)\})", re.ASCII)
_BEGINS_AS_PATH = re.compile(r"~\w*/|~$|(?:\$[A-Za-z_]\w*|\$\{\w+\})(?:/|$)", re.ASCII)
# Settings that are paths however they begin; others are taken for one by their first part.
KEYS = {
    *("run_dir", "root", "cache", "weights", "save_dir", "dirpath", "default_root_dir", "root_dir"),  # of fit
    *(
        "real",
        "synthetic",
        "held_out",
        "reference_stats",
        "save_stats",
        "neighbours",
        "sets",
        "judge",
        "picture",
    ),  # of evaluate
}


def expanded_text(text: str) -> str:
    """A path, or one with `@` and more behind it, with variables and `~` replaced, as a shell would.

    What exists under a name with `$` is meant by it: a folder may be called `$RECYCLE.BIN`.

    Raises:
        BootlightError: a variable is not set or empty, or nobody knows the home folder. Otherwise a folder would be made
            that is called `$SCRATCH`, or `~`.
    """
    if "$" in text and not os.path.lexists(text):
        text = _VARIABLE.sub(lambda match: _value(match, text), text)
    if not text.startswith("~"):
        return text
    name = text.partition("/")[0]
    home = "" if name == "~" and os.environ.get("HOME") == "" else os.path.expanduser(name)
    if home not in ("", name):
        return home + text[len(name) :]
    if name != "~" and os.path.lexists(name):
        return text
    raise BootlightError(
        f"{text}: the home folder {name} is not known; set HOME or write the whole path, ./{text} for that name"
    )


def _value(match: re.Match[str], text: str) -> str:
    name = match[1] or match[2]
    if not (value := os.environ.get(name, "")):
        raise BootlightError(f"{text}: the environment variable {name} is not set or empty; set it, or write the whole path")
    return value


def expanded(path: str | Path) -> Path:
    """`expanded_text` as a path; the type of arguments of the command line."""
    return Path(expanded_text(str(path)))


def expand_settings(settings: Any, where: str = "") -> None:
    """Replace, in place, the paths of a configuration, at whatever depth.

    Args:
        settings: nested mappings and lists, as parsed.
        where: dotted place of `settings`.

    Raises:
        BootlightError: see `expanded_text`; names the setting.
    """
    entries = list(enumerate(settings)) if isinstance(settings, list) else list(settings.items())
    for key, value in entries:
        place = where if isinstance(settings, list) else f"{where}.{key}".lstrip(".")
        if isinstance(value, str) and (place.rpartition(".")[2] in KEYS or _BEGINS_AS_PATH.match(value)):
            try:
                settings[key] = expanded_text(value)
            except BootlightError as error:
                raise BootlightError(f"{place.replace('.init_args', '')}: {error}") from error
        elif isinstance(value, list) or callable(getattr(value, "items", None)):
            expand_settings(value, place)
