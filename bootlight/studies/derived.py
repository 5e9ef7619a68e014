"""Scores that a run does not measure itself: the time on the plateau, and the variance of a generator of normal pixels."""

from dataclasses import replace
from typing import Any

from bootlight.generators.published import published_weights
from bootlight.metrics.score import Score
from bootlight.report.scores import GenerationScores
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.studies.settings import is_gaussian
from bootlight.studies.times import plateau_scores

PIXEL_VARIANCE = "pixel_variance"
LARGEST = 1e100


def with_derived(
    run: RunFolder, rows: list[GenerationScores], config: dict[str, Any], layout: str
) -> tuple[GenerationScores, ...]:
    """The generations of a finished run with such scores added.

    Raises:
        BootlightError: weights or curves that cannot be read.
    """
    if is_gaussian(config) and len(rows) > 1:
        rows = _with_variances(run, rows)
    if layout == "gan" and rows:
        rows[-1] = _with_plateau(run, rows[-1])
    return tuple(rows)


def _with_plateau(run: RunFolder, row: GenerationScores) -> GenerationScores:
    from bootlight.runs.history import read_history

    history = read_history(run.generation(row.generation).history)
    batch_size = row.images_seen / row.steps if row.steps else 0.0
    found = plateau_scores(history, batch_size=batch_size, size=row.num_real + row.num_synthetic)
    return replace(row, scores={**row.scores, **found})


def _with_variances(run: RunFolder, rows: list[GenerationScores]) -> list[GenerationScores]:
    """Fitted variances in units of generation 0; left out where weights were deleted, or there is nothing to divide by."""
    folders = [run.generation(row.generation) for row in rows]
    if not all(folder.weights.exists() for folder in folders):
        return rows
    variances = [_fitted_variance(folder) for folder in folders]
    if not all(0 < variance < LARGEST for variance in variances):
        return rows
    protocol = {"unit": "mean fitted variance of the pixels of generation 0"}
    scores = [
        Score(variance / variances[0], None, row.num_real + row.num_synthetic, protocol)
        for variance, row in zip(variances, rows, strict=True)
    ]
    return [replace(row, scores={**row.scores, PIXEL_VARIANCE: score}) for row, score in zip(rows, scores, strict=True)]


def _fitted_variance(folder: GenerationFolder) -> float:
    """Mean over pixels of the variance that `PixelGaussian` has fitted; 0 where the weights are of something else."""
    weights = published_weights(folder)
    if not {"count", "sums"} <= weights.keys() or weights["sums"].shape[:1] != (2,) or weights["count"].numel() != 1:
        return 0.0
    mean, square = weights["sums"].double() / weights["count"].double()
    return float((square - mean.square()).clamp(min=0).mean())
