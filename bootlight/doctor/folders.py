"""Folders and files: can they be written and locked, is there room, are the weights the right ones."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from bootlight.doctor.finding import Finding, note, ok, problem
from bootlight.errors import BootlightError
from bootlight.io.atomic import write_bytes
from bootlight.io.cache_folder import default_cache
from bootlight.io.paths import expanded

GIB = 2**30
LITTLE, TOO_LITTLE = 10 * GIB, GIB // 4  # a small run needs some tens of MiB, configs/ffhq128_paper.yaml about 10 GiB
IMAGE_BYTES = 30_500  # measured: mean of 200 photographs of faces, 128 x 128, as PNG
DECODED_BYTES = 3 * 128**2
CHECKPOINT_BYTES = 16 * 31_307_398  # network, average, two moments; parameters of configs/ffhq128_paper.yaml


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there: what a run would make the folder in."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def run_folder(folder: Path) -> list[Finding]:
    """Whether a run can be written there, and how much of one."""
    return _room("run folder", folder, "bootstrap.run_dir", "PNGs of 128 x 128", IMAGE_BYTES, checkpoints=True)


def cache(folder: Path | None) -> list[Finding]:
    """Whether decoded images can be kept there (None = in the usual place), and how many."""
    return _room(
        "cache", folder or default_cache(), "data.cache or BOOTLIGHT_CACHE", "decoded images of 128 x 128", DECODED_BYTES
    )


def temporary() -> list[Finding]:
    """The system's folder for temporary files."""
    return _room("temporary", Path(tempfile.gettempdir()), "TMPDIR")


def _room(
    check: str, folder: Path, setting: str, things: str = "", thing_bytes: int = 1, *, checkpoints: bool = False
) -> list[Finding]:
    place = existing(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".bootlight-doctor-", dir=place) as trial:
            write_bytes(Path(trial) / "trial", b"as a run writes: flushed, renamed")
    except (BootlightError, OSError) as error:
        reason = getattr(error.__cause__ if isinstance(error, BootlightError) else error, "strerror", None)
        return problem(check, f"{folder} cannot be written: {reason or error}", f"choose another folder by {setting}")
    free = shutil.disk_usage(place).free
    found = f"{folder}{'' if place == folder.absolute() else ' (will be made)'}, {free / GIB:,.1f} GiB free"
    if things:
        found += f": {roughly(free / thing_bytes)} {things}"
    if checkpoints:
        found += f", or {roughly(free / CHECKPOINT_BYTES)} checkpoints of 31 M parameters"
    cure = f"free space, or choose another disk by {setting}"
    if free < TOO_LITTLE:
        return problem(check, found, cure)
    return note(check, found, cure) if free < LITTLE else ok(check, found)


def roughly(number: float) -> str:
    """Two digits of a number, the rest zeros."""
    return f"{float(f'{int(number):.2g}'):,.0f}"


def locks(folder: Path) -> list[Finding]:
    """Whether the run folder's file system locks files: that keeps two processes from writing the same run."""
    place = existing(folder)
    try:
        import fcntl
    except ImportError:
        return problem("file locks", "not on this system, and bootlight fit needs them", "use Linux, macOS, or WSL on Windows")
    try:
        descriptor, name = tempfile.mkstemp(prefix=".bootlight-doctor-", dir=place)
    except OSError:
        return note("file locks", f"not tested, {place} cannot be written", "mend the run folder first")
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        cure = "choose bootstrap.run_dir on a file system with locks: a local disk, NFS 4, Lustre mounted with -o flock"
        return problem("file locks", f"{place}: {error.strerror or error}", cure)
    finally:
        os.close(descriptor)
        os.unlink(name)
    return ok("file locks", f"work in {place}")


def weights(path: Path | None) -> list[Finding]:
    """Whether the Inception weights for FID are there (None = where `bootlight weights` puts them), and are the right ones."""
    from bootlight.metrics.features.inception_weights import INCEPTION_SHA256, default_file

    say = note if path is None else problem  # who names a file wants FID
    path, wanted = expanded(path or default_file()), INCEPTION_SHA256
    if not path.is_file():
        return say(
            "FID weights", f"{path} is not there", "run `bootlight weights` where there is a network; only FID needs them"
        )
    with open(path, "rb") as file:
        head = hashlib.file_digest(file, "sha256").hexdigest()[: len(wanted)]
    if head != wanted:
        cure = "fetch it again by `bootlight weights`, or set allow_other_weights; the score is then not called FID"
        return problem("FID weights", f"{path}: SHA-256 begins with {head} instead of {wanted}", cure)
    return ok("FID weights", f"{path}, SHA-256 {head}...")
