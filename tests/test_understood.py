"""What a run says of its images before it trains: counts, splits, classes, what is left out, leaks."""

from types import SimpleNamespace

import numpy as np
import pytest
from few_digits import never
from test_datamodule_folders import folder_of, on_disk

from bootlight.bootstrap.checks import check_labels
from bootlight.bootstrap.understood import count_classes, understand
from bootlight.cli import fit
from bootlight.data import roots
from bootlight.data.leaks import Leak, find_leak
from bootlight.data.mixing import Source
from bootlight.data.roots import list_roots, load_roots
from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError
from bootlight.generators.dcgan import DCGAN
from bootlight.generators.ddpm import DDPM
from bootlight.io.atomic import write_bytes


def model_of(kind, num_classes=None):
    """Only its class and number of classes are looked at."""
    model = kind.__new__(kind)
    object.__setattr__(model, "num_classes", num_classes)
    return model


def line(data, kind=DDPM, num_classes=None):
    data.setup()
    lines = understand(model_of(kind, num_classes), data).lines()
    assert lines[0].startswith(f"{data.root}: ")
    return lines[0].removeprefix(f"{data.root}: "), lines[1:]


def greys(*names):
    return {name: i for i, name in enumerate(names)}


def numbered(folder, count):
    return [f"{folder}/{i}.png" for i in range(count)]


def test_splits_and_classes_and_what_is_left_out(tmp_path):
    names = [f"{split}/{label}/{i}.png" for split in ("train", "TEST", "val") for label in "ab" for i in range(3)]
    root = folder_of(tmp_path / "root", greys(*names[:-1]))
    for name in ("train/a/x.heic", "train/a/y.heic", "train/@eaDir/z.png", "test/c/z.bmp"):
        write_bytes(root / name, b"")
    assert line(on_disk(root, tmp_path)) == (
        "train 6 · held out: test 6 · not used: val 5 · 2 classes (model is unconditional; --model.num_classes 2 would use "
        "them) · left out: 2 .heic, 1 .bmp, folder @eaDir · no picture that can be read in test",
        [],
    )
    assert "· 2 classes · left out" in line(on_disk(root, tmp_path), num_classes=2)[0]
    assert "· 2 classes (DCGAN does not use them) ·" in line(on_disk(root, tmp_path), DCGAN)[0]


def test_without_splits(tmp_path):
    root = folder_of(tmp_path / "root", greys(*numbered("a", 20)))
    assert line(on_disk(root, tmp_path))[0] == "20 images: train 18 · held out 2 (10 %, at random) · no classes"
    some = on_disk(root, tmp_path, num_images=10, holdout_fraction=0.25, real_fraction=0.5)
    assert line(some)[0] == "10 of 20 images: train 8, 4 of them in use · held out 2 (25 %, at random) · no classes"
    assert line(on_disk(root, tmp_path, holdout_fraction=0))[0] == "20 images: train 20 · nothing held out · no classes"


def test_one_split_alone_and_a_split_by_name(tmp_path):
    root = folder_of(tmp_path / "root", greys(*numbered("training", 10)))
    assert line(on_disk(root, tmp_path))[0] == (
        "split training, 10 images: train 9 · held out 1 (10 %, at random) · no classes"
    )
    folder_of(root, {f"eval/{i}.png": 50 + i for i in range(4)})
    load_roots.cache_clear()  # as in another process
    assert line(on_disk(root, tmp_path))[0] == "train 10 · held out: eval 4 · no classes"
    assert line(on_disk(f"{root}@train", tmp_path))[0] == (
        "split training, 10 images: train 9 · held out 1 (10 %, at random) · not used: eval 4 · no classes"
    )


def test_several_roots(tmp_path):
    first = folder_of(tmp_path / "a", greys("train/x/1.png", "train/y/2.png", "test/x/3.png", "test/y/4.png"))
    second = folder_of(tmp_path / "b", greys("train/z/5.png", "train/x/6.png", "dev/x/7.png", "dev/z/8.png"))
    write_bytes(second / "train/x/9.tif", b"")
    data = on_disk([first, second], tmp_path)
    data.root = "both"
    assert line(data, num_classes=3)[0] == f"train 4 · held out: dev and test 4 · 3 classes · {second} left out: 1 .tif"
    assert count_classes(data) == 3


def test_what_hides_classes_is_named_in_the_line_and_by_the_check(tmp_path):
    root = folder_of(tmp_path / "root", greys("cat/1.png", "dog/2.png", "logo.png", "owl/3.png", "zebra.png"))
    data = on_disk(root, tmp_path)
    assert line(data)[0].endswith("no classes: logo.png and 1 more picture lie beside the folders cat, dog and others")
    with pytest.raises(BootlightError, match=r"logo\.png and 1 more"):
        check_labels(SimpleNamespace(num_classes=3, accepts_unlabelled=True), data)


def test_images_without_a_label_are_counted(tmp_path):
    root = folder_of(tmp_path / "root", greys("1.png", "2.png", "3.png"))
    (root / "metadata.csv").write_text("file_name,label\n1.png,a\n2.png,\n3.png,b\n")
    assert line(on_disk(root, tmp_path, holdout_fraction=0), num_classes=2)[0].endswith("2 classes, 1 images without one")


# Leaks


def source(images, first=0):
    store = store_from_arrays(np.stack(images), names=[f"image {first + i}" for i in range(len(images))])
    return Source("real", store, np.arange(len(images)))


def noise(count, size=9, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def test_equal_pictures_in_both_are_found_and_no_others():
    train = noise(30)
    assert find_leak(source(train), source(noise(10, seed=1))) is None
    almost = train[4].copy()
    almost[0, 0, 0] ^= 1  # in a row that is not looked at first
    assert find_leak(source(train), source([almost])) is None
    held_out = [*noise(5, seed=2), train[7], almost, train[3], train[7]]
    assert find_leak(source([*train, train[3]]), source(held_out, 100)) == Leak(3, "image 105", "image 7")


def test_only_what_is_chosen_of_a_store_is_compared():
    images = noise(6)
    store = source([*images, images[0]]).store
    train, held_out = (Source("real", store, np.array(chosen)) for chosen in ([1, 2, 5], [3, 4, 6]))
    assert find_leak(train, held_out) is None
    assert find_leak(Source("real", store, np.array([0, 1])), held_out) == Leak(1, "image 6", "image 0")


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_smallest_pictures(size):
    white, black = np.full((size, size, 1), 255, np.uint8), np.zeros((size, size, 1), np.uint8)
    assert find_leak(source([white]), source([black])) is None
    assert find_leak(source([white, black]), source([black])) == Leak(1, "image 0", "image 1")


def test_pictures_that_are_equal_in_most_rows_are_told_apart():
    """As drawings on white paper; as many as there are, each is looked at once."""
    images = [np.full((9, 9, 1), 255, np.uint8) for _ in range(200)]
    for i, image in enumerate(images):
        image[0, :, 0] = i
    assert find_leak(source(images[:100]), source(images[100:])) is None


def test_a_leak_is_told(tmp_path):
    root = folder_of(tmp_path / "root", {"train/1.png": 1, "train/2.png": 2, "test/a.png": 2, "test/b.png": 3})
    (told,) = line(on_disk(root, tmp_path))[1]
    assert told.startswith(
        "! 1 of the 2 held-out images are training images too (equal pixels at 2 x 2), such as a.png = 2.png"
    )


# num_classes: auto


@pytest.fixture
def parsed(monkeypatch, bootlight, tmp_path):
    """The objects of `fit` with tiny settings; nothing is run."""
    made = []
    monkeypatch.setattr(fit, "begin", lambda builder: made.append((builder, builder.model)))
    monkeypatch.setattr(roots, "build_union", never)  # nothing is decoded

    def parse(root, **changes):
        options = {
            "model": "bootlight.DDPM", "model.width": 8, "model.channel_multipliers": "[1]", "model.num_res_blocks": 0,
            "model.attention_resolutions": "[]", "model.num_heads": 1, "model.num_classes": "auto",
            "data": "bootlight.BootstrapData", "data.root": root, "data.image_size": 8, "data.num_steps": 1,
        } | changes  # fmt: skip
        bootlight("fit", *(f"--{key}={value}" for key, value in options.items() if value is not None))
        return made.pop()

    return parse


def test_auto_is_the_number_of_classes_and_none_without(parsed, tmp_path):
    labelled = folder_of(tmp_path / "root", greys("train/a/1.png", "train/b/2.png", "test/c/3.png", "test/a/4.png"))
    cli, model = parsed(labelled)
    assert model.num_classes == 3 == cli.config.model.init_args.num_classes
    assert "num_classes: 3" in cli.text
    cli, model = parsed(folder_of(tmp_path / "flat", greys("1.png", "2.png")))
    assert model.num_classes is None and cli.config.model.init_args.num_classes is None
    with pytest.raises(BootlightError, match=r"^data\.root is empty"):
        parsed("")


def test_auto_of_data_that_have_no_root(parsed):
    changes = {"data.origin": "bootlight.Digits", "data.image_size": None, "model.num_train_timesteps": 25}
    assert parsed(None, **changes)[1].num_classes == 10


def test_a_constructor_does_not_take_auto():
    with pytest.raises(BootlightError, match=r"model\.num_classes is auto"):
        DDPM(8, num_classes="auto")


def test_listing_tells_the_roots_as_the_user_calls_them(tmp_path):
    root = folder_of(tmp_path / "root", greys("train/1.png", "valid/2.png", "dev/3.png"))
    data = on_disk(root, tmp_path)
    ((part, layout),) = list_roots(data.origin.roots, data.origin.reading)
    assert (part.root, layout.where, layout.split, layout.held_out) == (root, str(root), "train", "valid")
    assert layout.unused == {"dev": 1}
