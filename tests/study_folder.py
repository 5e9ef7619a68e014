"""Study folders as the runner of a study and its runs leave them, with numbers that the tests know."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tracking_run import score, write_previews

from bootlight.runs.folder import RunFolder

Scores = Mapping[str, dict[str, Any]]


def write_record(folder: Path, arms: Mapping[str, str], seeds: Sequence[int], **changes: Any) -> None:
    """`study.json`; arms are labels by name."""
    entries = [
        {"name": name, "label": label, "settings": {"data.real_fraction": 0.7}, "base": "base.yaml", "teacher": None}
        for name, label in arms.items()
    ]
    record = {
        "format": 1,
        "name": "a study",
        "layout": "table1",
        "baseline": next(iter(arms)),
        "seeds": list(seeds),
        "arms": entries,
        "comparisons": [],
        "claims": [],
        "command": "bootlight study study.yaml",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(record | changes))


def write_run(
    folder: Path,
    arm: str,
    seed: int,
    generations: Sequence[Scores],
    *,
    planned: int | None = None,
    num_real: int = 1000,
    num_synthetic: int = 300,
    class_path: str = "bootlight.DDPM",
    mixing: dict[str, Any] | None = None,
    history: Callable[[int], list[dict[str, float]]] | None = None,
    data: dict[str, Any] | None = None,
    images_seen: int = 32000,
    steps: Sequence[int] = (500,),
    **model: Any,
) -> RunFolder:
    """A run with these scores in its generations; `planned` more than there are makes it unfinished."""
    run = RunFolder(folder / arm / f"seed_{seed}")
    run.path.mkdir(parents=True)
    config = {
        "model": {"class_path": class_path, "init_args": model},
        "data": {"class_path": "bootlight.BootstrapData", "init_args": {"mixing": mixing}} | (data or {}),
        "bootstrap": {"num_generations": len(generations) if planned is None else planned, "num_synthetic": num_synthetic},
    }
    run.config.write_text(json.dumps(config))  # JSON is YAML
    for generation, scores in enumerate(generations):
        part = run.generation(generation)
        part.path.mkdir()
        counts = {"num_real": num_real, "num_synthetic": generation * num_synthetic, "images_seen": images_seen}
        counts["steps"] = steps[min(generation, len(steps) - 1)]
        entry = {"generation": generation, **counts, "loss": None, "scores": dict(scores)}
        part.metrics.write_text(json.dumps(entry))
        write_previews(part.previews, generation % 4)
        if history is not None:
            part.history.write_text("".join(json.dumps(line) + "\n" for line in history(generation)))
    return run


def judge(value: float, spread: float, n: int = 100) -> dict[str, Any]:
    """A discriminator score: mean and standard deviation over n images."""
    return score(value, spread / n**0.5, n, standard_deviation=spread, num_synthetic=n)


def write_gaussian_weights(run: RunFolder, variances: Sequence[float]) -> None:
    """Weights of `PixelGaussian` for each generation: mean 0.25 and this variance in each of four pixels."""
    for generation, variance in enumerate(variances):
        count = torch.tensor(50.0, dtype=torch.float64)
        sums = torch.stack([torch.full((1, 2, 2), 0.25), torch.full((1, 2, 2), 0.25**2 + variance)]).double() * count
        save_file({"count": count, "sums": sums}, run.generation(generation).weights)
