"""Images of a generation are decoded as they are asked for: the same ones in the same order, a few at a time."""

import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from bootlight.data import store_passes
from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError
from bootlight.evaluation.features import extract
from bootlight.evaluation.sets.sources import StoreSource
from bootlight.evaluation.sets.streamed import DrawnSource, drawn_source, in_batches
from bootlight.evaluation.suite import num_distinct
from bootlight.io.pictures import encode_png
from bootlight.runs.folder import GenerationFolder
from bootlight.synthesis.folder import write_image, write_manifest

COUNT = 75


@pytest.fixture
def drawn(tmp_path):
    """A generation and its pixels."""
    folder = GenerationFolder(tmp_path / "gen_000")
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), np.uint8)
    folder.sample_file(0).parent.mkdir(parents=True)
    for i, image in enumerate(images):
        folder.sample_file(i).write_bytes(encode_png(image))
    write_manifest(folder, range(COUNT), None, generation=0, protocol={})
    return folder, images


class Rows(nn.Module):
    """A few pixels of each image, and which batch it was in."""

    name, protocol, channels = "rows", {}, 3

    def forward(self, images):
        return images.flatten(1)[:, ::7].float()


@pytest.mark.parametrize("size", [1, 16, 17, COUNT, 100])
def test_batches_are_those_of_the_images_in_memory(drawn, size):
    folder, images = drawn
    ours = list(drawn_source("drawn", folder, (3, 8, 8)).batches(size))
    theirs = list(StoreSource("stored", store_from_arrays(images)).batches(size))
    assert [len(batch) for batch in ours] == [len(batch) for batch in theirs]
    assert all(torch.equal(*pair) and pair[0].stride() == pair[1].stride() for pair in zip(ours, theirs, strict=True))


def test_features_are_those_of_the_images_in_memory(drawn):
    folder, images = drawn
    ours, theirs = (
        extract(source, Rows(), cache=None, batch_size=16)["features"]
        for source in (drawn_source("drawn", folder, (3, 8, 8)), StoreSource("stored", store_from_arrays(images)))
    )
    assert torch.equal(ours, theirs) and ours.shape == (COUNT, 28) and ours.dtype == torch.float32
    assert torch.equal(ours, torch.from_numpy(images).permute(0, 3, 1, 2).flatten(1)[:, ::7].float())


def test_what_is_known_of_them(drawn):
    folder, images = drawn
    source = drawn_source("drawn", folder, (3, 8, 8))
    assert len(source) == len(source.names) == COUNT and source.names[3] == "00000/000003.png"
    assert source.sizes == {(8, 8): COUNT}
    assert all(np.array_equal(found, images[i]) for found, i in zip(source.pick([7, 2]), (7, 2), strict=True))
    assert source.key == drawn_source("again", folder, (3, 8, 8)).key != drawn_source("grey", folder, (1, 8, 8)).key
    write_image(folder.sample_file(1), images[2])
    write_manifest(folder, range(COUNT), None, generation=0, protocol={})
    assert drawn_source("drawn", folder, (3, 8, 8)).key != source.key


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:40])])
def test_a_picture_that_is_damaged_meanwhile_is_named_with_the_cure(drawn, damage):
    folder, _ = drawn
    source = drawn_source("drawn", folder, (3, 8, 8))
    damage(folder.sample_file(5))
    with pytest.raises(BootlightError, match=r"000005\.png: .*run the same command again: it is drawn anew$"):
        list(source.batches(8))


def test_batches_of_several_sizes_are_of_one_size_each():
    images = [np.full((edge, edge, 3), i, np.uint8) for i, edge in enumerate((2, 2, 2, 3, 3, 2))]
    found = list(in_batches([images[:4], [], images[4:]], 2))
    assert [tuple(batch.shape) for batch in found] == [(2, 3, 2, 2), (1, 3, 2, 2), (2, 3, 3, 3), (1, 3, 2, 2)]
    assert [batch[:, 0, 0, 0].tolist() for batch in found] == [[0, 1], [2], [3, 4], [5]]


def peak_of_features(folder, count):
    source = DrawnSource("drawn", folder, ("00000/000000.png",) * count, (3, 32, 32), "key")
    tracemalloc.start()
    found = extract(source, Rows(), cache=None, batch_size=16)["features"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (count, -(-3 * 32**2 // 7))
    return peak


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, monkeypatch):
    """Features are kept: they belong to torch, which tracemalloc does not see."""
    monkeypatch.setattr(store_passes, "THREADS", 2)
    write_image(GenerationFolder(tmp_path).sample_file(0), np.zeros((32, 32, 3), np.uint8))
    peak_of_features(GenerationFolder(tmp_path), 16)  # what is made once
    few, many = (peak_of_features(GenerationFolder(tmp_path), count) for count in (150, 600))
    # Ahead of the reader are at most 2 * THREADS + 1 chunks of 16 images, one is in its hands, two batches are being made:
    # 8 * 16 images of 3 kB. All images of the larger set would be 1.4 MB more than those of the smaller one.
    assert many - few < 8 * 16 * 3 * 32**2 < (600 - 150) * 3 * 32**2 / 3


def test_rows_that_differ_are_counted_whatever_the_sign_of_zero():
    rows = torch.tensor([[0.0, 1], [-0.0, 1], [1, 0], [1, -0.0], [1, 1e-30], [0, 1]])
    assert num_distinct(rows) == len(torch.unique(rows, dim=0)) == 3
    many = torch.randint(0, 3, (5000, 6), generator=torch.Generator().manual_seed(0)).float()
    assert num_distinct(many) == len(torch.unique(many, dim=0))
    assert num_distinct(many.T) == len(torch.unique(many.T, dim=0)) == 6
