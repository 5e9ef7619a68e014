"""The configuration that a run folder keeps, and which settings may change when the run is continued."""

import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_text

MAX_BYTES = 2**16  # of a configuration, which has some thousands
MAX_VALUES = 20_000  # keys and values of it
MAX_SHOWN = 60  # characters of a setting in a message
# Everything else would make it another experiment. Images are known by their content, not by `root`.
FREE = {
    *("bootstrap.num_generations", "bootstrap.checkpoint_every", "bootstrap.keep_checkpoints"),
    *("data.num_workers", "data.cache"),
    *("data.root", "data.follow_links", "data.max_bad"),
}
# Where images of origins and teachers lie; they are checked by their content.
FREE_PLACE = re.compile(r"data\.(?:origin|origins\.\w+|mixing(?:\.mixing)*)\.(?:root|cache|follow_links|max_bad)")
FREE_HERE = {"bootstrap.run_dir", "plan", "smoke", "stages", "config"}  # besides what any run may change: where it lies
BOUND_OF_TRAINER = {"trainer.precision", "trainer.accumulate_grad_batches", "trainer.gradient_clip_val"}


def may_change(key: str) -> bool:
    """Whether a setting, as on the command line (``data.root``), may differ when a run is continued."""
    return key in FREE or (key.startswith("trainer.") and key not in BOUND_OF_TRAINER)


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
    setting = key.replace(".init_args", "")
    if setting in FREE_HERE or may_change(setting) or FREE_PLACE.fullmatch(setting):
        return set()
    if not isinstance(old, dict) or not isinstance(new, dict):
        return set() if old == new else {f"{key}: {str(old)[:MAX_SHOWN]} -> {str(new)[:MAX_SHOWN]}"}
    found: set[str] = set()
    for name in old.keys() | new.keys():
        found |= differing_keys(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    return found
