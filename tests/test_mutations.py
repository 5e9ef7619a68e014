"""Files that nobody has written on purpose: whatever is in them, what reads them succeeds or says in one line what is wrong."""

import io
import json
import logging
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from raw_files import state_of_training

from bootlight.data.reader import open_images
from bootlight.errors import BootlightError
from bootlight.generators.load import load_generator
from bootlight.io.atomic import read_json, read_weights
from bootlight.io.pictures import decode
from bootlight.report.scores import read_generation
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.kept_config import read_config
from bootlight.training.checkpoints import newest_readable

SHARES = {
    "png": 300, "jpeg": 250, "webp": 250, "zip": 300, "metadata.jsonl": 250, "dataset.json": 200, "config.yaml": 200,
    "metrics.json": 150, "model.json": 60, "checkpoint": 100, "safetensors": 150,
}  # fmt: skip
assert sum(SHARES.values()) >= 2_000
PLACE = st.floats(0, 1, exclude_max=True)
NASTY = [b"../", b"/", b"\0", b"\xff\xff\xff\xff", b"[" * 3000, b'{"a":', b"&a [*a]", b"!!python/object:x.y", b"1e999", b"NaN"]
EDIT = st.one_of(
    st.tuples(st.just("replace"), PLACE, st.binary(min_size=1, max_size=6)),
    st.tuples(st.just("insert"), PLACE, st.sampled_from(NASTY)),
    st.tuples(st.just("delete"), PLACE, st.integers(1, 40).map(bytes)),
    st.tuples(st.just("cut"), PLACE, st.just(b"")),
    st.tuples(st.just("repeat"), PLACE, st.integers(1, 60).map(bytes)),
)
EDITS = st.lists(EDIT, min_size=1, max_size=4)
MANIFESTS = {
    "metadata.jsonl": b'{"file_name": "a/0.png", "label": 0}\n{"file_name": "b/1.png", "label": 1}\n',
    "dataset.json": b'{"labels": [["a/0.png", 0], ["b/1.png", 1]]}',
}
MODEL = {
    "generation": 0, "image_size": 8, "channels": 3, "weights_sha256": "0",
    "model": {"class_path": "bootlight.DCGAN", "init_args": {"width": 4, "latent_dim": 4}},
}  # fmt: skip
SCORES = {
    "generation": 0, "num_real": 3, "num_synthetic": 4, "steps": 5, "images_seen": 6, "loss": None,
    "scores": {"kid": {"value": 1.0, "standard_error": 0.1, "n": 4, "protocol": {}, "interval": [0, 2], "remarks": ["x"],
                       "higher_is_better": False}},
}  # fmt: skip


def mutated(data: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for what, place, piece in edits:
        at = int(place * len(data))
        end = at + len(piece)
        data = {
            "replace": data[:at] + piece + data[end:],
            "insert": data[:at] + piece + data[at:],
            "delete": data[:at] + data[end:],
            "cut": data[:at],
            "repeat": data[:end] + data[at:end] * 3 + data[end:],
        }[what]
    return data


def picture(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind.upper())
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("a/0.png", "b/1.png"):
            file.writestr(name, picture("png"))
        file.writestr("metadata.jsonl", MANIFESTS["metadata.jsonl"])
    return buffer.getvalue()


def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save(state_of_training(a=torch.arange(4.0)), buffer)
    return buffer.getvalue()


def read_set(root: Path) -> None:
    with open_images(root) as images:
        for i in range(len(images)):
            decode(images.read(i), images.names[i], image_size=8, channels=3)


def check_picture(folder: Path, data: bytes) -> None:
    decode(data, "picture", image_size=8, channels=3)


def check_zip(folder: Path, data: bytes) -> None:
    (folder / "images.zip").write_bytes(data)
    read_set(folder / "images.zip")


def check_manifest(name: str) -> Callable[[Path, bytes], None]:
    def check(folder: Path, data: bytes) -> None:
        for image in ("a/0.png", "b/1.png"):
            (folder / image).parent.mkdir(parents=True, exist_ok=True)
            (folder / image).write_bytes(picture("png"))
        (folder / name).write_bytes(data)
        read_set(folder)

    return check


def check_config(folder: Path, data: bytes) -> None:
    (folder / "config.yaml").write_bytes(data)
    read_config(folder / "config.yaml")


def check_metrics(folder: Path, data: bytes) -> None:
    generation = GenerationFolder(folder)
    generation.metrics.write_bytes(data)
    read_json(generation.metrics)
    read_generation(generation)


def check_model(folder: Path, data: bytes) -> None:
    generation = GenerationFolder(folder / "gen_000")
    generation.path.mkdir(exist_ok=True)
    generation.model_config.write_bytes(data)
    generation.weights.write_bytes(safetensors.torch.save({"a": torch.zeros(3)}))
    load_generator(generation)


def check_checkpoint(folder: Path, data: bytes) -> None:
    generation = GenerationFolder(folder)
    generation.checkpoints.mkdir(exist_ok=True)
    (generation.checkpoints / "last.ckpt").write_bytes(data)
    newest_readable(generation)


def check_weights(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").write_bytes(data)
    read_weights(folder / "model.safetensors")


KINDS: dict[str, tuple[bytes, Callable[[Path, bytes], None]]] = {
    **{kind: (picture(kind), check_picture) for kind in ("png", "jpeg", "webp")},
    **{name: (manifest, check_manifest(name)) for name, manifest in MANIFESTS.items()},
    "zip": (zipped(), check_zip),
    "config.yaml": (yaml.safe_dump({"data": {"root": "x", "list": [1, 2.5, None]}, "model": "y"}).encode(), check_config),
    "metrics.json": (json.dumps(SCORES).encode(), check_metrics),
    "model.json": (json.dumps(MODEL).encode(), check_model),
    "checkpoint": (checkpoint(), check_checkpoint),
    "safetensors": (safetensors.torch.save({"a": torch.arange(6.0)}), check_weights),
}


@pytest.mark.parametrize("kind", SHARES)
def test_mutated_files_are_read_or_refused_in_one_line(tmp_path, kind):
    original, check = KINDS[kind]
    outcomes = {"read": 0, "refused": 0}
    logging.getLogger("bootlight").setLevel(logging.ERROR)  # "cannot be read; continuing from an older checkpoint"

    @settings(
        max_examples=SHARES[kind], derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(EDITS)
    def attempt(edits):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's notes on odd metadata
            try:
                check(tmp_path, mutated(original, edits))
                outcomes["read"] += 1
            except BootlightError as error:
                assert str(error) and "\n" not in str(error)
                outcomes["refused"] += 1

    attempt()
    assert sum(outcomes.values()) >= SHARES[kind]  # otherwise fewer than 2,000 in all were tried
    assert outcomes["refused"] > 0 or kind == "checkpoint"  # an unreadable checkpoint is passed over
