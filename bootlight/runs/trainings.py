"""The parts that a generation has trained, in their order, and its scores."""

from pathlib import Path
from typing import Any, NamedTuple

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json
from bootlight.runs.folder import MODEL, GenerationFolder, RunFolder


def parts_of(folder: GenerationFolder) -> list[GenerationFolder]:
    """A generation as seen from each part that has left something in it, by name; from `model` in any case."""
    names = {weights.stem for weights in folder.path.glob("*.safetensors")} | {MODEL}
    names |= {path.parent.name for name in ("train.jsonl", "checkpoints") for path in folder.path.glob(f"*/{name}")}
    return [folder.of_part(name) for name in sorted(names)]


class Training(NamedTuple):
    """One part that a generation has trained, or is training.

    Args:
        folder: as seen from the part.
        before: training steps of the parts before it in this generation.
        steps: its own; None where it is not published yet.
    """

    folder: GenerationFolder
    before: int
    steps: int | None


def trainings_of(folder: GenerationFolder) -> list[Training]:
    """The parts of a generation in the order of their training, the one that is not published yet at the end.

    Raises:
        BootlightError: a file of the generation does not say what it should.
    """
    published = [folder.of_part(weights.stem) for weights in folder.path.glob("*.safetensors")]
    noted = {part: read_json(part.model_config) for part in published if part.is_trained}
    found = [Training(part, *_steps(part, about)) for part, about in noted.items()]
    found.sort(key=lambda training: (training.before, training.folder.part))
    if folder.is_evaluated and not any(training.steps for training in found):  # of a version that noted them here alone
        found = [Training(folder, 0, _number(folder.metrics, read_json(folder.metrics), "steps"))]
    known = {training.folder.part for training in found}
    before = sum(training.steps or 0 for training in found)
    begun = [part for part in parts_of(folder) if part.part not in known and part.history.exists()]
    return found + [Training(part, before, None) for part in begun]


def _steps(part: GenerationFolder, about: Any) -> tuple[int, int]:
    """Training steps before those of a part in its generation, and its own; 0 where they are not noted."""
    if not isinstance(about, dict):
        raise BootlightError(f"{part.model_config} does not describe a network; delete it and run bootlight fit again")
    return tuple(_number(part.model_config, {key: 0, **about}, key) for key in ("steps_before", "steps"))  # type: ignore[return-value]


def _number(file: Path, content: Any, key: str) -> int:
    number = content.get(key) if isinstance(content, dict) else None
    if not isinstance(number, int) or number < 0:
        raise BootlightError(f"{file} has no number under {key}; delete it and run bootlight fit again")
    return number


def steps_of(folder: GenerationFolder) -> int:
    """Training steps of all parts that a generation has published."""
    return sum(training.steps or 0 for training in trainings_of(folder))


def read_generation_metrics(run: RunFolder) -> list[dict[str, Any]]:
    """Scores of every evaluated generation, in order."""
    return [read_json(folder.metrics) for folder in run.generations() if folder.is_evaluated]
