"""A run folder as a finished bootstrap leaves it, with numbers and pictures that the tests know."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bootlight.runs.folder import RunFolder

EDGE = 8
COLUMNS = 5


def score(value: float, standard_error: float | None, n: int, **protocol: Any) -> dict[str, Any]:
    return {"value": value, "standard_error": standard_error, "n": n, "protocol": protocol}


def metrics(generation: int) -> dict[str, Any]:
    return {
        "generation": generation,
        "num_real": 1437,
        "num_synthetic": 700 * generation,
        "steps": 2000 + generation,
        "images_seen": 128000,
        "loss": {"value": 0.0312 + generation, "standard_error": 0.0011, "n": 20},
        "scores": {
            "fd-digits/holdout": score(3.25 + generation, 0.125, 500, features="digits network", resize="<none>"),
            "fd-digits/train": score(2.75 + generation, 0.25, 500, features="digits network"),
            "discriminator_score": score(0.3 - generation / 10, 0.012, 500, judge="small convolutional"),
            "discriminator_score/real": score(0.95, None, 1437, judge="small convolutional"),
        },
    }


def tile_value(row: int, column: int) -> int:
    """Grey value of one preview, different for every place; row -1 holds the real images."""
    return (20 + 40 * (row + 1) + 7 * column) % 256


def write_previews(path: Path, row: int, *, edge: int = EDGE, columns: int = COLUMNS) -> None:
    values = np.array([tile_value(row, column) for column in range(columns)], dtype=np.uint8)
    Image.fromarray(np.tile(values.repeat(edge), (edge, 1))).save(path)


def make_run(path: Path, generations: int = 3) -> RunFolder:
    run = RunFolder(path)
    run.path.mkdir(parents=True)
    run.config.write_text("seed_everything: 7\nmodel:\n  class_path: bootlight.DDPM\n  init_args:\n    image_size: 8\n")
    write_previews(run.real_previews, -1)
    for generation in range(generations):
        folder = run.generation(generation)
        folder.samples.mkdir(parents=True)
        folder.metrics.write_text(json.dumps(metrics(generation)))
        write_previews(folder.previews, generation)
        lines = [{"step": step, "train/loss": 1 / (1 + step + generation)} for step in range(0, 100, 10)]
        folder.history.write_text("".join(json.dumps(line) + "\n" for line in lines))
        times = [("training", 100.5), ("training", 20.0), ("synthesis", 7.25)]
        folder.timing.write_text("".join(json.dumps({"stage": s, "seconds": t}) + "\n" for s, t in times))
        folder.metadata.write_text('{"file_name": "00000/000000.png"}\n{"file_name": "00000/000001.png"}\n')
        folder.weights.write_bytes(b"weights of generation %d" % generation)
    return run
