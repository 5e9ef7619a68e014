"""An exception from a plug-in, told with the place in its own file."""

import inspect
import sysconfig
import traceback
from pathlib import Path

from bootlight.errors import one_line

HERE = str(Path(__file__).parent)
PACKAGE = str(Path(__file__).parent.parent)
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


def blamed(error: BaseException, thing: object) -> str:
    """What happened, and where in the plug-in: the last place in its file, else the last one that no library has.

    Args:
        error: that was caught.
        thing: the plug-in, an instance or a class.
    """
    text = " ".join(str(error).split())
    what = type(error).__name__ + (f": {text}" if text else "")
    if isinstance(error, SyntaxError):
        return one_line(what)
    place = _place(error, _files(thing))
    return one_line(f"{what} ({place})" if place else what)


def _files(thing: object) -> list[str]:
    """Where the class is written, and its bases that are not bootlight's, unless it is bootlight's own."""
    found = []
    for base in (thing if isinstance(thing, type) else type(thing)).__mro__:
        try:
            found.append(inspect.getfile(base))
        except (TypeError, OSError):
            continue
    return [file for file in found if not file.startswith(PACKAGE) and not _is_library(file)] or found[:1]


def _is_library(file: str) -> bool:
    return file.startswith((*LIBRARIES, "<")) or "site-packages" in Path(file).parts


def _place(error: BaseException, files: list[str]) -> str | None:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename in files]
    strange = [f for f in frames if not (f.filename.startswith(PACKAGE) or _is_library(f.filename))]
    ours = [frame for frame in frames if frame.filename.startswith(PACKAGE) and not frame.filename.startswith(HERE)]
    for found in (own, strange, ours):
        if found:
            return f"{found[-1].filename}, line {found[-1].lineno}"
    return None
