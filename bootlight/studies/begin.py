"""Before the first run of a study: `study.json`, which says what it consists of; other settings than before are refused."""

import hashlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json, write_json
from bootlight.io.lock import alone
from bootlight.runs.kept_config import may_change
from bootlight.studies.job import Job
from bootlight.studies.record import FORMAT
from bootlight.studies.spec import Study
from bootlight.studies.yaml_file import read_yaml


def write_record(study: Study, seeds: list[int], command: list[str]) -> None:
    """Write `study.json`, if it is not there as it should be.

    Args:
        study: with all settings.
        seeds: that are to be run now; those of earlier commands stay.
        command: that runs all of the study.

    Raises:
        BootlightError: a run was begun with other settings; or the folder holds another study.
    """
    with alone(study.folder / ".study.lock"):  # workers that begin together may each bring a seed
        _write_record(study, seeds, command)


def _write_record(study: Study, seeds: list[int], command: list[str]) -> None:
    file = study.folder / "study.json"
    before: dict[str, Any] = read_json(file) if file.exists() else {}
    if before and before.get("name") != study.name:
        raise BootlightError(f"{study.folder} holds the study {before.get('name')}; give this one its own folder: --folder")
    digests = {base: _digest(base) for base in {tuple(arm.base) for arm in study.arms}}  # most arms share one
    arms = [{**arm._asdict(), "base_settings": digests[tuple(arm.base)]} for arm in study.arms]
    _check_begun(study, arms, {arm["name"]: arm for arm in before.get("arms", [])})
    known = list(dict.fromkeys([*study.seeds, *before.get("seeds", []), *seeds]))
    if known != list(study.seeds):
        command = [*command, "--seeds", *map(str, known)]
    record = {
        "format": FORMAT,
        "name": study.name,
        "layout": study.layout,
        "baseline": study.baseline,
        "seeds": known,
        "arms": arms,
        "comparisons": [list(pair) for pair in study.comparisons],
        "claims": [claim._asdict() for claim in study.claims],
        "command": shlex.join(command),
    }
    if record != before:
        write_json(file, record)


def _digest(files: tuple[str, ...]) -> str:
    """Of what base files say, but for what may change; wherever they lie, however they are laid out."""
    contents = [
        sorted((key, repr(value)) for key, value in _flat(read_yaml(Path(file))) if not may_change(key)) for file in files
    ]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings as on the command line."""
    for name, value in content.items():
        key = prefix if name == "init_args" else f"{prefix}.{name}".lstrip(".")
        if isinstance(value, dict):
            yield from _flat(value, key)
        else:
            yield key, value


def _check_begun(study: Study, now: list[dict[str, Any]], before: dict[str, dict[str, Any]]) -> None:
    """Runs of one arm that differ in their settings could not be averaged."""
    for arm, new in zip(study.arms, now, strict=True):
        if arm.name not in before or not any(Job(study.folder, arm, seed).is_begun for seed in _begun_seeds(study, arm.name)):
            continue
        old = before[arm.name]
        if old.get("base_settings", new["base_settings"]) != new["base_settings"]:
            raise BootlightError(
                f"{study.folder} has runs of {arm.name} made with other settings in {' '.join(arm.base)}; give this study its "
                "own folder (--folder), restore the file, or delete those runs"
            )
        if old.get("teacher") != new["teacher"]:
            raise _changed(study, arm.name, "teacher", old.get("teacher"), new["teacher"])
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
