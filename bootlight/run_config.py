"""A run folder belongs to one configuration: keeps it, and refuses another one."""

import os

import yaml
from lightning.pytorch.utilities import rank_zero_only

from bootlight.atomic import write_bytes
from bootlight.errors import BootlightError
from bootlight.kept_config import differing_keys, read_config
from bootlight.processes import agree, gather
from bootlight.run_folder import RunFolder
from bootlight.run_links import check_links


def save_config(run: RunFolder, text: str) -> None:
    """Keep the resolved configuration, YAML, in the run folder.

    Raises:
        BootlightError: the folder belongs to another experiment, or cannot be written.
    """
    if run.config.exists() and run.generations():  # without a generation there is nothing that could be mixed up
        changed = sorted(differing_keys(read_config(run.config), yaml.safe_load(text)))
        if changed and run.is_begun:
            raise BootlightError(
                f"{run.path} holds a run with other settings ({changed[0]}); give this one its own --bootstrap.run_dir, "
                "or restore the settings to continue that one"
            )
        if changed:
            forget_attempt(run)
    rank_zero_only(write_bytes)(run.config, text.encode())


@rank_zero_only
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
    for rank, found in enumerate(gather(changed)):
        if found:
            raise BootlightError(f"rank {rank} was started with other settings than rank 0 ({found[0]}); start all alike")


def check_writable(run: RunFolder) -> None:
    """Make the run folder.

    Raises:
        BootlightError: it cannot be made or written, or has links that lead out of it.
    """
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BootlightError(f"bootstrap.run_dir: cannot make {run.path} ({error.strerror}); choose another folder") from error
    if not os.access(run.path, os.W_OK):
        raise BootlightError(f"bootstrap.run_dir: {run.path} cannot be written; choose another folder")
    check_links(run.path)
