"""What a check says."""

from typing import NamedTuple


class Finding(NamedTuple):
    """What one trial has found.

    Attributes:
        key: name of the trial, such as `seed_alone`.
        tried: what must hold.
        wrong: a sentence on what does not; empty = it holds.
        note: why there was nothing to try, or what was chosen to try it.
    """

    key: str
    tried: str
    wrong: str = ""
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong
