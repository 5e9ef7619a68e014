"""Float data through a generation: drawn, written, resumed, checked, mixed, and in a batch the same bits."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from bootlight import BootstrapData, PixelGaussian, Replace
from bootlight.errors import BootlightError
from bootlight.evaluation.sets.sources import open_source
from bootlight.evaluation.sets.streamed import drawn_source
from bootlight.io.arrays import row_name
from bootlight.runs.context import GenerationContext
from bootlight.runs.drawn import check_drawn, read_drawn
from bootlight.runs.folder import RunFolder
from bootlight.runs.manifest import read_metadata
from bootlight.synthesis.batches import ALONE, Share
from bootlight.synthesis.complete import complete
from bootlight.synthesis.drawing import Drawing, draw_missing
from bootlight.synthesis.folder import image_seeds
from bootlight.synthesis.requests import Requests
from bootlight.synthesis.synthesizer import Draw
from bootlight.synthesis.written import Written, files_of, rows_on_disk

COUNT, BATCH = 11, 4
SHAPES = {"points": (2, 1, 1), "images": (1, 6, 10), "channels": (5, 4, 4), "rgb": (3, 4, 6)}


def generator(shape, dtype="float32", deviation=40.0):
    """Normal numbers about 100, far from [-1, 1]."""
    channels, height, width = shape
    module = PixelGaussian([height, width], channels).eval()
    module.image_dtype = dtype
    mean = torch.full(shape, 100.0, dtype=torch.float64)
    module.count.fill_(2)
    module.sums.copy_(2 * torch.stack([mean, mean**2 + deviation**2]))
    return module


def drawing_of(module, context, synthesizer=None):
    return Drawing(module, synthesizer or Draw(), Requests(image_seeds(context, COUNT)))


def files(folder):
    return {str(f.relative_to(folder.samples)): f.read_bytes() for f in folder.samples.rglob("*") if f.is_file()}


@pytest.fixture
def context(tmp_path):
    return GenerationContext(RunFolder(tmp_path / "run"), 0, 3)


def draw(module, context, *, share=ALONE, batch_size=BATCH):
    return draw_missing(drawing_of(module, context), context.folder, batch_size, share=share)


def completed(module, context):
    digests = draw(module, context)
    complete(drawing_of(module, context), context.folder, generation=0, batch_size=BATCH, digests=digests)
    return context.folder


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_from_a_draw_to_a_batch_the_bits_are_the_same(context, tmp_path, shape):
    module = generator(shape)
    completed(module, context)
    rng = np.random.default_rng(1)
    np.save(tmp_path / "real.npy", rng.normal(0, 9, (20, *shape)).astype(np.float32))
    channels, height, width = shape
    data = BootstrapData(
        str(tmp_path / "real.npy"), [height, width], channels, batch_size=COUNT, num_steps=1, mixing=Replace(keep_real=False),
        cache=str(tmp_path / "cache"),
    )  # fmt: skip
    data.attach(GenerationContext(context.run, 1, 3))
    data.setup()
    (batch,) = data.train_dataloader()
    seen = data.on_after_batch_transfer(batch, 0).images
    drawn = torch.cat([module.sample(image_seeds(context, COUNT)[i : i + BATCH]) for i in range(0, COUNT, BATCH)])
    assert drawn.abs().max() > 100 and seen.dtype == torch.float32
    assert sorted(image.numpy().tobytes() for image in seen) == sorted(image.numpy().tobytes() for image in drawn)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_lies_on_the_disk(context, shape):
    """A file for each network call, whose rows and checksums are in the manifest."""
    module = generator(shape)
    folder = completed(module, context)
    names = ["00000/000000-000003.npy", "00000/000004-000007.npy", "00000/000008-000010.npy"]
    assert sorted(set(files(folder)) - {"metadata.jsonl", "protocol.json"}) == names
    rows = list(read_metadata(folder))
    assert [row["file_name"] for row in rows] == [row_name(names[i // BATCH], i % BATCH) for i in range(COUNT)]
    assert [row["seed"] for row in rows] == image_seeds(context, COUNT)
    for row in rows:
        file = row["file_name"].partition("#")[0]
        assert row["dtype"] == "float32" and row["sha256"] == hashlib.sha256(files(folder)[file]).hexdigest()
    assert np.load(folder.samples / names[1]).tobytes() == module.sample(image_seeds(context, COUNT)[4:8]).numpy().tobytes()


def test_8_bits_of_channels_that_no_png_has(context):
    """Rounded as pictures are."""
    module = generator((5, 4, 4), dtype="uint8", deviation=0.3)
    module.sums[0] = 0
    module.sums[1] = 0.18
    folder = completed(module, context)
    expected = module.sample(image_seeds(context, COUNT)[:BATCH]).mul(127.5).add(127.5).round().clamp(0, 255)
    stored = np.load(folder.samples / "00000/000000-000003.npy")
    assert stored.dtype == np.uint8 and (stored == expected.numpy()).all()
    assert next(iter(read_metadata(folder)))["dtype"] == "uint8"


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_what_is_missing_after_a_kill_is_drawn_anew(context, lost):
    module = generator((2, 1, 1))
    draw(module, context)
    before = files(context.folder)
    for i in lost:
        (context.folder.samples / sorted(before)[i]).unlink()
    calls = []
    module.draw, own = lambda noise, labels: (calls.append(1), own(noise, labels))[1], module.draw
    digests = draw(module, context)
    assert files(context.folder) == before and len(calls) == len(lost)
    assert set(digests) == {i for number in lost for i in range(4 * number, min(4 * number + 4, COUNT))}


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_write_their_own_files_and_all_of_them_one_folder(context, tmp_path, world_size):
    module = generator((2, 1, 1))
    for rank in reversed(range(world_size)):
        draw(module, context, share=Share(rank, world_size))
    alone = GenerationContext(RunFolder(tmp_path / "alone"), 0, 3)
    draw(module, alone)
    assert files(context.folder) == files(alone.folder)
    complete(drawing_of(module, context), context.folder, generation=0, batch_size=BATCH, digests={})
    assert len(read_drawn(context.folder)) == COUNT


def test_another_size_of_a_batch_goes_on(context):
    """What is there counts, file by file; what two files have is named once."""
    module = generator((2, 1, 1))
    draw(module, context)
    (context.folder.samples / "00000/000004-000007.npy").unlink()
    draw(module, context, batch_size=3)
    there = ("000000-000003", "000003-000005", "000006-000008", "000008-000010")
    assert sorted(files(context.folder)) == [f"00000/{name}.npy" for name in there]
    complete(drawing_of(module, context), context.folder, generation=0, batch_size=3, digests={})
    numbers = Written.by(module, context.folder).read(range(COUNT))
    assert torch.allclose(numbers, module.sample(image_seeds(context, COUNT)), rtol=1e-6)  # float32, another batch
    assert len({row.file_name for row in read_drawn(context.folder)}) == COUNT


def cut(path: Path):
    path.write_bytes(path.read_bytes()[:-1])


def another(path: Path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, another, Path.unlink])
def test_damage_is_told_by_whoever_reads(context, damage):
    folder = completed(generator((2, 1, 1)), context)
    damage(folder.samples / "00000/000004-000007.npy")
    for read in (
        lambda: check_drawn(folder, read_drawn(folder)),
        lambda: drawn_source("drawn", folder, (2, 1, 1)),
        lambda: open_source(f"{folder.path.parent}@0", image_size=None, cache=folder.path / "cache"),
    ):
        with pytest.raises(BootlightError, match=r"000004-000007\.npy"):
            read()


def test_numbers_that_are_none_are_not_written(context):
    module = generator((2, 1, 1))
    module.sums[1] = torch.inf
    with pytest.raises(BootlightError, match="NaN or infinite"):
        draw(module, context)
    assert files(context.folder) == {}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (range(4), ["00000/000000-000003.npy"]),
        ([7], ["00000/000007-000007.npy"]),
        ([12, 4, 8], ["00000/000004-000012x4.npy"]),
        ([1, 2, 3, 999_999, 1_000_000], ["00000/000001-000003.npy", "00999/999999-1000000.npy"]),
        ([], []),
    ],
)
def test_files_of_a_network_call(numbers, expected):
    found = list(files_of(numbers))
    assert [name for name, _ in found] == expected
    assert sorted(i for _, own in found for i in own) == sorted(numbers)


def test_images_of_a_call_in_any_order_come_back_by_number(tmp_path):
    written = Written(RunFolder(tmp_path).generation(0), (2, 1, 1), "float32")
    images = torch.arange(14.0).reshape(7, 2, 1, 1)
    numbers = [9, 3, 5, 7, 100, 2, 50]
    for _, job in written.jobs(numbers, images):
        job()
    assert written.has(numbers) and written.has([5, 100]) and not written.has([5, 6])
    assert torch.equal(written.read(numbers), images) and torch.equal(written.read([100]), images[4:5])


def test_names_of_others_are_no_images(context):
    """Nor do they keep anybody busy; rows that a file has not are told by who reads them."""
    (context.folder.samples / "00000").mkdir(parents=True)
    for name in ("0-99999999999999999999.npy", "5-9x0.npy", "7.npy", "x-y.npy", "9-3.npy"):
        (context.folder.samples / "00000" / name).write_bytes(b"123456")
    assert sorted(rows_on_disk(context.folder)) == [5, 6, 7, 8, 9]
    with pytest.raises(BootlightError, match=r"5-9x0\.npy"):
        Written(context.folder, (2, 1, 1), "float32").read([5])
    with pytest.raises(BootlightError, match="no image 1"):
        Written(context.folder, (2, 1, 1), "float32").read([1])


def test_evaluation_reads_them_as_they_are(context):
    module = generator((1, 6, 10))
    folder = completed(module, context)
    expected = Written.by(module, folder).read(range(COUNT))
    streamed = torch.cat(list(drawn_source("drawn", folder, (1, 6, 10)).batches(3)))
    opened = open_source(f"{folder.path.parent}@0", image_size=None, cache=folder.path / "cache")
    assert torch.equal(streamed, expected) and torch.equal(torch.cat(list(opened.batches(5))), expected)
    assert opened.dtype == drawn_source("drawn", folder, (1, 6, 10)).dtype == "float32"
    assert opened.sizes == {(10, 6): COUNT}
    with pytest.raises(BootlightError, match=r"\(1, 6, 10\)"):
        drawn_source("drawn", folder, (1, 10, 6))
