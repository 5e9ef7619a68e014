"""Images of any height, width and number of channels: sizes as users write them, pictures cut to them and made of them."""

import hashlib
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from bootlight import PixelGaussian
from bootlight.data.reading import SAFE
from bootlight.data.roots import load_roots
from bootlight.data.store import build_store
from bootlight.errors import BootlightError
from bootlight.evaluation.sets.sources import open_source
from bootlight.generators.load import MAX_EDGE, check_shape, load_generator, noted_dtype
from bootlight.io.pictures import decode, encode_png
from bootlight.io.shape import as_size, height_width, is_picture, shape_of
from bootlight.io.shown import BACKGROUND, DRAWN, EDGE, MARGIN, REAL, scatter, shower, squared, tiles
from bootlight.runs.folder import GenerationFolder


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("size", "expected"), [(8, (8, 8)), ([6, 10], (6, 10)), ((6, 10), (6, 10)), ([1, 1], (1, 1))])
def test_height_and_width(size, expected):
    assert height_width(size) == expected and shape_of(size, 5) == (5, *expected)
    assert height_width(as_size(*expected)) == expected


@pytest.mark.parametrize("size", [0, -1, [], [8], [8, 8, 8], [8, 0], [8, -8], [8, 2.5], [8, True], [8, "8"]])
def test_what_is_no_size(size):
    with pytest.raises(BootlightError, match=r"data\.image_size"):
        height_width(size)


@pytest.mark.parametrize(("size", "channels"), [(8, 0), (8, -1), ([6, 10], 0)])
def test_what_is_no_number_of_channels(size, channels):
    with pytest.raises(BootlightError, match=r"data\.channels"):
        PixelGaussian(size, channels)


@pytest.mark.parametrize(
    ("given", "size", "rows", "columns"),
    [
        ((4, 9), [4, 6], slice(0, 4), slice(1, 7)),  # too wide: three columns are lost, one of them at the left
        ((9, 4), [6, 4], slice(1, 7), slice(0, 4)),
        ((4, 12), [4, 6], slice(0, 4), slice(3, 9)),
        ((12, 3), [4, 3], slice(4, 8), slice(0, 3)),
        ((4, 6), [4, 6], slice(0, 4), slice(0, 6)),
        ((5, 5), [5, 2], slice(0, 5), slice(1, 3)),
        ((7, 7), [1, 7], slice(3, 4), slice(0, 7)),
    ],
)
def test_the_largest_centered_part_of_the_aspect_ratio(given, size, rows, columns):
    """Where nothing is resized, the pixels are those of the picture."""
    picture = np.random.default_rng(0).integers(0, 256, (*given, 3), dtype=np.uint8)
    found = decode(png(picture), "x", image_size=size, channels=3)
    assert (found == picture[rows, columns]).all()


def test_shrinking_is_antialiased():
    """The mean of white and black columns is grey; picking columns would give one of them."""
    picture = np.zeros((8, 48), np.uint8)
    picture[:, ::2] = 255
    found = decode(png(picture), "x", image_size=[2, 12], channels=1)
    assert found.shape == (2, 12, 1) and np.abs(found[:, 2:-2].astype(int) - 127).max() <= 12


def test_a_picture_of_another_aspect_ratio_is_never_empty():
    assert decode(png(np.zeros((1, 1), np.uint8)), "x", image_size=[3, 1000], channels=1).shape == (3, 1000, 1)
    assert decode(png(np.zeros((1, 500), np.uint8)), "x", image_size=[1000, 3], channels=1).shape == (1000, 3, 1)


def test_the_key_of_a_square_is_as_it_was(tmp_path):
    """Written as edge or as height and width; another one for another shape."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(png(np.zeros((4, 6), np.uint8)))
    keys = [
        build_store(tmp_path / "set", image_size=size, channels=1, cache=tmp_path / "cache").key
        for size in (4, [4, 4], [4, 6], [6, 4])
    ]
    assert keys[0] == keys[1] and len(set(keys)) == 3
    loaded = load_roots((str(tmp_path / "set"),), (4, 6), 1, tmp_path / "cache", SAFE)
    assert loaded.train.key == keys[2] and loaded.train.images.shape == (1, 4, 6, 1)


@pytest.mark.parametrize("channels", [2, 4])
def test_pictures_have_one_or_three_channels(tmp_path, channels):
    (tmp_path / "a.png").write_bytes(png(np.zeros((4, 6), np.uint8)))
    with pytest.raises(BootlightError, match=rf"data\.channels is {channels}"):
        build_store(tmp_path, image_size=4, channels=channels, cache=tmp_path / "cache")


def test_a_set_is_measured_at_a_size_that_is_no_square(tmp_path):
    (tmp_path / "set").mkdir()
    for i in range(3):
        picture = np.random.default_rng(i).integers(0, 256, (9, 6, 3), dtype=np.uint8)
        (tmp_path / "set" / f"{i}.png").write_bytes(png(picture))
    source = open_source(str(tmp_path / "set"), image_size=[3, 6], cache=tmp_path / "cache")
    assert source.sizes == {(6, 3): 3}
    assert (source.pick([2])[0] == picture[3:6]).all()


@pytest.mark.parametrize(
    ("size", "channels", "key"),
    [
        (MAX_EDGE + 1, 1, "image_size"),
        ([1, MAX_EDGE + 1], 1, "image_size"),
        ([MAX_EDGE + 1, 1], 1, "image_size"),
        (MAX_EDGE, 4, "channels"),
        (1, 3 * MAX_EDGE**2 + 1, "channels"),
        ([2, 3], 10**9, "channels"),
        ([8], 1, "image_size"),
    ],
)
def test_a_model_that_is_not_trusted_has_images_of_some_size(size, channels, key):
    with pytest.raises(BootlightError, match=f"^{key}"):
        check_shape({"image_size": size, "channels": channels})


@pytest.mark.parametrize(("size", "channels"), [(MAX_EDGE, 3), (1, 3 * MAX_EDGE**2), ([1, MAX_EDGE], 3 * MAX_EDGE)])
def test_as_large_as_it_may_be(size, channels):
    check_shape({"image_size": size, "channels": channels})


def test_what_is_a_picture():
    found = {
        (channels, dtype) for channels in range(1, 6) for dtype in ("uint8", "float32") if is_picture((channels, 4, 4), dtype)
    }
    assert found == {(1, "uint8"), (3, "uint8")}


# What people see


def test_pictures_are_shown_as_they_are():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    assert (tiles(images, images[:1]) == images).all()


def test_numbers_are_shown_from_the_least_to_the_largest_of_the_real_ones():
    real = np.array([-10, 0, 30], np.float32).reshape(3, 1, 1, 1)
    show = shower(real)
    values = [int(show(np.full((1, 1, 1), value, np.float32))[0, 0, 0]) for value in (-99, -10, 0, 10, 30, 99)]
    assert values == [0, 0, 64, 128, 255, 255]  # 255 * 10 / 40 = 63.75, 255 * 20 / 40 = 127.5, to even
    assert shower(np.zeros((1, 1, 1, 1), np.float32))(np.zeros((1, 1, 1), np.float32)).item() == 0  # no range: no division


def test_other_numbers_of_channels():
    """Two are red and green; four and more stand below each other."""
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 2), dtype=np.uint8)
    shown = shower([])(image)
    assert (shown[:, :, :2] == image).all() and (shown[:, :, 2] == 0).all()
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 5), dtype=np.uint8)
    assert (shower([])(image)[:, :, 0] == np.concatenate([image[:, :, c] for c in range(5)])).all()


def test_a_tile_is_a_square_with_the_image_in_its_middle():
    image = np.random.default_rng(0).integers(0, 255, (2, 6, 3), dtype=np.uint8)
    tile = squared(image)
    assert tile.shape == (6, 6, 3) and (tile[2:4] == image).all() and (tile[[0, 1, 4, 5]] == 255).all()


def place(value, low, high):
    """Pixel of a coordinate: the range of the real points with a margin is the whole picture."""
    span = high - low
    return min(EDGE - 1, max(0, int((value - low + MARGIN * span) / ((1 + 2 * MARGIN) * span) * EDGE)))


def test_points_are_where_they_should_be():
    """Real ones grey, drawn ones red; the second coordinate goes up; what is outside is at the border."""
    real = np.array([[0, 0], [1, 2]], np.float32)
    drawn = np.array([[0.5, 0.5], [40, -40]], np.float32).reshape(2, 1, 1, 2)
    picture = scatter(real.reshape(2, 1, 1, 2), drawn).astype(int)
    for point, color in ((real[0], REAL), (real[1], REAL), ((0.5, 0.5), DRAWN), ((40, -40), DRAWN)):
        x, y = place(point[0], 0, 1), EDGE - 1 - place(point[1], 0, 2)
        pixel = picture[y, x]
        assert np.abs(pixel - color).sum() < np.abs(pixel - BACKGROUND).sum(), point
    empty = picture[place(0, 0, 1), place(0.5, 0, 1)]
    assert tuple(empty) == BACKGROUND
    assert (scatter(real) != scatter(real, real)).any()


def test_one_coordinate_is_a_histogram():
    """Three quarters of the numbers at one place, one at another: bars of heights 3 to 1."""
    picture = scatter(np.array([0, 0, 0, 1], np.float32).reshape(4, 1))
    bars = (picture[1:-1] != BACKGROUND).any(2)
    heights = sorted({int(count) for count in bars[:, 1:-1].sum(0)} - {0})
    assert len(heights) == 2 and heights[1] == pytest.approx(3 * heights[0], abs=3)


def test_model_json_notes_a_type_that_is_not_8_bits(tmp_path):
    folder = GenerationFolder(tmp_path)
    for content, expected in (({}, "uint8"), ({"dtype": "float32"}, "float32"), ({"dtype": "uint8"}, "uint8")):
        folder.model_config.write_text(json.dumps(content))
        assert noted_dtype(folder) == expected
    folder.model_config.write_text('{"dtype": "float64"}')
    with pytest.raises(BootlightError, match="float64"):
        noted_dtype(folder)


@pytest.mark.parametrize("size", [[8], [8, 8, 8], [], [8, None], [[8], 8], "8x8", {"a": 8}, [8, 1e400], [8, -8], None])
def test_a_published_size_that_is_none(tmp_path, size):
    """From someone else: told with the file, nothing is built."""
    folder = GenerationFolder(tmp_path)
    model = {"class_path": "bootlight.PixelGaussian", "init_args": {}}
    folder.weights.write_bytes(save({"count": torch.zeros(())}))
    published = {"image_size": size, "channels": 1, "model": model}
    sha = hashlib.sha256(folder.weights.read_bytes()).hexdigest()
    folder.model_config.write_text(json.dumps(published | {"weights_sha256": sha}))
    with pytest.raises(BootlightError, match=r"model\.json"):
        load_generator(folder)


def test_png_of_a_shape_that_is_no_square():
    image = np.random.default_rng(0).integers(0, 256, (3, 7, 1), dtype=np.uint8)
    assert (decode(encode_png(image), "x", image_size=[3, 7], channels=1) == image).all()


def test_a_generator_draws_its_shape():
    module = PixelGaussian([6, 10], 5).eval()
    module.count.fill_(1)
    assert module.image_shape == (5, 6, 10) and module.image_size == [6, 10]
    assert module.sample([1, 2]).shape == torch.Size([2, 5, 6, 10])
