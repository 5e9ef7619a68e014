"""The data module on folders: splits, and the synthetic images of earlier generations."""

import numpy as np

from bootlight.data.datamodule import BootstrapData
from bootlight.data.mixing import Accumulate, Replace
from bootlight.io.atomic import write_bytes
from bootlight.io.pictures import encode_png
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder, sample_name
from bootlight.runs.manifest import write_metadata


def grey(value):
    return np.full((2, 2, 1), value, np.uint8)


def folder_of(root, files):
    for name, value in files.items():
        write_bytes(root / name, encode_png(grey(value)))
    return root


def on_disk(root, tmp_path, generation=0, **options):
    options = {"num_steps": 1, "batch_size": 4, "cache": str(tmp_path / "cache"), **options}
    data = BootstrapData([str(each) for each in root] if isinstance(root, list) else str(root), 2, 1, **options)
    data.attach(GenerationContext(RunFolder(tmp_path / "run"), generation, 0))
    return data


def values(source):
    return source.store.images[source.indices, 0, 0, 0].tolist()


def test_a_split_of_its_own_is_held_out(tmp_path):
    train = {f"train/{name}/{i}.png": i for i, name in enumerate(["cat", "dog"] * 4)}
    test = {f"test/{name}/{i}.png": i for i, name in enumerate(["cat", "dog"], 100)}
    data = on_disk(folder_of(tmp_path / "root", train | test), tmp_path, holdout_fraction=0.5)
    data.setup()
    assert sorted(values(data.holdout)) == [100, 101]
    assert sorted(values(data.real)) == list(range(8))  # holdout_fraction does not count then
    assert data.real.store.class_names == ("cat", "dog")


def test_without_splits_a_fraction_is_held_out(tmp_path):
    data = on_disk(folder_of(tmp_path / "root", {f"{i}.png": i for i in range(8)}), tmp_path, holdout_fraction=0.25)
    data.setup()
    assert len(data.holdout) == 2
    assert sorted(values(data.holdout) + values(data.real)) == list(range(8))


def draw_folder(tmp_path, generation, labels, first):
    """A samples folder whose image i is grey at `first` + i; the manifest lists the images backwards."""
    folder = RunFolder(tmp_path / "run").generation(generation)
    folder_of(folder.samples, {sample_name(i): first + i for i in range(len(labels))})
    rows = [{"file_name": sample_name(i), "label": label, "seed": i} for i, label in enumerate(labels)]
    write_metadata(folder, rows[::-1])


def test_synthetic_images_are_read_in_order_with_their_labels(tmp_path):
    root = folder_of(tmp_path / "root", {f"{'dog' if i % 2 else 'cat'}/{i}.png": i for i in range(4)})
    draw_folder(tmp_path, 0, [1, 0, 0, 1, 1], 100)
    draw_folder(tmp_path, 1, [None, None], 200)
    data = on_disk(root, tmp_path, generation=2, holdout_fraction=0, mixing=Accumulate())
    data.setup()
    real, first, second = data.sources
    assert real is data.real
    assert (first.role, first.generation, values(first)) == ("synthetic", 0, [100, 101, 102, 103, 104])
    assert first.store.labels.tolist() == [1, 0, 0, 1, 1] and first.store.labels.dtype == np.int64
    assert first.store.class_names == ("cat", "dog")
    assert (second.generation, values(second), second.store.labels.tolist()) == (1, [200, 201], [-1, -1])
    assert (data.num_real, data.num_synthetic) == (4, 7)


def test_mixing_is_left_to_the_policy(tmp_path):
    root = folder_of(tmp_path / "root", {f"{i}.png": i for i in range(4)})
    draw_folder(tmp_path, 1, [None, None], 200)
    data = on_disk(root, tmp_path, generation=2, holdout_fraction=0, mixing=Replace(keep_real=False))
    data.setup()
    assert [(source.generation, values(source)) for source in data.sources] == [(1, [200, 201])]
    assert (data.num_real, data.num_synthetic) == (0, 2)
