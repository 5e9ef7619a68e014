"""Folders of synthetic images: seeds, labels, files, interruption, ranks, manifest."""

import hashlib
import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_folder import draw
from gaussian import Gaussian
from PIL import Image

from bootlight.data.store import build_store
from bootlight.distributed.stopping import stop_request
from bootlight.errors import BootlightError
from bootlight.io.pictures import to_uint8
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import GenerationFolder, RunFolder, sample_name
from bootlight.runs.manifest import read_metadata
from bootlight.synthesis import folder as synthesis
from bootlight.synthesis.folder import image_seeds, preview_seeds, stratified_labels, write_manifest
from bootlight.synthesis.previews import write_previews

SEEDS = [3, 1, 4, 15, 9, 2, 6]


class Counting(Gaussian):
    """A Gaussian with mean 0.2 and deviation 0.1 times the label plus one; notes which seeds it is asked for."""

    def __init__(self, num_classes=None):
        super().__init__(4, 3)
        self.num_classes = num_classes
        self.count.fill_(1.0)
        self.sums[0], self.sums[1] = 0.2, 0.2**2 + 0.1**2
        self.asked = []

    def sample(self, seeds, *, labels=None):
        self.asked.append(list(seeds))
        return super().sample(seeds, labels=labels)

    def draw(self, noise, labels):
        images = super().draw(noise, None)
        return images if labels is None else images * (labels + 1).reshape(-1, 1, 1, 1)


@pytest.fixture
def folder(tmp_path):
    return GenerationFolder(tmp_path / "gen_000")


def context(generation=0, seed=0):
    return GenerationContext(RunFolder(Path("unused")), generation, seed)


def files(folder):
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


# Seeds and labels


def test_seeds_are_used_once_in_a_run():
    seeds = [seed for generation in range(3) for seed in image_seeds(context(generation), 500)]
    previews = preview_seeds(context(), 500)
    assert len(set(seeds)) == 1500 and len(set(previews)) == 500
    assert not set(seeds) & set(previews)
    assert not set(seeds + previews) & set(image_seeds(context(seed=1), 500) + preview_seeds(context(seed=1), 500))


def test_seeds_of_fewer_images_are_the_first_of_more():
    assert image_seeds(context(2), 9)[:4] == image_seeds(context(2), 4)


def test_previews_are_the_same_in_every_generation():
    assert preview_seeds(context(0), 12) == preview_seeds(context(5), 12)


@pytest.mark.parametrize("count", [1, 7, 60, 137, 1000])
def test_labels_are_within_one_of_their_share(count):
    real = np.repeat([0, 1, 2, 3], [13, 57, 1, 29])
    drawn = np.bincount(stratified_labels(real, count, 5), minlength=4)
    share = np.bincount(real) * count / len(real)
    assert drawn.sum() == count
    assert (abs(drawn - share) < 1).all()


def test_labels_are_shuffled_by_the_seed():
    real = np.repeat([0, 1], 100)
    labels = stratified_labels(real, 200, 5)
    assert np.array_equal(labels, stratified_labels(real[::-1], 200, 5))
    assert not np.array_equal(labels, stratified_labels(real, 200, 6))
    # Of the first half, hypergeometric(200, 100, 100): mean 50, standard deviation 3.5; four of them.
    assert abs(labels[:100].sum() - 50) < 14


# Files


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1, 2, 2, 1, 0, 1])])
def test_files_are_the_rounded_samples(folder, labels):
    module = Counting(None if labels is None else 3)
    draw(module, folder, SEEDS, labels, batch_size=3)
    written = files(folder)
    assert sorted(written) == [f"samples/{sample_name(i)}" for i in range(7)]  # and no temporary files
    expected = to_uint8(Counting(module.num_classes).sample(SEEDS, labels=labels)).permute(0, 2, 3, 1).numpy()
    for i in range(7):
        assert np.array_equal(pixels(written[f"samples/{sample_name(i)}"]), expected[i])
    # Rounded, not truncated, or half a grey level would be lost in each generation.
    scaled = (Counting(module.num_classes).sample(SEEDS, labels=labels) * 127.5 + 127.5).clamp(0, 255)
    assert np.abs(expected - scaled.permute(0, 2, 3, 1).numpy()).max() <= 0.5 + 1e-4  # float32 at 255 has steps of 2e-5


def test_second_call_draws_nothing(folder):
    module = Counting()
    draw(module, folder, SEEDS, None, batch_size=3)
    assert module.asked == [[3, 1, 4], [15, 9, 2], [6]]
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.png")}
    draw(module, folder, SEEDS, None, batch_size=3)
    assert len(module.asked) == 3
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.png")} == before


def test_missing_files_are_drawn_again_in_their_batch(folder):
    module, labels = Counting(3), torch.tensor([0, 1, 2, 2, 1, 0, 1])
    draw(module, folder, SEEDS, labels, batch_size=3)
    before = files(folder)
    for index in (1, 6):
        folder.sample_file(index).unlink()
    module.asked.clear()
    draw(module, folder, SEEDS, labels, batch_size=3)
    assert module.asked == [[3, 1, 4], [6]]  # whole batches: the network sees what it saw before
    assert files(folder) == before


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_together_draw_what_one_draws(tmp_path, world_size):
    alone, shared = GenerationFolder(tmp_path / "alone"), GenerationFolder(tmp_path / "shared")
    draw(Counting(), alone, SEEDS, None, batch_size=2)
    modules = [Counting() for _ in range(world_size)]
    for rank, module in enumerate(modules):
        draw(module, shared, SEEDS, None, batch_size=2, rank=rank, world_size=world_size)
    assert files(shared) == files(alone)
    asked = [seed for module in modules for batch in module.asked for seed in batch]
    assert sorted(asked) == sorted(SEEDS)  # each image by one rank
    loads = [len(module.asked) for module in modules]
    assert max(loads) - min(loads) <= 1


def test_stops_between_batches(folder):
    class Asked(Counting):
        def sample(self, seeds, *, labels=None):
            if len(self.asked) == 1:
                stop_request.reason = "a test"
            return super().sample(seeds, labels=labels)

    with stop_request.listening():
        digests = draw(Asked(), folder, SEEDS, None, batch_size=3)
    assert sorted(files(folder)) == [f"samples/{sample_name(i)}" for i in range(6)]  # nothing that was drawn is lost
    assert sorted(digests) == list(range(6)) and not folder.is_synthesized


def test_a_failed_write_leaves_no_picture(folder, monkeypatch):
    real_replace = os.replace

    def full_disk(source, target):
        if target.name == "000002.png":
            raise OSError(28, "No space left on device")
        real_replace(source, target)

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(BootlightError, match=r"000002\.png: No space left on device"):
        draw(Counting(), folder, SEEDS, None, batch_size=3)
    assert sorted(files(folder)) == [f"samples/{sample_name(i)}" for i in range(2)]


def test_nan_is_refused_before_anything_is_written(folder):
    module = Counting()
    module.sums.fill_(float("nan"))
    with pytest.raises(BootlightError, match="NaN"):
        draw(module, folder, SEEDS, None, batch_size=3)
    assert files(folder) == {}


def test_a_batch_is_drawn_while_the_one_before_is_written(folder, monkeypatch):
    """Each picture of the first batch waits, in its thread, until the second batch is being drawn."""
    drawing = threading.Event()
    write = synthesis.write_bytes

    def wait_and_write(path, data):
        assert drawing.wait(30), "nothing is drawn meanwhile"
        write(path, data)

    class Telling(Counting):
        def sample(self, seeds, *, labels=None):
            if len(self.asked) == 1:
                assert files(folder) == {}
                drawing.set()
            return super().sample(seeds, labels=labels)

    monkeypatch.setattr(synthesis, "write_bytes", wait_and_write)
    draw(Telling(), folder, SEEDS, None, batch_size=3)
    assert len(files(folder)) == 7


def test_an_error_in_the_last_batch_is_told(folder, monkeypatch):
    def refuse(path, data):
        raise BootlightError(f"cannot write {path.name}")

    monkeypatch.setattr(synthesis, "write_bytes", refuse)
    for seeds in (SEEDS[:3], SEEDS):  # in the only batch; in the first of several
        with pytest.raises(BootlightError, match=r"cannot write 000000\.png"):
            draw(Counting(), folder, seeds, None, batch_size=3)


# Manifest and previews


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1, 2, 2, 1, 0, 1])])
def test_manifest(folder, labels, tmp_path):
    module = Counting(None if labels is None else 3)
    draw(module, folder, SEEDS, labels, batch_size=3)
    assert not folder.is_synthesized
    write_manifest(folder, SEEDS, labels, generation=4, protocol={"sampler": "Ancestral", "num_steps": 50})
    assert folder.is_synthesized
    for i, row in enumerate(read_metadata(folder)):
        assert row == {
            "file_name": sample_name(i),
            "seed": SEEDS[i],
            "label": None if labels is None else int(labels[i]),
            "parent": None,
            "generation": 4,
            "sampler": "Ancestral",
            "num_steps": 50,
            "sha256": hashlib.sha256(folder.sample_file(i).read_bytes()).hexdigest(),
        }
    store = build_store(folder.samples, image_size=4, channels=3, cache=tmp_path / "cache")
    assert np.array_equal(store.images, np.stack([pixels(folder.sample_file(i).read_bytes()) for i in range(7)]))


def test_hashes_are_of_what_was_written_and_read_where_it_was_there(folder):
    draw(Counting(), folder, SEEDS[:4], None, batch_size=3)
    folder.sample_file(3).unlink()
    digests = draw(Counting(), folder, SEEDS, None, batch_size=3)
    assert digests == {i: hashlib.sha256(folder.sample_file(i).read_bytes()).hexdigest() for i in (3, 4, 5, 6)}
    for i in (0, 6):  # of these two, the first is read
        folder.sample_file(i).write_bytes(b"other")
    write_manifest(folder, SEEDS, None, generation=0, protocol={}, digests=digests)
    rows = list(read_metadata(folder))
    assert rows[0]["sha256"] == hashlib.sha256(b"other").hexdigest() and rows[6]["sha256"] == digests[6]


def test_manifest_needs_every_file(folder):
    draw(Counting(), folder, SEEDS[:3], None, batch_size=3)
    with pytest.raises(FileNotFoundError, match=r"000003\.png"):
        write_manifest(folder, SEEDS[:4], None, generation=0, protocol={})
    assert not folder.is_synthesized


def test_previews_lie_side_by_side(folder):
    write_previews(folder.previews, Counting().sample(SEEDS))
    expected = to_uint8(Counting().sample(SEEDS)).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pixels(folder.previews.read_bytes()), np.concatenate(list(expected), axis=1))
