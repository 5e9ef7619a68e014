"""What becomes of the state of training once a generation is finished: the published weights do all that is left to do."""

import re
from pathlib import Path
from typing import Literal, get_args

from bootlight.errors import BootlightError
from bootlight.io.sizes import size_text
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.runs.trainings import parts_of
from bootlight.terminal import say

PERIODIC = re.compile(r"(last|step=\d{1,18})\.ckpt", re.ASCII)  # what a training is resumed from before its end
Keep = Literal["all", "last", "none"]


def check_keep(key: str, keep: str) -> None:
    """Refuse a policy that there is not.

    Raises:
        BootlightError: names key, value and what there is.
    """
    if keep not in get_args(Keep):
        raise BootlightError(f"{key} is {keep!r}; it must be one of {', '.join(get_args(Keep))}")


def spent(run: RunFolder, keep: str, *, scored: bool = True) -> list[GenerationFolder]:
    """Parts of finished generations whose `trained.ckpt` is there and is not to be kept.

    Args:
        run: its generations up to the first gap are looked at.
        keep: all, last (of the newest finished generation) or none.
        scored: only where there are scores too; other nodes have none.
    """
    done = [
        folder
        for folder in run.generations()
        if _is_published(folder) and folder.is_drawn and (folder.is_evaluated or not scored)
    ]
    without = {"all": [], "last": done[:-1], "none": done}[keep]
    return [part for folder in without for part in parts_of(folder) if part.trained_checkpoint.is_file()]


def _is_published(folder: GenerationFolder) -> bool:
    """Whether all parts that were begun have weights."""
    parts = [part for part in parts_of(folder) if part.is_trained or part.checkpoints.exists() or part.weights.exists()]
    return all(part.is_trained and part.weights.is_file() for part in parts) and len(parts) > 0


def remove_spent(context: GenerationContext, keep: str, rank: int, local_rank: int) -> None:
    """Remove them, on the ranks that write: the first, or the first of each node where nodes have folders of their own."""
    if (rank if context.shared else local_rank) == 0:
        for folder in spent(context.run, keep, scored=rank == 0):
            _removed(folder.trained_checkpoint)
        for part in parts_of(context.run.generation(context.generation)):
            for file in part.checkpoints.glob("*.ckpt") if part.is_trained else ():
                if PERIODIC.fullmatch(file.name):  # killed between the publishing of the weights and this
                    _removed(file)


def remove_left(run: RunFolder, keep: str, rank: int) -> None:
    """Remove those of a run that was finished before, by a version or with a setting that kept them, and say so; on rank 0."""
    if rank > 0:
        return
    if freed := sum(_removed(folder.trained_checkpoint) for folder in spent(run, keep)):
        say(f"checkpoints of finished generations were removed, {size_text(freed)} (bootstrap.keep_checkpoints: {keep})")


def _removed(file: Path) -> int:
    """Bytes that were freed; none where the file cannot be removed, which is no reason to fail."""
    try:
        size = file.stat().st_size
        file.unlink()
    except OSError:
        return 0
    return size
