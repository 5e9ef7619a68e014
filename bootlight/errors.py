"""How a command ends early: the one exception that users are meant to see, the check that raises it, exit statuses."""

import math
import traceback
from pathlib import Path

RUN_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: stopped early, the same command continues
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
MAX_MESSAGE = 1500  # characters; what is quoted in it comes from files that someone else may have written


def safe(text: str, keep: str = "\n\t") -> str:
    r"""Text as a terminal may show it: what does not print is spelled, `\x1b` or `\u202e`, and cannot command it.

    Names of files, and all that stands in a run folder, may be somebody else's.

    Args:
        text: anything.
        keep: characters that are left as they are.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


class BootlightError(Exception):
    r"""Something the user can mend: one line that names the file or key and the cure.

    The command line prints the message without a traceback and exits with status 1. Characters that do not print (line ends,
    the escapes that colour a terminal) are shown as `\n` or `\x1b`, and of a very long message the middle is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """`text` as it may be printed: see `BootlightError`."""
    if len(text) > MAX_MESSAGE:
        text = f"{text[: MAX_MESSAGE // 2]} ... {text[-MAX_MESSAGE // 2 :]}"
    return safe(text, keep="")


def told_in_a_line(error: BaseException) -> str:
    """An exception from someone else's code: its kind, what it says, and the place of that code if it is not torch's."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not any(part in Path(frame.filename).parts for part in ("torch", "lightning"))]
    where = (theirs or frames)[-1:]
    place = "".join(f" ({frame.filename}, line {frame.lineno})" for frame in where)
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def check_range(key: str, value: float | None, low: float, high: float = math.inf) -> None:
    """Refuse a setting that is no number from `low` to `high`, both included.

    Args:
        key: dotted, as in a configuration.
        value: what it is; None and NaN are refused too.
        low: least allowed value.
        high: largest allowed value.

    Raises:
        BootlightError: names key, value and range.
    """
    if value is None or not low <= value <= high or value == math.inf:
        upper = "" if math.isinf(high) else f" and at most {high:g}"
        raise BootlightError(f"{key} is {value}; it must be at least {low:g}{upper}")


def check_named(key: str, text: str) -> None:
    """Refuse an empty name of images, as a variable that is not set leaves it: it would stand for the working folder.

    Raises:
        BootlightError: names the key.
    """
    if not text.strip():
        raise BootlightError(f"{key} is empty; name a folder or a zip, or . for the working folder")
