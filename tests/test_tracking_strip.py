"""The strip: each preview stands in the row of its generation and the column of its seed, pixel for pixel."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from tracking_run import COLUMNS, make_run, tile_value, write_previews

from bootlight.errors import BootlightError
from bootlight.report import strip
from bootlight.report.strip import GAP, LABEL_WIDTH, MARGIN, write_strip
from bootlight.runs.folder import RunFolder

EDGE = 64  # 8-pixel previews are enlarged eight times


def pixels(run):
    return np.asarray(Image.open(write_strip(run)))


def tile(picture, row, column, edge=EDGE):
    top = MARGIN + row * (edge + GAP)
    left = MARGIN + LABEL_WIDTH + column * (edge + GAP)
    return picture[top : top + edge, left : left + edge]


def test_every_preview_stands_in_its_place(tmp_path):
    picture = pixels(make_run(tmp_path / "run"))
    assert picture.shape[0] == 2 * MARGIN + 4 * EDGE + 3 * GAP
    for row in range(4):  # real, then three generations
        for column in range(COLUMNS):
            assert (tile(picture, row, column) == tile_value(row - 1, column)).all()
    gap = picture[MARGIN:-MARGIN, MARGIN + LABEL_WIDTH + EDGE : MARGIN + LABEL_WIDTH + EDGE + GAP]
    assert (gap == 255).all()


def test_small_images_are_enlarged_without_interpolation(tmp_path):
    run = make_run(tmp_path / "run", generations=1)
    values = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    Image.fromarray(values).save(run.generation(0).previews)
    picture = pixels(run)
    for column in range(2):
        enlarged = values[:, 8 * column : 8 * column + 8].repeat(8, axis=0).repeat(8, axis=1)
        np.testing.assert_array_equal(tile(picture, 1, column), enlarged)


def test_large_images_are_reduced(tmp_path):
    run = make_run(tmp_path / "run", generations=1)
    for k, path in ((-1, run.real_previews), (0, run.generation(0).previews)):
        write_previews(path, k, edge=128)
    picture = pixels(run)
    for row in range(2):
        for column in range(COLUMNS):
            inner = tile(picture, row, column, edge=96)
            assert (inner == tile_value(row - 1, column)).all()


def test_labels_and_scores_are_drawn_beside_their_row(tmp_path):
    run = make_run(tmp_path / "run")
    run.generation(1).metrics.unlink()
    picture = pixels(run)
    right = MARGIN + LABEL_WIDTH + COLUMNS * (EDGE + GAP)
    ink = []
    for row in range(4):
        band = picture[MARGIN + row * (EDGE + GAP) :][:EDGE]
        ink.append(((band[:, :LABEL_WIDTH] < 128).any(), (band[:, right:] < 128).any()))
    assert ink == [(True, True), (True, True), (True, False), (True, True)]


def test_scores_are_not_cut_off_at_the_right(tmp_path):
    picture = pixels(make_run(tmp_path / "run"))
    assert (picture[:, -MARGIN:] == 255).all()


def test_score_lines_say_value_error_and_n(tmp_path):
    rows = strip._rows(make_run(tmp_path / "run"))
    assert [row.label for row in rows] == ["real", "generation 0", "generation 1", "generation 2"]
    assert rows[0].lines == ["discriminator_score 0.95 (n=1437)"]
    assert rows[2].lines == [
        "fd-digits/holdout 4.25 ± 0.12 (n=500)",
        "discriminator_score 0.200 ± 0.012 (n=500)",
        "fd-digits/train 3.75 ± 0.25 (n=500)",
    ]


def test_at_most_sixteen_columns(tmp_path):
    run = make_run(tmp_path / "run", generations=1)
    write_previews(run.generation(0).previews, 0, columns=20)
    picture = pixels(run)
    assert (tile(picture, 1, 15) == tile_value(0, 15)).all()
    assert not (tile(picture, 1, 16) == tile_value(0, 16)).any()


def test_file_stays_below_its_limit_with_incompressible_images(tmp_path):
    run = make_run(tmp_path / "run", generations=5)
    write_noise(run, edge=64)
    path = write_strip(run)
    assert 400_000 < path.stat().st_size < 500_000
    # A row of 16 tiles of 64 x 64 x 3 bytes is 197 kB that do not compress, and the real ones cost nothing. Three generations
    # are the least; 11 columns of them are 406 kB, 12 would be 442 and text is not free.
    picture = np.asarray(Image.open(path))
    for row, generation in ((1, 0), (2, 2), (3, 4)):
        drawn = np.asarray(Image.open(run.generation(generation).previews))
        np.testing.assert_array_equal(tile(picture, row, 10), drawn[:, 10 * 64 : 11 * 64])
    assert picture.shape[0] == 2 * MARGIN + 4 * EDGE + 3 * GAP


def write_noise(run, *, edge, levels=256):
    rng, folders = np.random.default_rng(0), run.generations()
    for folder in folders[:8]:
        Image.fromarray(rng.integers(0, levels, (edge, edge * 16, 3), dtype=np.uint8)).save(folder.previews)
    for folder in folders[8:]:
        folder.previews.write_bytes(folders[7].previews.read_bytes())


@pytest.mark.parametrize("generations", [5, 80])
def test_rows_go_before_columns_and_the_picture_is_drawn_once(tmp_path, monkeypatch, generations):
    run = make_run(tmp_path / "run", generations=generations)
    write_noise(run, edge=64, levels=8)  # 3 bits of 8: a row of 16 tiles is 74 kB or a little more, so five or less fit
    drawn, draw = [], strip._draw
    monkeypatch.setattr(strip, "_draw", lambda rows, columns, mark: drawn.append((rows, columns)) or draw(rows, columns, mark))
    assert write_strip(run).stat().st_size < 500_000
    [(rows, columns)] = drawn
    assert columns == 16 and 5 <= len(rows) <= 6
    assert [row.label for row in (rows[0], rows[1], rows[-1])] == ["real", "generation 0", f"generation {generations - 1}"]


def test_many_generations_are_thinned_evenly():
    assert strip._evenly_spaced(list(range(24)), 24) == list(range(24))
    kept = strip._evenly_spaced(list(range(100)), 24)
    assert (len(kept), kept[0], kept[-1]) == (24, 0, 99)
    # 99 intervals over 23 steps of 4.3: rounding makes steps of 4 or 5.
    assert {after - before for before, after in pairwise(kept)} == {4, 5}


def test_equal_runs_give_equal_bytes(tmp_path):
    first, second = (write_strip(make_run(tmp_path / name)).read_bytes() for name in ("a", "b"))
    assert first == second


def test_run_without_previews_says_what_to_do(tmp_path):
    with pytest.raises(BootlightError, match=r"no previews\.png yet"):
        write_strip(RunFolder(tmp_path))


@pytest.mark.parametrize("content", [b"not a picture", None])
def test_broken_previews_name_the_file(tmp_path, content):
    run = make_run(tmp_path / "run", generations=1)
    if content is None:
        Image.new("L", (20, 8)).save(run.generation(0).previews)  # 20 is no multiple of 8
    else:
        run.generation(0).previews.write_bytes(content)
    with pytest.raises(BootlightError, match=r"gen_000/previews\.png") as error:
        write_strip(run)
    assert "\n" not in str(error.value)
