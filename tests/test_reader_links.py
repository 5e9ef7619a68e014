"""Links: refused where they leave the root, unless they are to be followed; then circles and broken ones are found."""

import os
import stat
import zipfile

import numpy as np
import pytest

from bootlight.data.datamodule import BootstrapData
from bootlight.data.reader import open_images
from bootlight.data.reading import Reading
from bootlight.errors import BootlightError
from bootlight.evaluation.sets.sources import open_source
from bootlight.io.pictures import encode_png

FOLLOW = Reading(follow_links=True)


def write(path, data=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode() if data is None else data)
    return path


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def listing(root, reading=FOLLOW):
    with open_images(root, reading=reading) as images:
        return {name: (label, images.read(i)) for i, (name, label) in enumerate(zip(images.names, images.labels, strict=True))}


def refused(root, reading=FOLLOW):
    with pytest.raises(BootlightError) as caught:
        open_images(root, reading=reading)
    return str(caught.value)


@pytest.fixture
def hub(tmp_path):
    """A snapshot as Hugging Face's cache has it: every file is a link into a folder of blobs; two pictures are one blob."""
    for name in ("one", "two", "three", "list"):
        write(tmp_path / "blobs" / name)
    (tmp_path / "blobs" / "list").write_text('{"file_name": "train/1.png", "label": "x"}\n{"file_name": "train/2.png"}\n')
    snapshot = tmp_path / "snapshots" / "1234"
    for name, blob in {"train/1.png": "one", "train/2.png": "two", "train/3.png": "one", "metadata.jsonl": "list"}.items():
        link(snapshot / name, f"{'../' * (2 + name.count('/'))}blobs/{blob}")
    return snapshot


def test_a_snapshot_of_the_hub(hub):
    assert listing(hub) == {"train/1.png": ("x", b"one"), "train/2.png": (None, b"two")}
    (hub / "metadata.jsonl").unlink()
    assert {name: data for name, (_, data) in listing(hub).items()} == {
        "train/1.png": b"one",
        "train/2.png": b"two",
        "train/3.png": b"one",
    }
    for reading in (Reading(), Reading(follow_links=False)):
        message = refused(hub, reading)
        assert "leaves" in message and "data.follow_links" in message and "--follow-links" in message


def test_linked_folders_are_classes_like_others(tmp_path):
    write(tmp_path / "far" / "cats" / "deep" / "1.png")
    write(tmp_path / "root" / "dog" / "2.png")
    link(tmp_path / "root" / "cat", tmp_path / "far" / "cats")
    assert listing(tmp_path / "root") == {"cat/deep/1.png": ("cat", b"1.png"), "dog/2.png": ("dog", b"2.png")}
    message = refused(tmp_path / "root", Reading())
    assert "cat is a link to a folder" in message and "data.follow_links" in message


@pytest.mark.parametrize("target", [".", "..", "../..", "x"])
def test_circles_end(tmp_path, target):
    write(tmp_path / "root" / "x" / "y" / "1.png")
    link(tmp_path / "root" / "x" / "y" / "again", tmp_path / "root" / "x" / "y" / target)
    if target == "x":  # a link to itself, with no suffix: it may have been a folder
        (tmp_path / "root" / "x" / "y" / "again").unlink()
        link(tmp_path / "root" / "x" / "y" / "again", "again")
        assert "again is a link that leads nowhere" in refused(tmp_path / "root")
    else:
        assert "once more, by a link" in refused(tmp_path / "root")


def test_a_folder_above_the_root_leads_back_into_it(tmp_path):
    write(tmp_path / "root" / "1.png")
    link(tmp_path / "root" / "up", tmp_path)
    assert "once more, by a link" in refused(tmp_path / "root")


def test_two_links_to_a_folder_would_count_its_pictures_twice(tmp_path):
    write(tmp_path / "far" / "1.png")
    for name in ("a", "b"):
        link(tmp_path / "root" / name, tmp_path / "far")
    message = refused(tmp_path / "root")
    assert "root/a" in message and "root/b" in message


@pytest.mark.parametrize("reading", [Reading(), FOLLOW])
@pytest.mark.parametrize("target", ["gone.png", "b.png"])  # missing; itself
def test_broken_links_are_told(tmp_path, reading, target):
    write(tmp_path / "root" / "a.png")
    link(tmp_path / "root" / "b.png", target)
    assert "root/b.png is a link that leads nowhere" in refused(tmp_path / "root", reading)


@pytest.mark.parametrize("reading", [Reading(), FOLLOW])
def test_broken_links_of_what_nobody_reads_do_not_matter(tmp_path, reading):
    write(tmp_path / "root" / "a.png")
    for name in ("readme.txt", ".hidden", ".b.png"):
        link(tmp_path / "root" / name, "gone")
    assert list(listing(tmp_path / "root", reading)) == ["a.png"]


def test_a_broken_link_that_may_have_been_a_class(tmp_path):
    write(tmp_path / "root" / "a.png")
    link(tmp_path / "root" / "cat", tmp_path / "unmounted" / "cat")
    assert "root/cat is a link that leads nowhere" in refused(tmp_path / "root")


def test_a_linked_pipe_is_no_picture(tmp_path):
    write(tmp_path / "root" / "a.png")
    os.mkfifo(tmp_path / "pipe")
    link(tmp_path / "root" / "b.png", tmp_path / "pipe")
    assert list(listing(tmp_path / "root")) == ["a.png"]


def test_links_in_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo("a.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "../secret.png")
    for reading in (Reading(), FOLLOW):
        assert "a.png is a link" in refused(tmp_path / "a.zip", reading)


def test_a_set_of_links_is_the_set_of_what_they_lead_to(tmp_path):
    for i in range(6):
        picture = encode_png(np.full((2, 2, 1), i, np.uint8))
        write(tmp_path / "far" / f"{i}.png", picture)
        link(tmp_path / "root" / f"{i}.png", tmp_path / "far" / f"{i}.png")
    options = {"num_steps": 1, "cache": str(tmp_path / "cache"), "holdout_fraction": 0.0}
    with pytest.raises(BootlightError, match=r"data\.follow_links"):
        BootstrapData(str(tmp_path / "root"), 2, 1, **options).setup()
    linked = BootstrapData(str(tmp_path / "root"), 2, 1, follow_links=True, **options)
    plain = BootstrapData(str(tmp_path / "far"), 2, 1, **options)
    linked.setup()
    plain.setup()
    assert linked.real.store.key == plain.real.store.key
    assert linked.real.store.images[:, 0, 0, 0].tolist() == list(range(6))
    for size in (None, 2):
        keys = [
            open_source(str(tmp_path / name), image_size=size, cache=tmp_path / "cache", reading=FOLLOW).key
            for name in ("root", "far")
        ]
        assert keys[0] == keys[1]
