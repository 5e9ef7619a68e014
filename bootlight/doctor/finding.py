"""What a check says."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

Status = Literal["ok", "note", "problem"]


class Finding(NamedTuple):
    """One line of the examination.

    Attributes:
        check: what was looked at.
        status: `problem` = something will fail; `note` = works, but slower or less than it could.
        found: facts.
        cure: what to do; empty exactly when the status is `ok`.
    """

    check: str
    status: Status
    found: str
    cure: str = ""


Check = Callable[[], list[Finding]]


def ok(check: str, found: str) -> list[Finding]:
    """Nothing to do."""
    return [Finding(check, "ok", found)]


def note(check: str, found: str, cure: str) -> list[Finding]:
    """Works, but slower or less than it could."""
    return [Finding(check, "note", found, cure)]


def problem(check: str, found: str, cure: str) -> list[Finding]:
    """Something will fail."""
    return [Finding(check, "problem", found, cure)]


def guarded(name: str, check: Check) -> Iterator[Finding]:
    """The findings of a check; when it fails itself, that is the finding."""
    try:
        yield from check()
    except Exception as error:  # whatever a strange machine does, the other checks must be made
        text = " ".join(f"{type(error).__name__}: {error}".split())
        yield Finding(name, "problem", f"the check failed: {text}", "mend what the message names; the other lines still hold")
