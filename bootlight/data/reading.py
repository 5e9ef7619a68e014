"""How a set of images is read, as far as its user has a choice."""

from dataclasses import dataclass

from bootlight.errors import check_range


@dataclass(frozen=True)
class Reading:
    """Choices; without them nothing outside the root is read and every picture must be a good one.

    Args:
        follow_links: read what symbolic links lead to, wherever it lies.
        label_column: what names the class in `metadata.jsonl` or `metadata.csv`; None = `label`, where there is one.
        max_bad: so many pictures may be unusable; they are left out and listed.

    Raises:
        BootlightError: `max_bad` is negative.
    """

    follow_links: bool = False
    label_column: str | None = None
    max_bad: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_range("data.max_bad", self.max_bad, 0)


SAFE = Reading()
