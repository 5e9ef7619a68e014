"""A million images a generation: they are written, read back, measured and trained on, with little memory for each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bootlight.runs.folder import RunFolder

# MiB that a process may need at most beyond what it had before the first image was drawn, for each million of images, besides
# 192 features of 4 bytes, and of 8 while a distance is computed: names, hashes and labels as Python objects, of which
# there are several lists at a time.
MANY, EACH = 1_000_000, 1500 * 1_000_000 / 2**20


def two_generations(count: int, tmp_path: Path) -> list[dict]:
    """Phases of a run; see `million.py`."""
    subprocess.run([sys.executable, str(Path(__file__).with_name("million.py")), str(count), str(tmp_path)], check=True)
    run = RunFolder(tmp_path / "run")
    for generation in range(2):
        scores = json.loads(run.generation(generation).metrics.read_text())
        assert scores["num_synthetic"] == generation * count
        assert scores["scores"]["fd-pixels/train"]["n"] == count
    return json.loads((tmp_path / "phases.json").read_text())


@pytest.mark.slow
def test_a_million_images_go_through_two_generations(tmp_path):
    """Ten minutes of one core, more where the disk is slow, and less than 4 GiB."""
    phases = two_generations(MANY, tmp_path)
    print(*phases, sep="\n")
    first = phases[0]["before"]
    features = (4 + 8) * 192 * MANY / 2**20
    assert max(phase.get("peak", 0) for phase in phases) - first < EACH + features
