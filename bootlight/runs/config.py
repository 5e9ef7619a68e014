"""A run folder belongs to one configuration: keeps it, and refuses another one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import yaml
from lightning.pytorch.utilities import rank_zero_only

from bootlight.distributed.processes import agree, gather, rank
from bootlight.errors import BootlightError
from bootlight.io.atomic import write_bytes
from bootlight.runs.environment import STREAMS, streams_of
from bootlight.runs.folder import RunFolder
from bootlight.runs.kept_config import differing_keys, read_config
from bootlight.runs.links import check_links


class OtherStreams(BootlightError):
    """A run of a version that made other noise."""

    def __init__(self, run: RunFolder) -> None:
        super().__init__(
            f"{run.path} was begun by a version of bootlight with other random numbers; finish it with that version, or give "
            "this run its own --bootstrap.run_dir"
        )


def check_config(run: RunFolder, text: str) -> None:
    """Refuse a run folder that belongs to another experiment.

    Args:
        run: the folder, which need not be there.
        text: the resolved configuration, YAML.

    Raises:
        BootlightError: it does.
    """
    changed = changed_settings(run, text)
    if changed and run.is_begun:
        if streams_of(run.environment) != STREAMS:  # settings that only this version has cannot be restored
            raise OtherStreams(run)
        raise BootlightError(
            f"{run.path} holds a run with other settings ({changed[0]}); give this one its own --bootstrap.run_dir, "
            "or restore the settings to continue that one"
        )


def changed_settings(run: RunFolder, text: str) -> list[str]:
    """What differs from the configuration that the folder keeps, and may not; nothing where no generation has begun."""
    if not (run.config.exists() and run.generations()):
        return []
    return sorted(differing_keys(read_config(run.config), yaml.safe_load(text)))


def names_other_images(run: RunFolder, text: str) -> bool:
    """Whether images are said to lie elsewhere than when the run was continued last."""
    if not run.config.exists():
        return False
    before, now = (config.get("data", {}).get("init_args", {}) for config in (read_config(run.config), yaml.safe_load(text)))
    return any(before.get(key) != now.get(key) for key in ("root", "origin", "origins", "mixing"))


@rank_zero_only
def save_config(run: RunFolder, text: str) -> None:
    """Keep the resolved configuration, YAML, in the run folder.

    Raises:
        BootlightError: it cannot be written.
    """
    if changed_settings(run, text):
        forget_attempt(run)
    write_bytes(run.config, text.encode())


def forget_attempt(run: RunFolder) -> None:
    """Remove the lines of a training that left nothing else: they would show among those of one with other settings."""
    for folder in run.generations():
        folder.history.unlink(missing_ok=True)
        folder.timing.unlink(missing_ok=True)


def check_same_config(text: str) -> None:
    """Make sure that all processes of a run were started with the same configuration.

    Raises:
        BootlightError: on every rank, when one was not.
    """
    changed = sorted(differing_keys(yaml.safe_load(agree(text)), yaml.safe_load(text)))
    for number, found in enumerate(gather(changed)):
        if found:
            raise BootlightError(f"rank {number} was started with other settings than rank 0 ({found[0]}); start all alike")


def check_streams(run: RunFolder) -> None:
    """Refuse to finish a run whose images and batches were made of other noise: its result would be that of neither.

    Raises:
        BootlightError: on every rank.
    """
    begun = agree(streams_of(run.environment) if rank() == 0 else None)
    if run.is_begun and begun != STREAMS:
        raise OtherStreams(run)


def check_writable(run: RunFolder) -> None:
    """Look whether the run folder can be used; it is not made.

    Raises:
        BootlightError: it cannot be made or written, or has links that lead out of it.
    """
    nearest = next(path for path in (run.path, *run.path.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise BootlightError(f"bootstrap.run_dir: cannot make {run.path} ({nearest} is a file); choose another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise BootlightError(f"bootstrap.run_dir: {nearest} cannot be written; choose another folder")
    check_links(run.path)


@contextmanager
def run_folder_made(run: RunFolder) -> Iterator[None]:
    """Make the run folder; where the block fails before anything was put in it, it goes again.

    Raises:
        BootlightError: it cannot be made.
    """
    new = [path for path in (run.path, *run.path.parents) if not path.exists()]
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BootlightError(f"bootstrap.run_dir: cannot make {run.path} ({error.strerror}); choose another folder") from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # one that is not empty stays, and those around it
            for path in new:
                path.rmdir()
        raise
