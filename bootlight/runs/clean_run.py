"""What of a run folder nobody needs any more: states of training of finished generations, and what was left half-written."""

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootlight.errors import BootlightError
from bootlight.io.atomic import check_content
from bootlight.io.cleaned import Thing
from bootlight.io.lock import LOCK_NAME, holder, taken
from bootlight.io.owner import owner_lives
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.runs.kept_config import read_config
from bootlight.runs.links import check_links
from bootlight.runs.marks import is_run
from bootlight.runs.spent_checkpoints import PERIODIC, check_keep, spent
from bootlight.runs.trainings import parts_of

DEPTH = 4  # folders below one that is named, in which runs are looked for
_HALF = re.compile(r"\..+\.(?:[0-9a-f]{8}-[0-9a-f-]+|[0-9a-f]{8,16})\.tmp", re.DOTALL)
_OWN_FOLDERS = re.compile(r"(|references|gen_\d{3,}(/[a-z][a-z0-9_]*(/checkpoints|/\d{5,})?)?)", re.ASCII)


def runs_in(folder: Path) -> list[RunFolder]:
    """The run that a folder is, or the runs below it (of a study, or of several); links are not followed.

    Raises:
        BootlightError: there is none.
    """
    found = []
    top = len(folder.parts)
    for place, folders, files in os.walk(folder):
        if "config.yaml" in files and is_run({*folders, *files}):
            found.append(RunFolder(Path(place)))
            folders.clear()
        elif len(Path(place).parts) - top >= DEPTH:
            folders.clear()
        folders.sort()
    if not found:
        raise BootlightError(f"{folder} is no run and holds none; name the folders of runs, as bootstrap.run_dir does")
    return found


@contextmanager
def alone(run: RunFolder, *, dry: bool) -> Iterator[str | None]:
    """Keep other processes from the run, as a `fit` does; a dry look leaves no trace.

    Yields:
        Who is at work there, in words; None if nobody is, and then this process holds the lock.

    Raises:
        BootlightError: the folder cannot be written.
    """
    path = run.path / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | (0 if dry else os.O_CREAT), 0o644)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise BootlightError(f"{path} cannot be opened ({error.strerror}); correct it") from error
    try:
        yield None if taken(descriptor, path, "nobody can know who uses it") else holder(descriptor)
    finally:
        os.close(descriptor)


def things_in(run: RunFolder, keep: str | None) -> list[Thing]:
    """What lies there and could go, or must not.

    Args:
        run: nobody else may be writing there.
        keep: policy, see `bootstrap.keep_checkpoints`; None = that of the run.

    Raises:
        BootlightError: the run folder is damaged, or has links that lead out of it.
    """
    check_links(run.path)
    policy = keep or _policy(run)
    without = set(spent(run, policy))
    found = [_half_written(file) for file in _half_written_files(run.path)]
    for folder in (part for generation in run.generations() for part in parts_of(generation)):
        links = any(path.is_symlink() for path in (folder.path, folder.training, folder.checkpoints))
        for file in sorted(folder.checkpoints.iterdir()) if folder.checkpoints.is_dir() and not links else ():
            ours = file == folder.trained_checkpoint or PERIODIC.fullmatch(file.name)
            if ours and file.is_file() and not file.is_symlink():
                about = file.stat()
                found.append(Thing(file, about.st_size, about.st_mtime, *_verdict(folder, file, folder in without, policy)))
    return found


def _policy(run: RunFolder) -> str:
    settings = read_config(run.config).get("bootstrap")
    policy = str(settings.get("keep_checkpoints", "last") if isinstance(settings, dict) else None)
    check_keep(f"{run.config}: bootstrap.keep_checkpoints", policy[:20])
    return policy


def _verdict(folder: GenerationFolder, file: Path, is_spent: bool, policy: str) -> tuple[bool, str]:
    """Whether a checkpoint goes, and why."""
    if not _is_checkpoint(file):
        return False, "no checkpoint, or a torn one"
    if not folder.is_trained:
        return False, "its training is not finished; bootlight fit goes on from it"
    try:
        check_content(folder.weights, folder.model_config, "weights_sha256")
    except (BootlightError, OSError):
        return False, f"{folder.weights.name} is missing or damaged; bootlight fit can make it again from this"
    if file != folder.trained_checkpoint:
        return True, "its training is finished"
    if is_spent:
        return True, "its generation is finished"
    if not (folder.is_drawn and folder.is_evaluated):
        return False, "its generation is not finished"
    return False, f"keep_checkpoints is {policy}" + (", and it is of the newest generation" if policy == "last" else "")


def _is_checkpoint(file: Path) -> bool:
    """Whether torch has written it."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def _half_written_files(run: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(run):
        if not _OWN_FOLDERS.fullmatch(os.path.relpath(place, run).removeprefix(".")):
            folders.clear()
            continue
        for file in map(Path(place).joinpath, sorted(files)):
            if _HALF.fullmatch(file.name) and file.is_file() and not file.is_symlink():
                yield file


def _half_written(file: Path) -> Thing:
    status, lives = file.stat(), owner_lives(file.name)
    why = "the process that writes it is alive" if lives else "half-written by a process that was killed"
    return Thing(file, status.st_size, status.st_mtime, not lives, why)
