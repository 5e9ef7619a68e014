"""What a check says."""

from typing import NamedTuple


class Finding(NamedTuple):
    """What one trial has found.

    Attributes:
        key: name of the trial, such as `seed_alone`.
        tried: what must hold.
        wrong: a sentence on what does not; empty = it holds.
        note: what was chosen to try it, or why it was not tried.
        held: whether it was tried and holds.
    """

    key: str
    tried: str
    wrong: str = ""
    note: str = ""
    held: bool = True

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong
