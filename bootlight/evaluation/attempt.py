"""One measurement that fails does not take the others with it: why it failed is noted, and the next one begins."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from bootlight.distributed.stopping import Stopped
from bootlight.errors import BootlightError, one_line

_log = logging.getLogger(__name__)


@contextmanager
def attempt(what: str, failed: dict[str, str] | None) -> Iterator[None]:
    """Note why the block could not be finished, and go on after it. Requests to stop end it as they always do.

    Args:
        what: is measured or written inside.
        failed: reasons by what failed, one line each; None = nothing is noted, and the exception goes on.
    """
    try:
        yield
    except Stopped:
        raise
    except Exception as error:
        if failed is None:
            raise
        _log.info("%s failed", what, exc_info=True)
        failed[what] = reason(error)


def reason(error: Exception) -> str:
    """An exception in one line, for someone who does not see where it came from."""
    if isinstance(error, BootlightError):
        return str(error)
    return one_line(f"{type(error).__name__}: {error}".removesuffix(": "))


def check_complete(failed: dict[str, str]) -> None:
    """End a command that has answered already, but not all.

    Raises:
        BootlightError: something failed.
    """
    if failed:
        said = "; ".join(f"{what} ({why})" for what, why in failed.items())
        raise BootlightError(f"not all could be measured or written: {said}")
