"""What each image adds to the kernel distance of a generation, in a file: two generations are compared by these."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json, write_json


class KeptWitness(NamedTuple):
    """See `bootlight.metrics.distances.witness`, where the numbers are explained.

    Attributes:
        score: the kernel distance, such as `kid/holdout`.
        key: hash of the real images and of the network; numbers with different ones cannot be compared.
        drawn: hash of the seeds and labels of the images, in order: sets with equal ones are pairs. None where not known.
        value: kernel distance without what it has of the real images alone.
        real: a number for each real image.
        synthetic: a number for each synthetic one.
    """

    score: str
    key: str
    drawn: str | None
    value: float
    real: list[float]
    synthetic: list[float]


def write_witness(path: Path, found: KeptWitness) -> None:
    """Write it.

    Raises:
        BootlightError: the file cannot be written.
    """
    write_json(path, found._asdict())


def read_witness(path: Path) -> KeptWitness | None:
    """Read it; None where there is none.

    Raises:
        BootlightError: the file does not hold one.
    """
    if not path.exists():
        return None
    content = read_json(path)
    try:
        found = KeptWitness(**{name: content[name] for name in KeptWitness._fields})
        known = found.drawn is None or isinstance(found.drawn, str)
        if not (known and isinstance(found.score, str) and isinstance(found.key, str) and min(map(len, found[4:])) >= 2):
            raise ValueError("it lacks something")
        return found._replace(
            value=_number(found.value), real=[*map(_number, found.real)], synthetic=[*map(_number, found.synthetic)]
        )
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise BootlightError(f"{path} is damaged ({error!r}); delete it, and metrics.json beside it, and run again") from error


def _number(value: Any) -> float:
    number = float(value)
    if isinstance(value, str) or not math.isfinite(number):
        raise ValueError(f"{value!r} is no number")
    return number
