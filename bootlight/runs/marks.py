"""How the folder of a run, or of one of its generations, is known by what lies in it, wherever it was moved."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable

GENERATION = re.compile(r"gen_\d{3,}")
_ANY = frozenset(
    {"environment.json", "references", "real_previews.png", "strip.png", "report.html", "metrics.csv", "metrics.json"}
)
_OF_GENERATION = frozenset({"model.json", "model.safetensors", "train.jsonl", "timing.jsonl", "checkpoints"})
_MARKS = _ANY | _OF_GENERATION | {"config.yaml", "samples"}


def is_run(names: Collection[str]) -> bool:
    """Whether these lie in the folder of a run, or in that of a generation.

    Args:
        names: of all files and folders there, or at least of those that `marks` keeps.
    """
    has_generation = any(map(GENERATION.fullmatch, names))
    begun = "config.yaml" in names and ("environment.json" in names or "real_previews.png" in names)
    of_generation = "samples" in names and not _OF_GENERATION.isdisjoint(names)
    return begun or of_generation or (has_generation and ("config.yaml" in names or not _ANY.isdisjoint(names)))


def run_folders(names: Iterable[str]) -> frozenset[str]:
    """The folders of runs among the folders that files lie in: empty for the root itself, else ending in "/".

    Args:
        names: of files, relative, with forward slashes.
    """
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        parts = name.split("/")
        if _MARKS.isdisjoint(parts) and "gen_" not in name:
            continue
        for i, part in enumerate(parts):
            if part in _MARKS or GENERATION.fullmatch(part):
                seen["".join(f"{outer}/" for outer in parts[:i])].add(part)
    return frozenset(folder for folder, found in seen.items() if is_run(found))
