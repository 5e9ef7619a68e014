"""The answer of a metric: never a bare number."""

from typing import Any, NamedTuple


class Score(NamedTuple):
    """A value, how uncertain it is, and how it was measured.

    A named tuple, because torchmetrics rebuilds what `compute` returns and refuses a frozen dataclass.

    Attributes:
        value: the number.
        standard_error: standard deviation of `value` over redrawn synthetic images; None where it cannot be estimated.
        n: number of synthetic images.
        protocol: what a second measurement must share to be comparable; JSON types only.
    """

    value: float
    standard_error: float | None
    n: int
    protocol: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The four attributes by name, as a JSON object."""
        return self._asdict()
