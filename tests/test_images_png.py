"""PNG: transparent colours at every depth against the samples as the standard lays them out; notes of any size."""

import io
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from raw_files import chunk, raw_png, squeezed_zeros

from bootlight.errors import BootlightError
from bootlight.io.picture_header import read_header
from bootlight.io.pictures import decode, decode_whole
from bootlight.io.png_notes import without_notes

SIZE = 6
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
RNG = np.random.default_rng(3)


def packed(samples, depth):
    """IDAT of samples (H, W) or (H, W, C), big-endian, rows filled up to whole bytes (PNG 3rd edition, section 7.2)."""
    rows = []
    for row in samples.reshape(len(samples), -1):
        bits = "".join(format(int(value), f"0{depth}b") for value in row)
        bits += "0" * (-len(bits) % 8)
        rows.append(b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big"))
    return chunk(b"IDAT", zlib.compress(b"".join(rows)))


def seen(data, channels=3):
    return decode(data, "a.png", image_size=SIZE, channels=channels).astype(int)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_grey_is_black_and_no_other_is(depth):
    top = 2**depth - 1
    samples = RNG.integers(0, top + 1, (SIZE, SIZE))
    hidden = int(samples[2, 3])
    near = hidden ^ 1  # the same high byte where there are two
    samples[0, :3], samples[1, :3] = near, hidden
    expected = np.where(samples == hidden, 0, np.round(samples * 255 / top))  # no ties: 255 / top is whole, or top 257 * 255
    for extra in (0,) if depth in (1, 16) else (0, 1 << depth):  # bits above the depth mean nothing
        data = raw_png(
            SIZE, SIZE, chunk(b"tRNS", struct.pack(">H", hidden + extra)), packed(samples, depth), depth=depth, colour=0
        )
        assert np.array_equal(seen(data, 1)[..., 0], expected)
        assert np.array_equal(seen(data), np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("value", ["first", "absent"])
def test_transparent_colour_is_black_and_no_other_is(depth, value):
    samples = RNG.integers(0, 2**depth, (SIZE, SIZE, 3))
    hidden = samples[2, 3].copy()
    samples[0, 0], samples[5, 5] = hidden ^ [0, 0, 1], hidden ^ [1 << (depth - 1), 0, 0]
    hidden = hidden ^ [0, 1, 0] if value == "absent" else hidden
    data = raw_png(SIZE, SIZE, chunk(b"tRNS", struct.pack(">HHH", *hidden)), packed(samples, depth), depth=depth, colour=RGB)
    expected = np.where((samples == hidden).all(axis=2, keepdims=True), 0, samples >> (depth - 8))  # the high byte counts
    assert (expected[2, 3] == 0).all() == (value == "first")
    assert np.array_equal(seen(data), expected) and np.array_equal(decode_whole(data, "a"), expected)


def test_a_transparent_picture_is_turned_with_what_it_hides():
    samples = np.arange(SIZE * SIZE).reshape(SIZE, SIZE) * 1700
    exif = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")  # orientation 6: a quarter right
    data = raw_png(SIZE, SIZE, exif, chunk(b"tRNS", struct.pack(">H", 1700 * 8)), packed(samples, 16), depth=16, colour=0)
    expected = np.where(samples == 1700 * 8, 0, np.round(samples / 257))
    assert np.array_equal(seen(data, 1)[..., 0], np.rot90(expected, -1))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", [GREY_ALPHA, RGBA])
def test_alpha_is_laid_on_black(depth, colour):
    bands = {GREY_ALPHA: 2, RGBA: 4}[colour]
    samples = RNG.integers(0, 2**depth, (SIZE, SIZE, bands))
    samples[0, :, -1], samples[1, :, -1] = 0, 2**depth - 1
    data = raw_png(SIZE, SIZE, packed(samples, depth), depth=depth, colour=colour)
    high = samples >> (depth - 8)
    expected = high[..., :-1] * (high[..., -1:] / 255)
    assert np.abs(seen(data) - expected).max() <= 0.5 + 1e-9  # one rounding to whole levels
    assert (seen(data)[0] == 0).all() and np.array_equal(seen(data)[1], np.broadcast_to(high[1, :, :-1], (SIZE, 3)))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_with_alpha_of_its_entries(depth):
    count = 2**depth
    palette, alpha = RNG.integers(0, 256, (count, 3)), RNG.integers(0, 256, count // 2)  # the others are opaque
    samples = RNG.integers(0, count, (SIZE, SIZE))
    chunks = chunk(b"PLTE", palette.astype(np.uint8).tobytes()), chunk(b"tRNS", alpha.astype(np.uint8).tobytes())
    data = raw_png(SIZE, SIZE, *chunks, packed(samples, depth), depth=depth, colour=PALETTE)
    opacity = np.concatenate([alpha, np.full(count - len(alpha), 255)])
    assert np.abs(seen(data) - (palette * (opacity / 255)[:, None])[samples]).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("adobe", [True, False])
def test_inks_of_a_jpeg_are_inverted_with_and_without_the_marker_of_adobe(adobe):
    """As Adobe's programs and Pillow write them; what has no marker is read likewise, as browsers do."""
    inks = np.array([[0, 80, 160, 20], [255, 0, 10, 0], [30, 30, 30, 200], [0, 0, 0, 0]])
    for ink in inks:
        buffer = io.BytesIO()
        Image.new("CMYK", (16, 16), tuple(ink.tolist())).save(buffer, "JPEG", quality=100)
        data = buffer.getvalue()
        place = data.index(b"\xff\xee")  # APP14
        if not adobe:
            data = data[:place] + data[place + 2 + int.from_bytes(data[place + 2 : place + 4], "big") :]
        expected = (255 - ink[:3]) * (255 - ink[3]) / 255
        # A plain field at quality 100 has a DC step of 1, an eighth of a level, and so comes back whole; then one rounding.
        assert np.abs(decode(data, "a", image_size=16, channels=3) - expected).max() <= 1


# Notes

PIXELS = RNG.integers(0, 256, (SIZE, SIZE, 3))
PICTURE = packed(PIXELS, 8)
SIDEWAYS = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
LARGE = 3 * 2**20
NOTES = {
    "packed profile": chunk(b"iCCP", b"p\0\0" + squeezed_zeros(LARGE)),
    "packed text": chunk(b"zTXt", b"Comment\0\0" + squeezed_zeros(LARGE)),
    "packed international text": chunk(b"iTXt", b"Comment\0\1\0\0\0" + squeezed_zeros(LARGE)),
    "text": chunk(b"tEXt", b"Comment\0" + b"x" * LARGE),
    "international text": chunk(b"iTXt", b"Comment\0\0\0\0\0" + b"x" * LARGE),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b" " * LARGE),
    "packed XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + squeezed_zeros(LARGE)),
    "profile that is none": chunk(b"iCCP", b"p\0\0nonsense"),
    "profile packed in an unknown way": chunk(b"iCCP", b"p\0\7"),
    "text that poses as a setting": chunk(b"tEXt", b"transparency\0" + b"7"),
    "seventy megabytes of XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + squeezed_zeros(2**20 - 1)) * 70,
    "seventy megabytes of texts": chunk(b"zTXt", b"a\0\0" + squeezed_zeros(2**20 - 1)) * 70,
}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("note", NOTES)
def test_a_picture_with_large_notes_is_a_good_one(note, after):
    chunks = [NOTES[note], PICTURE][:: -1 if after else 1]
    data = raw_png(SIZE, SIZE, *chunks)
    assert np.array_equal(seen(data), PIXELS)
    header = read_header(data)
    assert header is not None and not header.transparent and not header.turned
    turned = raw_png(SIZE, SIZE, chunk(b"eXIf", EXIF), *chunks)
    assert np.array_equal(seen(turned), np.rot90(PIXELS, -1)) and read_header(turned).turned


@pytest.mark.parametrize(
    "note",
    [
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + SIDEWAYS),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(SIDEWAYS)),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%8d\n%s" % (len(EXIF), EXIF.hex().encode()))),
    ],
)
def test_small_notes_still_turn_the_picture(note):
    """As before: they stand in for EXIF where there is none."""
    assert np.array_equal(seen(raw_png(SIZE, SIZE, NOTES["packed profile"], note, PICTURE)), np.rot90(PIXELS, -1))


def test_a_picture_without_notes_is_passed_on_as_it_is():
    for data in (raw_png(SIZE, SIZE, PICTURE), b"\xff\xd8 tEXt", b"", b"iCCP"):
        assert without_notes(data) is data


def test_every_other_chunk_stays_where_it_was():
    others = [chunk(b"gAMA", b"1234"), PICTURE, chunk(b"eXIf", EXIF)]
    mixed = raw_png(SIZE, SIZE, NOTES["text"], others[0], *list(NOTES.values())[:7], others[1], NOTES["packed XMP"], others[2])
    assert without_notes(mixed) == raw_png(SIZE, SIZE, *others)
    assert without_notes(mixed + b"tail") == raw_png(SIZE, SIZE, *others) + b"tail"


def test_notes_are_not_unpacked():
    """64 MiB of each kind in a thousandth of it: nothing like it is ever held."""
    bomb = squeezed_zeros(2**26)
    kinds = [b"iTXtXML:com.adobe.xmp\0\1\0\0\0", b"zTXtRaw profile type exif\0\0", b"iCCPp\0\0", b"zTXta\0\0"]
    data = raw_png(SIZE, SIZE, *(chunk(kind[:4], kind[4:] + bomb) for kind in kinds), PICTURE)
    tracemalloc.start()
    assert np.array_equal(seen(data), PIXELS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(data) + 4 * 2**20  # copies of chunks, and the megabyte that may be unpacked


def test_a_note_that_is_cut_off_is_told():
    data = raw_png(SIZE, SIZE, NOTES["text"], PICTURE)
    with pytest.raises(BootlightError, match=r"cannot be decoded|not a PNG"):
        seen(data[: len(data) // 2])


def test_pictures_with_notes_from_several_threads():
    data = [raw_png(SIZE, SIZE, note, PICTURE) for note in NOTES.values()]
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(found, PIXELS) for found in pool.map(seen, data * 3))
