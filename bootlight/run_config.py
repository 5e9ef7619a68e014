"""The configuration kept in a run folder, and what of it may change when the run is continued."""

import os
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_only

from bootlight.atomic import read_text, write_bytes
from bootlight.errors import BootlightError
from bootlight.processes import agree, gather
from bootlight.run_folder import RunFolder
from bootlight.run_links import check_links

MAX_BYTES = 2**16  # of a configuration, which has some thousands
MAX_VALUES = 20_000  # keys and values of it
MAX_SHOWN = 60  # characters of a setting in a message
# What may differ; everything else would make it another experiment. Images are known by their content, not by `root`.
FREE = {
    "bootstrap.num_generations",
    "bootstrap.run_dir",
    "bootstrap.checkpoint_every",
    "data.init_args.num_workers",
    "data.init_args.cache",
    "data.init_args.root",
    "data.init_args.teacher",  # which images it gives is checked by their content
    "plan",
    "config",
}
BOUND_OF_TRAINER = {"trainer.precision", "trainer.accumulate_grad_batches", "trainer.gradient_clip_val"}


def save_config(run: RunFolder, text: str) -> None:
    """Keep the resolved configuration, YAML, in the run folder.

    Raises:
        BootlightError: the folder belongs to another experiment, or cannot be written.
    """
    if run.config.exists() and run.generations():  # without a generation there is nothing that could be mixed up
        changed = sorted(differing_keys(read_config(run.config), yaml.safe_load(text)))
        if changed:
            raise BootlightError(
                f"{run.path} holds a run with other settings ({changed[0]}); give this one its own --bootstrap.run_dir, "
                "or restore the settings to continue that one"
            )
    rank_zero_only(write_bytes)(run.config, text.encode())


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


def read_config(path: Path) -> dict[str, Any]:
    """A configuration that was kept in a run folder.

    Raises:
        BootlightError: it is damaged.
    """
    try:
        config = yaml.safe_load(read_text(path, MAX_BYTES))
    except Exception:  # numbers and dates that Python cannot hold fail in as many ways as wrong YAML
        config = None
    if not isinstance(config, dict) or not _is_moderate(config):
        raise BootlightError(f"{path} is damaged; delete it and run the same command again, with the same settings as before")
    return config


def _is_moderate(config: Any) -> bool:
    """Whether nobody has to fear to print it: by aliases, a few lines of YAML can stand for terabytes."""
    waiting, left = [config], MAX_VALUES
    while waiting and left:
        value = waiting.pop()
        left -= 1
        if isinstance(value, int) and abs(value) > 2**64:
            return False
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value
    return not waiting


def differing_keys(old: Any, new: Any, key: str = "") -> set[str]:
    """Dotted keys whose values differ and may not."""
    if key in FREE or (key.startswith("trainer.") and key not in BOUND_OF_TRAINER):
        return set()
    if not isinstance(old, dict) or not isinstance(new, dict):
        return set() if old == new else {f"{key}: {str(old)[:MAX_SHOWN]} -> {str(new)[:MAX_SHOWN]}"}
    found: set[str] = set()
    for name in old.keys() | new.keys():
        found |= differing_keys(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    return found
