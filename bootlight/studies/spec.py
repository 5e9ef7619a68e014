"""A study as its YAML file describes it: arms, which are overrides of a base configuration, and seeds."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bootlight.errors import BootlightError
from bootlight.io.paths import expanded
from bootlight.studies.record import Arm, Claim, arm_and_folder
from bootlight.studies.yaml_file import Section, read_yaml

LAYOUTS = ("plain", "table1", "curves", "gan")
KEYS = (
    *("extends", "name", "folder", "base", "settings", "seeds", "arms", "grid"),
    *("baseline", "comparisons", "claims", "layout", "group", "tags"),
)
MERGED = ("settings", "arms", "grid")
OURS = ("bootstrap.run_dir", "seed_everything", "config", "plan")  # set by the study itself
FORBIDDEN = set("/\\@-\"' \t")  # in names: they become folders, and `@` and a leading `-` mean something else
MAX_DEPTH = 10
TEACHER = "{teacher}"  # in a setting: where the images of the arm's teacher are
TEACHER_SETTING = "data.mixing.root"  # where that stands if no setting has it


@dataclass(frozen=True)
class Study:
    """Arms and seeds, and what is to be said of them.

    Args:
        file: where it was read.
        name: of the study.
        folder: its runs lie in `<folder>/<arm>/seed_<seed>`.
        seeds: of every arm.
        arms: as written, each with all of its settings.
        order: their names, a teacher before those that it teaches.
        own: settings in which an arm differs from the study, by its name.
        baseline: arm that others are compared with, or None.
        comparisons: pairs of arms.
        claims: statements to be tested.
        layout: of the report.
        group: of the trackers' runs.
        tags: of the trackers' runs, beside the name of the arm.
    """

    file: Path
    name: str
    folder: Path
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    order: tuple[str, ...]
    own: dict[str, dict[str, Any]]
    baseline: str | None
    comparisons: tuple[tuple[str, str], ...]
    claims: tuple[Claim, ...]
    layout: str
    group: str
    tags: tuple[str, ...]

    def overridden(self, settings: dict[str, Any]) -> "Study":
        """The study with other settings for all arms but those that have such a setting of their own.

        Raises:
            BootlightError: every arm has, or the study itself sets it.
        """
        for key in settings:
            _check_setting(str(self.file), "the command line", key)
            if all(key in own for own in self.own.values()):
                raise BootlightError(f"--{key}: every arm has its own; change it in {self.file}")
        arms = tuple(arm._replace(settings={**arm.settings, **settings, **self.own[arm.name]}) for arm in self.arms)
        return replace(self, arms=arms)

    def keeping_their_own(self, key: str) -> list[str]:
        """Names of the arms that have a setting of their own."""
        return [name for name, own in self.own.items() if key in own]


def read_spec(file: Path) -> Study:
    """Read a study.

    Raises:
        BootlightError: names the file and the key that is wrong.
    """
    content = _with_parents(file, 0)
    top = Section(file, "", content, KEYS)
    name = top.text("name", file.stem)
    _check_name(top, "name", name)
    settings = _settings(top)
    base = [str(path) for path in content.get("base") or []]
    own: dict[str, dict[str, Any]] = {}
    arms = []
    for section in _arm_sections(top):
        chosen = _settings(section)
        own[section.name] = chosen
        arms.append(
            Arm(
                section.name,
                section.text("label", section.name),
                {**settings, **chosen},
                [str(path) for path in section.content.get("base") or base],
                section.content.get("teacher"),
            )
        )
    if not arms:
        raise BootlightError(f"{file}: there are no arms; add arms: or grid:")
    names = [arm.name for arm in arms]
    baseline = top.one_of("baseline", names) if top.content.get("baseline") is not None else None
    return Study(
        file=file,
        name=name,
        folder=expanded(top.text("folder", f"runs/studies/{name}")),
        seeds=tuple(top.seeds("seeds")),
        arms=tuple(arms),
        order=tuple(arm.name for arm in _in_order(top, arms)),
        own=own,
        baseline=baseline,
        comparisons=_comparisons(top, names, baseline),
        claims=tuple(_claim(section, names) for section in top.sections("claims", Claim._fields)),
        layout=top.one_of("layout", LAYOUTS) if "layout" in top.content else LAYOUTS[0],
        group=top.text("group", name),
        tags=tuple(top.texts("tags")),
    )


def _with_parents(file: Path, depth: int) -> dict[str, Any]:
    """The content of a file over that of the one which it extends; paths of base files made whole."""
    content = read_yaml(file)
    top = Section(file, "", content, KEYS)
    _find_bases(file, top)
    for name in _mapping(top, "arms"):
        _find_bases(file, top.section("arms").section(name))
    if "extends" not in content:
        return content
    if depth == MAX_DEPTH:
        raise BootlightError(f"{file}: extends goes round in a circle; take it out of one of the files")
    parent = file.parent / expanded(top.text("extends", ""))
    below = _with_parents(parent, depth + 1)
    merged = {**below, **content}
    for key in MERGED:
        if key in below and key in content:
            both = {**_mapping(Section(parent, "", below, KEYS), key), **_mapping(top, key)}
            merged[key] = {name: value for name, value in both.items() if value is not None}
    return merged


def _mapping(top: Section, key: str) -> dict[str, Any]:
    return top.section(key).content if top.content.get(key) is not None else {}


def _find_bases(file: Path, section: Section) -> None:
    """Base files are named relative to the study's file."""
    if "base" in section.content:
        found = [file.parent / expanded(name) for name in section.texts("base")]
        for path in found:
            if not path.is_file():
                raise BootlightError(f"{file}: {section.key('base')}: there is no file {path}")
        section.content["base"] = found


def _arm_sections(top: Section) -> list[Section]:
    """The arms that are named, and those of the grid: one for each combination of a choice on every axis."""
    keys = ("label", "settings", "base", "teacher")
    arms = [top.section("arms").section(name, keys) for name in _mapping(top, "arms")]
    axes = [top.section("grid").section(axis) for axis in _mapping(top, "grid")]
    for choices in itertools.product(*([axis.section(name) for name in axis.content] for axis in axes)) if axes else ():
        merged: dict[str, Any] = {}
        for choice in choices:
            merged |= choice.content
        place, label = "-".join(choice.name for choice in choices), ", ".join(choice.name for choice in choices)
        arms.append(Section(top.file, f"grid.{place}", {"settings": merged, "label": label}, keys, place))
    seen: set[str] = set()
    for arm in arms:
        _check_name(arm, "", arm.name, also="-")
        if arm.name in seen:
            raise BootlightError(f"{top.file}: {arm.path}: there are two arms of this name; give one another")
        seen.add(arm.name)
    return arms


def names_teacher(settings: dict[str, Any]) -> bool:
    """Whether a setting says where the teacher of the arm is wanted."""
    return TEACHER in str(list(settings.values()))


def _settings(section: Section) -> dict[str, Any]:
    found = section.section("settings").content if section.content.get("settings") is not None else {}
    for key in found:
        _check_setting(str(section.file), section.key("settings"), key)
    return found


def _check_setting(file: str, where: str, key: Any) -> None:
    if not isinstance(key, str) or not all(part.isidentifier() for part in key.split(".")):
        raise BootlightError(f"{file}: {where}: {key!r} is no setting; write it as on the command line, such as data.num_steps")
    if key in OURS:
        raise BootlightError(f"{file}: {where}: {key} is set by the study itself; leave it out")


def _check_name(section: Section, key: str, name: str, also: str = "") -> None:
    if not name.isprintable() or not name or name[0] in ".-" or (set(name) & FORBIDDEN) - set(also):
        raise BootlightError(f"{section.file}: {section.key(key)} {name!r} is no name for a folder: use letters, digits and _")


def _in_order(top: Section, arms: list[Arm]) -> list[Arm]:
    """Teachers before those that they teach, otherwise as written.

    Raises:
        BootlightError: a teacher that is no arm, or arms that teach each other in a circle.
    """
    named, done = {arm.name: arm for arm in arms}, list[Arm]()

    def visit(arm: Arm, path: tuple[str, ...]) -> None:
        if arm.name in path:
            raise BootlightError(f"{top.file}: arms teach each other in a circle: {' -> '.join((*path, arm.name))}")
        if arm.teacher is not None:
            if arm.teacher not in named:
                raise BootlightError(
                    f"{top.file}: arms.{arm.name}.teacher: there is no arm {arm.teacher!r}; there are {', '.join(named)}"
                )
            if TEACHER_SETTING in arm.settings and not names_teacher(arm.settings):
                both = f"arms.{arm.name} has both teacher and {TEACHER_SETTING}"
                raise BootlightError(f"{top.file}: {both}; leave one out, or write {TEACHER} there")
            visit(named[arm.teacher], (*path, arm.name))
        if arm not in done:
            done.append(arm)

    for arm in arms:
        visit(arm, ())
    return done


def _comparisons(top: Section, names: list[str], baseline: str | None) -> tuple[tuple[str, str], ...]:
    """Those that are named; else every arm with the baseline."""
    if top.content.get("comparisons") is None:
        return tuple((baseline, name) for name in names if name != baseline) if baseline else ()
    pairs = top.content["comparisons"]
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not isinstance(pair, list) or len(pair) != 2 or any(arm_and_folder(str(name))[0] not in names for name in pair):
            raise BootlightError(
                f"{top.file}: comparisons: {pair!r} is no pair of arms or arm/folder; there are {', '.join(names)}"
            )
    return tuple((str(first), str(second)) for first, second in pairs)


def _claim(section: Section, names: list[str]) -> Claim:
    for key in ("higher", "lower"):
        if arm_and_folder(str(section.content.get(key)))[0] not in names:
            raise section.wrong(key, f"one of {', '.join(names)}, or arm/folder")
    return Claim(*(section.text(key) for key in Claim._fields))
