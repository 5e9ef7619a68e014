"""The one exception that users are meant to see, and the check that raises it most often."""

import math


class BootlightError(Exception):
    """Something the user can mend: one line that names the file or key and the cure.

    The command line prints the message without a traceback and exits with status 1.
    """


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
    if value is None or not low <= value <= high or math.isinf(value):
        upper = "" if math.isinf(high) else f" and at most {high:g}"
        raise BootlightError(f"{key} is {value}; it must be at least {low:g}{upper}")
