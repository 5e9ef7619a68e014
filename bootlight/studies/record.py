"""`study.json`: what a study consists of, as its runner wrote it down before the first run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json

FORMAT = 1
MAX_RUNS = 10_000  # arms x seeds


class Arm(NamedTuple):
    """One arm: the base configuration with some settings changed.

    Attributes:
        name: of its folder.
        label: for people.
        settings: dotted keys and values.
        base: configuration files.
        teacher: where the images that it is given come from, or None.
    """

    name: str
    label: str
    settings: dict[str, Any]
    base: list[str]
    teacher: str | None


class Claim(NamedTuple):
    """A statement to be tested: that one arm scores higher than another.

    Attributes:
        text: in words.
        score: name of the score.
        higher: arm that is said to score higher.
        lower: arm that is said to score lower.
    """

    text: str
    score: str
    higher: str
    lower: str


@dataclass(frozen=True)
class StudyRecord:
    """What a study consists of.

    Args:
        folder: of the study; the run of an arm with a seed lies in ``<folder>/<arm>/seed_<seed>``.
        name: of the study.
        layout: how its report is laid out: `plain`, `table1`, `curves` or `gan`.
        baseline: arm that others are compared with, or None.
        seeds: of every arm.
        arms: in order.
        comparisons: pairs of arms; the second is compared with the first.
        claims: statements to be tested.
        command: with which the study was begun.
    """

    folder: Path
    name: str
    layout: str
    baseline: str | None
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    comparisons: tuple[tuple[str, str], ...]
    claims: tuple[Claim, ...]
    command: str

    def label(self, name: str) -> str:
        """What people call an arm, or a folder of its images."""
        name, folder = arm_and_folder(name)
        label = next(arm.label for arm in self.arms if arm.name == name)
        return f"{label}, {folder}" if folder else label


def arm_and_folder(name: str) -> tuple[str, str]:
    """The parts of `arm/folder`: an arm, and one of several folders that its generations draw into; empty = the first."""
    arm, _, folder = name.partition("/")
    return arm, folder


def read_record(folder: Path) -> StudyRecord:
    """Read `study.json`.

    Raises:
        BootlightError: it is missing, not as the study writes it, or speaks of arms that there are not.
    """
    path = folder / "study.json"
    if not path.is_file():
        raise BootlightError(f"{path} is missing; give the folder of a study that bootlight study has begun")
    entry = read_json(path)
    try:
        record = _parse(folder, entry)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BootlightError(f"{path} is not complete ({error!r}); run bootlight study with its file again") from error
    _check_names(path, record)
    return record


def _parse(folder: Path, entry: dict[str, Any]) -> StudyRecord:
    if entry["format"] != FORMAT:
        raise ValueError(f"format {entry['format']!r} instead of {FORMAT}")
    arms = tuple(_arm(arm) for arm in entry["arms"])
    seeds = tuple(int(seed) for seed in entry["seeds"])
    if not arms or not seeds or len(arms) * len(seeds) > MAX_RUNS:
        raise ValueError(f"{len(arms)} arms with {len(seeds)} seeds")
    baseline = entry.get("baseline")
    return StudyRecord(
        folder=folder,
        name=str(entry["name"]),
        layout=str(entry.get("layout") or "plain"),
        baseline=None if baseline is None else str(baseline),
        seeds=tuple(dict.fromkeys(seeds)),
        arms=arms,
        comparisons=tuple((str(first), str(second)) for first, second in entry.get("comparisons") or ()),
        claims=tuple(Claim(*(str(claim[key]) for key in Claim._fields)) for claim in entry.get("claims") or ()),
        command=str(entry.get("command") or ""),
    )


def _arm(entry: dict[str, Any]) -> Arm:
    name, teacher, base = str(entry["name"]), entry.get("teacher"), entry.get("base") or []
    if not name.isprintable() or not name or name.startswith(".") or "/" in name:
        raise ValueError(f"{name!r} is no name of an arm")
    return Arm(
        name=name,
        label=str(entry.get("label") or name),
        settings=dict(entry.get("settings") or {}),
        base=[base] if isinstance(base, str) else [str(file) for file in base],
        teacher=None if teacher is None else str(teacher),
    )


def _check_names(path: Path, record: StudyRecord) -> None:
    known = [arm.name for arm in record.arms]
    if len(set(known)) < len(known):
        raise BootlightError(f"{path}: two arms have the same name; run bootlight study with its file again")
    used = [name for pair in record.comparisons for name in pair]
    used += [name for claim in record.claims for name in (claim.higher, claim.lower)]
    used += [] if record.baseline is None else [record.baseline]
    for name, _ in map(arm_and_folder, used):
        if name not in known:
            raise BootlightError(f"{path} speaks of an arm {name!r} that there is not; there are {', '.join(known)}")
