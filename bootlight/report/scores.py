"""The scores of a run as typed values, and how a value with its uncertainty is written."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bootlight.errors import BootlightError, one_line
from bootlight.io.atomic import read_json
from bootlight.metrics.score import TOLD_APART, Score
from bootlight.runs.folder import GenerationFolder, RunFolder

REAL, SAME_N, HOLDOUT, TRAIN = "real", "same-n", "holdout", "train"  # parts of the names of scores
HELD_OUT = "held-out"  # as `evaluate` calls it
MAX_SCORES = 1000  # of a generation: more than all metrics, floors and some dozens of metrics of one's own have
MAX_NAME = 200  # characters
MAX_COUNT = 2**53  # beyond, floats cannot tell neighbours apart


@dataclass(frozen=True)
class GenerationScores:
    """What `metrics.json` of one generation says.

    Args:
        generation: number of the generation, from 0.
        num_real: real images in its training set.
        num_synthetic: synthetic images in its training set.
        steps: training steps.
        images_seen: images drawn for training, counted with repetition.
        loss: mean training loss over the last tenth of the logged steps; None where none was logged.
        scores: evaluations by name: ``<metric>``, or ``<metric>/<reference>``.
        failed: why metrics have no score, by name.
        folders: scores of further folders of images, where a generation has drawn into several, by name of the folder.
    """

    generation: int
    num_real: int
    num_synthetic: int
    steps: int
    images_seen: int
    loss: Score | None
    scores: dict[str, Score]
    failed: dict[str, str] = field(default_factory=dict)
    folders: dict[str, dict[str, Score]] = field(default_factory=dict)

    def of(self, folder: str = "") -> dict[str, Score]:
        """Scores of a folder of images; of the first one, or, by name, of a further one."""
        return self.folders.get(folder, {}) if folder else self.scores

    def flat(self) -> dict[str, float]:
        """Counts, loss and scores under one name each; a standard error as ``<name>_se`` where it is known."""
        flat: dict[str, float] = {
            "num_real": self.num_real,
            "num_synthetic": self.num_synthetic,
            "images_seen": self.images_seen,
        }
        for name, score in (({"loss": self.loss} if self.loss else {}) | self.scores).items():
            flat[name] = score.value
            if score.standard_error is not None:
                flat[f"{name}_se"] = score.standard_error
        return flat


def read_scores(run: RunFolder) -> list[GenerationScores]:
    """Read the scores of every evaluated generation, in order.

    Raises:
        BootlightError: a `metrics.json` lacks a key or holds a value of another type.
    """
    return [read_generation(folder) for folder in run.generations() if folder.is_evaluated]


def read_generation(folder: GenerationFolder) -> GenerationScores:
    """Read the scores of one generation.

    Raises:
        BootlightError: its `metrics.json` is missing, lacks a key or holds a value of another type.
    """
    metrics = read_json(folder.metrics)
    try:
        return _parse(metrics)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise BootlightError(
            f"{folder.metrics} is not complete ({error!r}); delete it and run the same command again"
        ) from error


def _parse(metrics: dict[str, Any]) -> GenerationScores:
    loss = metrics.get("loss")
    folders = dict(metrics.get("folders") or {})
    if len(folders) > MAX_SCORES:
        raise ValueError(f"{len(folders)} folders are more than {MAX_SCORES}")
    return GenerationScores(
        generation=_count(metrics["generation"]),
        num_real=_count(metrics["num_real"]),
        num_synthetic=_count(metrics["num_synthetic"]),
        steps=_count(metrics["steps"]),
        images_seen=_count(metrics["images_seen"]),
        loss=None if loss is None else _score(loss),
        scores=_scores(metrics["scores"]),
        failed={_name(name): one_line(str(why)) for name, why in dict(metrics.get("failed") or {}).items()},
        folders={_name(name): _scores(entry["scores"]) for name, entry in folders.items()},
    )


def _scores(entries: dict[str, Any]) -> dict[str, Score]:
    if len(entries) > MAX_SCORES:
        raise ValueError(f"{len(entries)} scores are more than {MAX_SCORES}")
    return {_name(name): _score(score) for name, score in entries.items()}


def _count(value: Any) -> int:
    if not abs(count := int(value)) < MAX_COUNT:
        raise ValueError(f"{value!r} is no count")
    return count


def _name(name: str) -> str:
    """A name that can be printed: it goes to terminals, spreadsheets and pictures."""
    if not (name.isprintable() and 0 < len(name) <= MAX_NAME):
        raise ValueError(f"{name!r} is no name of a score")
    return name


def _score(entry: dict[str, Any]) -> Score:
    error, interval, protocol = entry.get("standard_error"), entry.get("interval"), entry.get("protocol") or {}
    if not isinstance(protocol, dict):
        raise TypeError(f"{protocol!r} is no protocol")
    if error is not None and float(error) < 0:
        raise ValueError(f"{error!r} is no standard error")
    return Score(
        value=float(entry["value"]),
        standard_error=None if error is None else float(error),
        n=_count(entry["n"]),
        protocol=dict(protocol),
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        remarks=tuple(map(str, entry.get("remarks") or ())),
        higher_is_better=_direction(entry.get("higher_is_better")),
    )


def _direction(value: Any) -> bool | None:
    if value is not None and type(value) is not bool:
        raise TypeError(f"{value!r} says of no score whether higher is better")
    return value


def score_names(rows: Iterable[GenerationScores]) -> list[str]:
    """Every score name that occurs, in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.scores))


def main_scores(names: Sequence[str]) -> list[str]:
    """Those of the names that describe synthetic images.

    ``discriminator_score/train`` beside ``discriminator_score`` is the same measurement made on real images, there for
    comparison, and so are ``vendi/real/train`` and the floors; ``fd-digits/train``, without a plain ``fd-digits``, is a
    distance of the synthetic images to a reference. Scores at the number of images of their floor, and the test of whether
    images can be told apart, are for the sentences that are made of them.
    """
    plain = [name for name in names if REAL not in name.split("/") and is_comparison(name)]
    return [name for name in plain if "/" not in name or name.split("/")[0] not in names]


def is_comparison(name: str) -> bool:
    """Whether a score can be read beside others, and is not there for a sentence alone."""
    first, *others = name.split("/")
    return first != TOLD_APART and SAME_N not in others


def floor_name(name: str, names: Container[str]) -> str | None:
    """Under which name the same score of real images stands; None where there is none.

    Args:
        name: of a main score.
        names: of all scores.
    """
    score, _, reference = name.partition("/")
    wanted = (
        [f"{score}/{REAL}/{reference}"] if reference else [f"{score}/{which}" for which in (HOLDOUT, HELD_OUT, REAL, TRAIN)]
    )
    return next((one for one in wanted if one in names), None)


def same_n_name(name: str) -> str:
    """Under which name a main score stands at the number of images of its floor, where that is another."""
    score, slash, reference = name.partition("/")
    return f"{score}/{SAME_N}{slash}{reference}"


def moved(score: Score, same: Score) -> bool:
    """Whether a score at the number of images of its floor says something else than the one that stands in the table."""
    return abs(same.value - score.value) > (same.standard_error or 0)


def floors_of(rows: Sequence[GenerationScores]) -> dict[str, Score]:
    """What real images score in the place of the synthetic ones, by main score: of the last generation that has it."""
    found: dict[str, Score] = {}
    for row in rows:
        pairs = [(name, floor_name(name, row.scores)) for name in main_scores(list(row.scores))]
        found |= {name: row.scores[floor] for name, floor in pairs if floor is not None}
    return found
