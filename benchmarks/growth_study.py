"""A finished study that nobody has run, for the table of growth."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bootlight.io.pictures import encode_png
from bootlight.runs.folder import GenerationFolder, RunFolder

GENERATIONS, LOGGED = 3, 100
SCORES = ("fd/train", "fd/holdout", "kid/train", "precision-k3/train", "recall-k3/train", "authpct/train")


def make_study(folder: Path, runs: int) -> Path:
    """So many runs of three generations, two or four seeds of each arm."""
    if folder.exists():
        return folder
    rng, seeds = np.random.default_rng(0), list(range(2 if runs < 8 else 4))
    arms = [f"arm{k:02d}" for k in range(runs // len(seeds))]
    entries = [{"name": arm, "label": arm, "settings": {}, "base": "base.yaml", "teacher": None} for arm in arms]
    record = {
        "format": 1, "name": "a study", "layout": "table1", "baseline": arms[0], "seeds": seeds, "arms": entries,
        "comparisons": [], "claims": [], "command": "bootlight study study.yaml",
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(record))
    for arm in arms:
        for seed in seeds:
            _make_run(RunFolder(folder / arm / f"seed_{seed}"), rng)
    return folder


def _make_run(run: RunFolder, rng: np.random.Generator) -> None:
    run.path.mkdir(parents=True)
    config: dict[str, Any] = {
        "model": {"class_path": "bootlight.DDPM", "init_args": {}},
        "data": {"class_path": "bootlight.BootstrapData", "init_args": {"mixing": None}},
        "bootstrap": {"num_generations": GENERATIONS, "num_synthetic": 300},
    }
    run.config.write_text(json.dumps(config))  # JSON is YAML
    run.real_previews.write_bytes(encode_png(rng.integers(0, 256, (32, 12 * 32, 3), dtype=np.uint8)))
    for generation in range(GENERATIONS):
        _make_generation(run.generation(generation), generation, rng)


def _make_generation(folder: GenerationFolder, generation: int, rng: np.random.Generator) -> None:
    folder.path.mkdir()
    scores = {name: {"value": rng.random(), "standard_error": 0.1, "n": 300, "protocol": {}} for name in SCORES}
    counts = {"num_real": 1000, "num_synthetic": 300 * generation, "steps": 500, "images_seen": 32000}
    folder.metrics.write_text(json.dumps({"generation": generation, **counts, "loss": None, "scores": scores}))
    folder.previews.write_bytes(encode_png(rng.integers(0, 256, (32, 12 * 32, 3), dtype=np.uint8)))
    lines = [json.dumps({"step": step, "train/loss": rng.random()}) + "\n" for step in range(LOGGED)]
    folder.history.write_text("".join(lines))
