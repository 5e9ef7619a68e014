"""The picture of suspected copies: who stands where, and what is written beneath."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bootlight.errors import BootlightError
from bootlight.report import neighbours
from bootlight.report.neighbours import CAPTION, GAP, HEAD, MARGIN, MAX_ROWS, SPLIT, write_neighbours

EDGE = 64  # 8-pixel images are enlarged eight times


def tile(picture: NDArray[np.uint8], row: int, column: int, edge: int = EDGE) -> NDArray[np.uint8]:
    """Column 0 is the synthetic image, 1 the nearest real one."""
    top = MARGIN + HEAD + row * (edge + CAPTION + GAP)
    left = MARGIN + (edge + SPLIT + (column - 1) * (edge + GAP) if column else 0)
    return picture[top : top + edge, left : left + edge]


def caption(picture: NDArray[np.uint8], row: int, column: int) -> NDArray[np.uint8]:
    top = MARGIN + HEAD + row * (EDGE + CAPTION + GAP) + EDGE
    left = MARGIN + (EDGE + SPLIT + (column - 1) * (EDGE + GAP) if column else 0)
    return picture[top : top + CAPTION, left : left + EDGE]


def images(count: int, edge: int = 8, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, edge, edge, channels), dtype=np.uint8)


def enlarged(image: NDArray[np.uint8], factor: int = 8) -> NDArray[np.uint8]:
    return np.broadcast_to(image.repeat(factor, 0).repeat(factor, 1), (*(factor * side for side in image.shape[:2]), 3))


def draw(tmp_path, synthetic, indices, distances, real):
    arguments = {"synthetic": synthetic, "indices": np.array(indices), "distances": np.array(distances), "real": real}
    path = write_neighbours(tmp_path / "deep" / "neighbours.png", **arguments)
    assert path == tmp_path / "deep" / "neighbours.png"
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_begin_with_the_closest_and_every_tile_stands_in_its_place(tmp_path, channels):
    synthetic, real = images(3, channels=channels), images(9, channels=channels, seed=1)
    indices = [[4, 2], [7, 0], [8, 4]]
    picture = draw(tmp_path, synthetic, indices, [[0.5, 0.6], [0.1, 3.0], [0.3, 0.3]], lambda i: real[i])
    for row, i in enumerate([1, 2, 0]):
        np.testing.assert_array_equal(tile(picture, row, 0), enlarged(synthetic[i]))
        for column in (1, 2):
            np.testing.assert_array_equal(tile(picture, row, column), enlarged(real[indices[i][column - 1]]))
    assert picture.shape == (2 * MARGIN + HEAD + 3 * (EDGE + CAPTION) + 2 * GAP, 2 * MARGIN + 3 * EDGE + SPLIT + GAP, 3)


def test_distance_and_index_stand_beneath(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(neighbours, "_write", lambda pen, middle, top, text: written.append((middle, top, text)))
    real = images(3)
    draw(tmp_path, images(2), [[2, 0], [1, 2]], [[12.3456, 70.0], [0.0, 0.001234]], lambda i: real[i])
    middles = [MARGIN + EDGE // 2, MARGIN + EDGE + SPLIT + EDGE // 2, MARGIN + 2 * EDGE + SPLIT + GAP + EDGE // 2]
    first = MARGIN + HEAD + EDGE
    second = first + EDGE + CAPTION + GAP
    assert written[0][::2] == (middles[0], "synthetic")
    assert written[2:] == [
        (middles[0], first, "no. 1"),
        (middles[1], first, "0\nno. 1"),
        (middles[2], first, "0.001234\nno. 2"),
        (middles[0], second, "no. 0"),
        (middles[1], second, "12.35\nno. 2"),
        (middles[2], second, "70\nno. 0"),
    ]


def test_captions_are_drawn_and_stay_clear_of_tiles_and_borders(tmp_path):
    real = np.zeros((5, 8, 8, 3), np.uint8)
    far = np.full((2, 5), 1234.5678)
    picture = draw(tmp_path, images(2), [[99999, 4, 3, 2, 1]] * 2, far, lambda i: real[i % 5])
    assert (tile(picture, 0, 1) == 0).all()  # no ink strays into a tile: it would be grey
    for row in range(2):
        for column in range(6):
            inside = caption(picture, row, column)
            assert (inside < 128).any()
            assert (inside[-2:] == 255).all() and (inside[:2] == 255).all()
    assert (picture[:, :MARGIN] == 255).all() and (picture[:, -MARGIN:] == 255).all()
    assert (picture[MARGIN : MARGIN + HEAD] < 128).any() and (picture[:5] == 255).all()


def test_only_the_closest_are_drawn_and_only_their_real_images_read(tmp_path):
    count = MAX_ROWS + 4
    distances = np.arange(count, 0, -1.0)[:, None]
    read = []

    def real(i):
        read.append(i)
        return images(1, seed=i)[0]

    picture = draw(tmp_path, images(count), np.arange(count)[:, None] + 100, distances, real)
    assert read == [100 + i for i in range(count - 1, 3, -1)]
    assert picture.shape[0] == 2 * MARGIN + HEAD + MAX_ROWS * (EDGE + CAPTION + GAP) - GAP


def test_large_images_are_reduced_and_real_ones_may_have_another_size(tmp_path):
    synthetic, real = np.full((1, 200, 200, 3), 90, np.uint8), np.full((50, 50, 3), 30, np.uint8)
    picture = draw(tmp_path, synthetic, [[0]], [[1.0]], lambda i: real)
    assert (tile(picture, 0, 0, edge=96) == 90).all()
    assert (tile(picture, 0, 1, edge=96) == 30).all()


def test_what_does_not_belong_together_is_refused(tmp_path):
    with pytest.raises(BootlightError, match="no synthetic images to compare"):
        draw(tmp_path, images(0), np.zeros((0, 5), int), np.zeros((0, 5)), None)
    with pytest.raises(ValueError, match="do not belong together"):
        draw(tmp_path, images(2), [[1]], [[1.0]], None)
    with pytest.raises(ValueError, match="do not belong together"):
        draw(tmp_path, images(2), [[1, 2], [1, 2]], [[1.0], [1.0]], None)
