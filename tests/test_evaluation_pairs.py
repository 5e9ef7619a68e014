"""Which sets of images are pairs: by seeds and labels of their manifests, not by their names."""

import json
import zipfile

import numpy as np
import pytest

from bootlight.errors import BootlightError
from bootlight.evaluation.comparing.pairs import drawn_from, pairing
from bootlight.evaluation.sets.sources import open_source
from bootlight.io.pictures import encode_png

PICTURE = encode_png(np.zeros((2, 2, 3), dtype=np.uint8))


def write_set(folder, seeds, labels=None, names=None):
    """A folder of black pictures with the manifest that a run writes, none where `seeds` is None."""
    folder.mkdir(parents=True)
    names = names or [f"{i:06d}.png" for i in range(3)]
    rows = []
    for i, name in enumerate(names):
        (folder / name).write_bytes(PICTURE)
        rows.append({"file_name": name, "label": labels[i] if labels else None} | ({"seed": seeds[i]} if seeds else {}))
    if seeds is not None:
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def why_not(first, second, *, asked=False):
    """`pairing` with the names under which the sets are opened."""
    return pairing((first, second), tuple(names(text) for text in (first, second)), asked=asked)


def names(text):
    return open_source(text, image_size=None, cache=None).names


def drawn(text):
    return drawn_from(text, names(text))


@pytest.fixture
def first(tmp_path):
    return write_set(tmp_path / "first", [5, 7, 9])


def test_equal_seeds_are_pairs_whatever_the_names(tmp_path, first):
    other = write_set(tmp_path / "other", [5, 7, 9], names=["a.png", "b.png", "c.png"])
    assert drawn(other) == [(5, None), (7, None), (9, None)]
    assert why_not(first, other) is None


@pytest.mark.parametrize(
    ("seeds", "labels", "why"),
    [([5, 7, 8], None, "other seeds"), ([7, 5, 9], None, "other seeds"), ([5, 7, 9], [0, 1, 0], "labels")],
)
def test_equal_names_with_other_seeds_or_labels_are_no_pairs(tmp_path, first, seeds, labels, why):
    other = write_set(tmp_path / "other", seeds, labels)
    assert why in why_not(first, other)
    with pytest.raises(BootlightError, match="--paired"):
        why_not(first, other, asked=True)


def test_sets_without_seeds_are_pairs_where_the_user_says_so(tmp_path, first):
    plain = write_set(tmp_path / "plain", None)
    assert drawn(plain) is None and drawn(write_set(tmp_path / "labels", [])) is None
    assert "--paired" in why_not(first, plain)
    assert why_not(first, plain, asked=True) is None
    named = write_set(tmp_path / "named", None, names=["a.png", "b.png", "c.png"])
    assert "other names" in why_not(first, named)
    with pytest.raises(BootlightError, match="--paired"):
        why_not(first, named, asked=True)


def test_generations_of_runs_are_known_by_their_seeds(tmp_path):
    for run in ("a", "b"):
        for generation in (0, 1):
            write_set(tmp_path / run / f"gen_{generation:03d}" / "samples", [10 * generation + i for i in range(3)])
    a, b, later = str(tmp_path / "a@0"), str(tmp_path / "b@0"), str(tmp_path / "b")
    assert drawn(later) == [(10, None), (11, None), (12, None)]
    assert why_not(a, b) is None
    assert why_not(a, later) is not None


def test_a_zip_of_a_folder_is_read_likewise(tmp_path, first):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for path in sorted((tmp_path / "first").iterdir()):
            file.write(path, f"inner/{path.name}")
    packed = str(tmp_path / "set.zip")
    assert drawn(packed) == drawn(first)
    decoded = open_source(packed, image_size=2, cache=tmp_path / "cache")  # as for training
    assert drawn_from(packed, decoded.names) == drawn(first)
