"""Input that someone made to do harm: refused in one line, without running, reading or writing anything else."""

import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_files import Entry, chunk, raw_png, raw_zip, squeezed_zeros

from bootlight.data import reader_files, store_passes
from bootlight.data.reader import open_images
from bootlight.data.store import build_store
from bootlight.errors import MAX_MESSAGE, BootlightError
from bootlight.io import pictures
from bootlight.io.budget import Budget
from bootlight.io.pictures import MAX_SCANS, decode, encode_png

PICTURE = encode_png(np.zeros((4, 4, 3), np.uint8))


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(root: Path) -> str:
    with pytest.raises(BootlightError) as caught:
        open_images(root)
    assert str(caught.value).isprintable()  # among others, one line
    return str(caught.value)


# Messages


def test_a_message_is_one_line_without_terminal_escapes_and_of_moderate_length():
    assert str(BootlightError("a\nb\x1b[31m\ud800é\u202e")) == r"a\nb\x1b[31m\ud800é\u202e"
    long = str(BootlightError("start" + "x" * 10**6 + "end"))
    assert long.startswith("startx") and long.endswith("xend") and len(long) == MAX_MESSAGE + len(" ... ")


# Zips


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([Entry(b"", PICTURE)], "has no PNG"),
        ([Entry(b"a.png\0/../../b", PICTURE)], None),  # zip names end at NUL
        ([Entry(b"../a.png\0", PICTURE)], "leads out of the zip"),
        ([Entry(b"/etc/a.png", PICTURE)], "leads out of the zip"),
        ([Entry(b"a/b/../../../c.png", PICTURE)], "leads out of the zip"),
        ([Entry(b"a/" * 2050 + b"c.png", PICTURE)], "too long a name"),
        ([Entry(b"a\nb\x1b[31m.png", PICTURE, size=2**31)], r"a\nb\x1b[31m.png claims 2147483648 bytes"),
        ([Entry(b"a.png", PICTURE, flags=0x1)], "encrypted"),
        ([Entry(b"\xff.png", PICTURE, flags=0x800)], "damaged zip"),  # said to be UTF-8
        ([Entry(b"a.png", PICTURE, size=0xFFFFFFFF, extra=b"\1\0\x08\0" + b"\xff" * 8)], "claims 18446744073709551615 bytes"),
        ([Entry(b"a.png", PICTURE, size=0xFFFFFFFF, extra=b"\1\0\3\0abc")], "damaged zip"),  # zip64 field of 3 bytes
        ([Entry(b"a.png", PICTURE), Entry(b"b.png", PICTURE, offset=0)], "shares its bytes"),
        ([Entry(b"a.png", PICTURE, packed=10**6), Entry(b"b.png", PICTURE)], "shares its bytes"),
        ([Entry(b"a.png", PICTURE), Entry(b"b.png", PICTURE)], None),
    ],
)
def test_claims_of_zip_entries(tmp_path, entries, reason):
    root = write(tmp_path / "a.zip", raw_zip(*entries))
    if reason is None:
        with open_images(root) as images:
            assert [images.read(i) for i in range(len(images))] == [PICTURE] * len(entries)
    else:
        assert reason in refused(root)


@pytest.mark.parametrize("offset", [2**62, 2**63 + 5])
def test_an_entry_beyond_the_end_of_the_file(tmp_path, offset):
    extra = b"\1\0\x08\0" + offset.to_bytes(8, "little")
    path = write(tmp_path / "a.zip", raw_zip(Entry(b"a.png", PICTURE, extra=extra, offset=0xFFFFFFFF)))
    with open_images(path) as images, pytest.raises(BootlightError, match=r"a\.png: damaged in the zip"):
        images.read(0)


def test_too_many_entries_are_refused_before_objects_are_made_of_them(tmp_path, monkeypatch):
    root = write(tmp_path / "a.zip", raw_zip(*(Entry(b"%d.png" % i, PICTURE) for i in range(5))))
    monkeypatch.setattr(reader_files, "MAX_ZIP_ENTRIES", 4)
    monkeypatch.setattr(zipfile, "ZipInfo", None)
    assert "has more than 4 entries" in refused(root)


def test_a_directory_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    root = write(tmp_path / "a.zip", raw_zip(Entry(b"a.png", PICTURE, extra=bytes(500))))
    monkeypatch.setattr(reader_files, "MAX_FILE_BYTES", 400)
    assert "its directory claims" in refused(root)


@pytest.mark.slow
def test_a_million_entries(tmp_path):
    entry = Entry(b"%07d.png", PICTURE)
    root = tmp_path / "a.zip"
    with zipfile.ZipFile(root, "w") as archive:
        for i in range(10**6):
            archive.writestr(entry.name.decode() % i, b"")
    start = time.perf_counter()
    with open_images(root) as images:
        assert len(images) == 10**6
    print(f"{time.perf_counter() - start:.1f} s")


# Manifests


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("metadata.jsonl", "\n" * 200_000, "has more than 100002 lines"),
        ("metadata.jsonl", '{"file_name": "a.png", "x": "' + "x" * 2**20 + '"}', "line 1 is longer than 1048576 bytes"),
        ("metadata.jsonl", '{"file_name": ' + "[" * 50_000, "not valid JSON"),
        ("metadata.jsonl", '{"file_name": "a.png", "label": ' + "9" * 5000 + "}", "not valid JSON"),
        ("metadata.jsonl", '{"file_name": "../../../etc/passwd"}', "without '..'"),
        ("metadata.jsonl", '{"file_name": "/etc/passwd"}', "use a name relative to the manifest"),
        ("metadata.jsonl", '{"file_name": "a\\nb.png\\u001b[31m"}', "not among the images"),
        ("dataset.json", '{"labels": [' + "[[]]," * 60_000 + "[]]}", "has 300016 bytes and 180003 parts for 1 images"),
        ("dataset.json", '{"labels": [["a.png", NaN]]}', "label nan is neither"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_hostile_manifests(tmp_path, zipped, name, content, reason):
    if zipped:
        root = tmp_path / "a.zip"
        with zipfile.ZipFile(root, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", PICTURE)
            archive.writestr(name, content)
    else:
        root = write(tmp_path / "root" / "a.png", PICTURE).parent
        write(root / name, content)
    message = refused(root)
    assert reason in message and name in message


def test_a_manifest_with_a_line_for_each_image_is_no_bomb(tmp_path):
    root = tmp_path / "root"
    for i in range(30):
        write(root / f"{i}.png", PICTURE)
    write(root / "metadata.jsonl", "\n\n".join(json.dumps({"file_name": f"{i}.png", "text": "x" * 500}) for i in range(30)))
    with open_images(root) as images:
        assert len(images) == 30


def test_classes_with_thousands_of_digits_are_sorted_as_text(tmp_path):
    many = "9" * 5000
    rows = [{"file_name": f"{i}.png", "label": label} for i, label in enumerate([many, "12", "3"])]
    for i in range(3):
        write(tmp_path / f"{i}.png", PICTURE)
    write(tmp_path / "metadata.jsonl", "\n".join(map(json.dumps, rows)))
    with open_images(tmp_path) as images:
        assert images.class_names == ("12", "3", many)


# Folders


def test_folders_deeper_than_functions_can_call(tmp_path):
    start = here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("a", dir_fd=here)
        below = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here) if here != start else None
        here = below
    file = os.open("x.png", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(file, PICTURE)
    for descriptor in (file, here, start):
        os.close(descriptor)
    with open_images(tmp_path) as images:
        assert images.names == ["a/" * 1200 + "x.png"] and images.read(0) == PICTURE
    subprocess.run(["rm", "-rf", tmp_path / "a"], check=True)  # shutil cannot


def test_a_link_in_a_circle(tmp_path):
    (tmp_path / "a.png").symlink_to("a.png")
    write(tmp_path / "b.png", PICTURE)
    assert "a.png is a link that leads nowhere" in refused(tmp_path)


def test_names_that_colour_the_terminal(tmp_path):
    write(tmp_path / "a\nb\x1b[31m.png", b"no picture")
    with open_images(tmp_path) as images, pytest.raises(BootlightError) as caught:
        decode(images.read(0), images.names[0], image_size=4, channels=3)
    assert str(caught.value).startswith(r"a\nb\x1b[31m.png: not a PNG")


# Pictures


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (raw_png(2**31 - 1, 2**31 - 1), "more than 64000000"),
        (raw_png(9000, 9000), "9000 x 9000 pixels is more than 64000000"),
        (raw_png(0, 4), "not a PNG"),
    ],
)
def test_pictures_that_swell(data, reason):
    with pytest.raises(BootlightError, match=reason):
        decode(data, "a.png", image_size=4, channels=3)


def scans(count: int) -> bytes:
    """A progressive JPEG with its last scan repeated."""
    buffer = io.BytesIO()
    Image.new("L", (32, 32)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * (count - data.count(b"\xff\xda")) + data[end:]


def test_a_jpeg_of_endless_scans():
    assert decode(scans(MAX_SCANS), "a.jpg", image_size=32, channels=1).shape == (32, 32, 1)
    with pytest.raises(BootlightError, match=r"a\.jpg: a JPEG of more than 200 scans"):
        decode(scans(MAX_SCANS + 1), "a.jpg", image_size=32, channels=1)


def test_a_budget_is_never_exceeded_and_all_get_their_part():
    budget, lock = Budget(10), threading.Lock()
    held, most, done = 0, 0, []

    def work(amount: int) -> None:
        nonlocal held, most
        with budget.part(amount):
            with lock:
                held += min(amount, 10)
                most = max(most, held)
            time.sleep(0.001)
            with lock:
                held -= min(amount, 10)
                done.append(amount)

    amounts = [3, 7, 10, 1, 99, 5, 5, 4] * 5  # 99 is more than there is: it gets all
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, amounts))
    assert most <= 10 and sorted(done) == sorted(amounts)


class Noted:
    """A budget that only notes what is asked of it."""

    def __init__(self):
        self.asked = []

    @contextmanager
    def part(self, amount):
        self.asked.append(amount)
        yield


def test_pixels_and_bytes_are_taken_from_budgets(tmp_path, monkeypatch):
    pixels, held = Noted(), Noted()
    monkeypatch.setattr(pictures, "_pixels", pixels)
    monkeypatch.setattr(store_passes, "Budget", lambda total: held)
    write(tmp_path / "root" / "a.png", raw_png(5, 7, chunk(b"IDAT", squeezed_zeros(7 * 16))))
    build_store(tmp_path / "root", image_size=4, channels=3, cache=tmp_path / "cache")
    size = (tmp_path / "root" / "a.png").stat().st_size
    assert pixels.asked == [5 * 7] and held.asked == [size, size]  # for the checksum and for decoding


BOMBS = """
import os, resource, sys
os.cpu_count = lambda: 8
from pathlib import Path
from bootlight.errors import BootlightError
from bootlight.data.store import build_store

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

for name in sys.argv[1:]:
    before = peak()
    try:
        build_store(Path(name), image_size=8, channels=3, cache=Path("cache"))
    except BootlightError as error:
        print(Path(name).name, peak() - before, error)
"""


def test_bombs_stay_small_in_memory(tmp_path):
    """With eight threads, as on a machine with six cores or more. What is grown is above the most so far, in MiB."""
    lists = b'{"labels": [' + b"[[]]," * 2**23  # 40 MiB; as objects 1.2 GiB
    zeros = squeezed_zeros(2**26)[2:-4]  # a zlib stream without its ends is what a zip holds
    crc = zlib.crc32(bytes(2**26))
    bombs = {
        "lists.zip": raw_zip(Entry(b"a.png", PICTURE), Entry(b"dataset.json", lists)),
        "lines.zip": raw_zip(Entry(b"a.png", PICTURE), Entry(b"metadata.jsonl", b"\n" * 2**25)),  # as a list 256 MiB
        "zeros.zip": raw_zip(*(Entry(b"%d.png" % i, zeros, 8, crc, 2**26) for i in range(16))),  # 1 GiB of no pictures
    }
    for name, data in bombs.items():
        write(tmp_path / name, data)
    command = [sys.executable, "-c", BOMBS, *(str(tmp_path / name) for name in bombs)]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=True)
    rows = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    grown = {name: float(row.split(" ")[0]) for name, row in rows.items()}
    assert "parts for 1 images" in rows["lists.zip"] and grown["lists.zip"] < 150  # the file and a copy or two
    assert "lines" in rows["lines.zip"] and grown["lines.zip"] < 150
    # The budget of 256 MiB, and the reading of one more file, which zipfile copies twice; without the budget eight of them.
    assert "16 of 16 pictures" in rows["zeros.zip"] and grown["zeros.zip"] < 256 + 3 * 64
