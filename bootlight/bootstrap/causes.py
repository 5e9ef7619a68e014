"""Errors of a configuration, as its user should hear of them."""

from bootlight.errors import BootlightError


def root_cause(error: BaseException) -> BaseException:
    """The first of the exceptions that led to this one, as far as they were chained on purpose; or what is meant for users."""
    while error.__cause__ is not None and not isinstance(error, BootlightError):
        error = error.__cause__
    return error
