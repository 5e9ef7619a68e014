"""Damage that would end in other numbers: noticed by the stage that reads it, told by the name of the file, and mended."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from bootlight.data import extra
from bootlight.data.extra import open_curated
from bootlight.data.resolve import resolve
from bootlight.data.store import build_store
from bootlight.errors import BootlightError
from bootlight.evaluation.networks.trained_networks import load_network, save_network
from bootlight.evaluation.sets.streamed import drawn_source
from bootlight.generators.load import load_generator
from bootlight.generators.published import published_weights
from bootlight.io.atomic import read_json
from bootlight.io.pictures import encode_png
from bootlight.metrics.features.feature_cache import cached_features
from bootlight.runs import drawn
from bootlight.runs.drawn import check_drawn, read_drawn
from bootlight.runs.folder import RunFolder, sample_name
from bootlight.runs.manifest import read_metadata
from bootlight.synthesis.folder import write_image, write_manifest

COUNT = 4


@pytest.fixture
def folder(tmp_path):
    """A generation that has drawn pictures of two classes."""
    folder = RunFolder(tmp_path / "run").generation(0)
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        write_image(folder.sample_file(i), rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    write(folder)
    return folder


def write(folder):
    write_manifest(folder, range(COUNT), torch.arange(COUNT) % 2, generation=0, protocol={"sampler": "x"})


def rewritten(path, change):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def swap(folder):
    first, second = (folder.sample_file(i) for i in (0, 2))
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


DAMAGE = {
    "two pictures swapped": (swap, "000000.png is not the picture that was drawn"),
    "another picture": (lambda f: write_image(f.sample_file(3), np.zeros((8, 8, 3), np.uint8)), "000003.png is not"),
    "a picture that is missing": (lambda f: f.sample_file(1).unlink(), "000001.png: No such file"),
    "a label": (lambda f: rewritten(f.metadata, lambda rows: rows[1].update(label=0)), "metadata.jsonl: cannot be read"),
    "a hash": (lambda f: rewritten(f.metadata, lambda rows: rows[1].update(sha256="0" * 64)), "metadata.jsonl: cannot be read"),
    "the last line": (lambda f: rewritten(f.metadata, lambda rows: rows.pop()), "metadata.jsonl: cannot be read"),
    "the order": (lambda f: rewritten(f.metadata, lambda rows: rows.reverse()), "metadata.jsonl: cannot be read"),
    "the last character": (lambda f: os.truncate(f.metadata, f.metadata.stat().st_size - 1), "metadata.jsonl: cannot be"),
}  # fmt: skip
READERS = {
    "the evaluation": lambda folder: drawn_source("drawn", folder, (3, 8, 8)),
    "the next generation": lambda folder: open_curated(folder, ("a", "b"), build),
    "another command": lambda folder: resolve(f"{folder.path.parent}@0"),
    "another command, by the folder": lambda folder: resolve(str(folder.path)),
}


def build(root, **kwargs):
    return build_store(root, image_size=8, channels=3, cache=root.parent / "cache", **kwargs)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_changed_images_are_told_by_whoever_reads_them(folder, damage, reader):
    READERS[reader](folder)
    change, message = DAMAGE[damage]
    change(folder)
    with pytest.raises(BootlightError, match=message) as caught:
        READERS[reader](folder)
    assert str(folder.metadata) in str(caught.value) and "run the same command again" in str(caught.value)


def test_the_cure_is_one(folder):
    """What the message says: the picture and the manifest are deleted, drawn and written again."""
    swap(folder)
    pictures = [folder.sample_file(i).read_bytes() for i in (2, 0)]
    for i in (0, 2):
        folder.sample_file(i).unlink()
    folder.metadata.unlink()
    for i, data in zip((0, 2), pictures, strict=True):  # as the same seeds would
        folder.sample_file(i).write_bytes(data)
    write(folder)
    assert len(check_drawn(folder, read_drawn(folder))) == 32


def test_the_record_is_there_before_the_manifest_and_runs_without_it_are_read(folder):
    assert read_json(folder.drawn)["images"] == COUNT
    assert folder.drawn.stat().st_mtime_ns <= folder.metadata.stat().st_mtime_ns
    folder.drawn.unlink()  # as earlier versions have it
    assert [row["label"] for row in read_metadata(folder)] == [0, 1, 0, 1]
    folder.drawn.write_text("[]")
    assert len(list(read_metadata(folder))) == COUNT


def test_what_was_looked_at_is_not_read_again_until_it_changes(folder, monkeypatch):
    """Else a run would be quadratic in its generations: each asks for the images of all before it."""
    read = []
    monkeypatch.setattr(drawn, "file_sha256", lambda path: read.append(path) or rows[int(Path(path).stem)].sha256)
    rows = read_drawn(folder)
    for _ in range(3):
        check_drawn(folder, rows)
    assert len(read) == COUNT
    path = folder.sample_file(1)
    for change in (
        lambda: os.utime(path, ns=(1, 1)),
        lambda: path.write_bytes(path.read_bytes() + b"x"),
        lambda: shutil.copy2(path, path.with_suffix(".new")) and os.replace(path.with_suffix(".new"), path),
    ):
        change()
        before = len(read)
        check_drawn(folder, rows)
        check_drawn(folder, rows)
        assert len(read) == before + COUNT


def test_decoded_images_are_opened_once_in_a_process(folder, tmp_path):
    calls = []

    class Build:
        def __init__(self):
            self.keywords = {"image_size": 8}

        def __call__(self, root, **kwargs):
            calls.append(root)
            return build(root, **kwargs)

    stores = [open_curated(folder, ("a", "b"), Build()).store for _ in range(3)]
    assert len(calls) == 1 and all(store.images is stores[0].images for store in stores)
    os.utime(folder.sample_file(0), ns=(1, 1))
    open_curated(folder, ("a", "b"), Build())
    assert len(calls) == 2
    shutil.rmtree(folder.path / "cache")  # a worker process would look for the file
    open_curated(folder, ("a", "b"), Build())
    assert len(calls) == 3
    assert all(place.is_relative_to(tmp_path) or place.is_absolute() for place, _ in extra._built_before)


def test_changed_weights_are_told(tmp_path):
    folder = RunFolder(tmp_path).generation(0)
    folder.path.mkdir()
    weights = safetensors.torch.save({"a": torch.zeros(3)})
    folder.weights.write_bytes(weights)
    digest = "a1af95f86f3e8c0c98be5f80d8dcb37c1e4b8dbd0bd4e3d9f3b4a43bb2b1b3a0"
    folder.model_config.write_text(json.dumps({"weights_sha256": digest, "image_size": 8, "channels": 1, "model": {}}))
    for read in (published_weights, load_generator):
        with pytest.raises(BootlightError, match=r"s was changed: .*model\.json; delete both|does not describe"):
            read(folder)
    folder.model_config.write_text("{}")  # says nothing of them
    assert list(published_weights(folder)) == ["a"]


def test_changed_networks_of_references_are_told(tmp_path):
    network, file = torch.nn.Linear(2, 1), tmp_path / "judge-1.safetensors"
    save_network(network, file, {"steps": 3})
    assert read_json(file.with_suffix(".json"))["steps"] == 3
    load_network(network, file)
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BootlightError, match=r"judge-1\.safetensors was changed: .*judge-1\.json; delete both and run"):
        load_network(network, file)


def test_changed_features_are_computed_again(tmp_path):
    def ask(value: float):
        return cached_features("key", lambda: {"a": torch.full((4, 2), value), "b": torch.ones(2).double()}, tmp_path)

    ask(1.0)
    assert ask(2.0)["a"][0, 0] == 1.0
    path = tmp_path / "features" / "key.safetensors"
    whole = path.read_bytes()
    for place in (-1, -20, -60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + (whole[place + 1 :] if place != -1 else b""))
        with pytest.warns(UserWarning, match="key.safetensors is damaged .*computed again"):
            assert ask(2.0)["a"][0, 0] == 2.0
        assert ask(3.0)["a"][0, 0] == 2.0
    path.write_bytes(safetensors.torch.save({"a": torch.zeros(4, 2)}))  # as another program would
    with pytest.warns(UserWarning, match="is damaged"):
        assert ask(4.0)["a"][0, 0] == 4.0


def test_pictures_of_others_without_hashes_are_taken(tmp_path):
    folder = RunFolder(tmp_path).generation(0)
    path = folder.samples / sample_name(0)
    path.parent.mkdir(parents=True)
    path.write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    folder.metadata.write_text(json.dumps({"file_name": sample_name(0), "label": 0}) + "\n")
    check_drawn(folder, read_drawn(folder))
    assert resolve(str(tmp_path))[0] == Path(folder.samples)
