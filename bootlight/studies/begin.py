"""Before the first run of a study: `study.json`, which says what it consists of; other settings than before are refused."""

from typing import Any

from bootlight.atomic import read_json, write_json
from bootlight.errors import BootlightError
from bootlight.kept_config import may_change
from bootlight.studies.job import Job
from bootlight.studies.record import FORMAT
from bootlight.studies.spec import Study


def write_record(study: Study, seeds: list[int], command: str) -> None:
    """Write `study.json`, if it is not there as it should be.

    Args:
        study: with all settings.
        seeds: that are to be run now; those of earlier commands stay.
        command: that was given.

    Raises:
        BootlightError: a run was begun with other settings; or the folder holds another study.
    """
    file = study.folder / "study.json"
    before: dict[str, Any] = read_json(file) if file.exists() else {}
    if before and before.get("name") != study.name:
        raise BootlightError(f"{study.folder} holds the study {before.get('name')}; give this one its own folder: --folder")
    arms = [arm._asdict() for arm in study.arms]
    _check_begun(study, {arm["name"]: arm for arm in before.get("arms", [])})
    known = [*study.seeds, *before.get("seeds", []), *seeds]
    record = {
        "format": FORMAT,
        "name": study.name,
        "layout": study.layout,
        "baseline": study.baseline,
        "seeds": list(dict.fromkeys(known)),
        "arms": arms,
        "comparisons": [list(pair) for pair in study.comparisons],
        "claims": [claim._asdict() for claim in study.claims],
        "command": before.get("command", command),
    }
    if record != before:
        write_json(file, record)


def _check_begun(study: Study, before: dict[str, dict[str, Any]]) -> None:
    """Runs of one arm that differ in their settings could not be averaged."""
    for arm in study.arms:
        if arm.name not in before or not any(Job(study.folder, arm, seed).is_begun for seed in _begun_seeds(study, arm.name)):
            continue
        old, new = before[arm.name], arm._asdict()
        for key in ("base", "teacher"):
            if old.get(key) != new[key]:
                raise _changed(study, arm.name, key, old.get(key), new[key])
        for key in sorted(old["settings"].keys() | new["settings"].keys()):
            if not may_change(key) and old["settings"].get(key) != new["settings"].get(key):
                raise _changed(study, arm.name, key, old["settings"].get(key), new["settings"].get(key))


def _begun_seeds(study: Study, arm: str) -> list[int]:
    found = (study.folder / arm).glob("seed_*")
    return [int(path.name[5:]) for path in found if path.is_dir() and path.name[5:].isdecimal()]


def _changed(study: Study, arm: str, key: str, old: Any, new: Any) -> BootlightError:
    return BootlightError(
        f"{study.folder} has runs of {arm} with another {key} ({str(old)[:60]} -> {str(new)[:60]}); give this study its own "
        "folder (--folder), restore the setting, or delete those runs"
    )
