"""What W&B gets when a generation is done: scores, previews, the manifest of its images."""

import hashlib
import io
from typing import Any

from PIL import Image

from bootlight.report.noise_levels import noise_bins_png, read_noise_bins
from bootlight.report.scores import read_generation, read_scores
from bootlight.report.verdict import run_verdict
from bootlight.runs.folder import GenerationFolder, RunFolder


def closing_values(folder: GenerationFolder, generation: int) -> dict[str, Any]:
    """Scores as ``generation/<name>``, standard errors as ``generation/<name>_se``, previews, and pictures of noise levels.

    Raises:
        BootlightError: `metrics.json` is missing or not complete.
    """
    import wandb

    values: dict[str, Any] = {f"generation/{name}": value for name, value in read_generation(folder).flat().items()}
    if folder.previews.exists():
        values["generation/previews"] = wandb.Image(str(folder.previews), caption=f"generation {generation}")
    bins = read_noise_bins(folder.noise_bins)
    if bins is not None:
        picture = Image.open(io.BytesIO(noise_bins_png(bins)))
        values["generation/noise_bins"] = wandb.Image(picture, caption="loss, and its change by a step, at each sigma")
    return values


def verdict_values(run: RunFolder) -> dict[str, Any]:
    """What the scores of a run say, for the summary: the sentences as `verdict`, and their numbers.

    Raises:
        BootlightError: a `metrics.json` is not complete.
    """
    return run_verdict(run, read_scores(run)).flat()


def log_manifest(run: Any, folder: GenerationFolder, generation: int) -> None:
    """Log the manifest of the synthetic images, if there is one, as an artifact; the images themselves stay on disk."""
    import wandb

    if not folder.is_synthesized:
        return
    with open(folder.metadata, "rb") as file:
        count = sum(1 for _ in file)
    with open(folder.weights, "rb") as file:
        weights_hash = hashlib.file_digest(file, "sha256").hexdigest()
    artifact = wandb.Artifact(
        f"synthetic-images-{run.id}",
        type="synthetic-images",
        metadata={"generation": generation, "n": count, "weights_sha256": weights_hash},
    )
    artifact.add_file(str(folder.metadata))
    run.log_artifact(artifact, aliases=["latest", f"gen-{generation:03d}"])
