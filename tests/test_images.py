"""Ranges, decoding and encoding of pictures against closed forms and independent implementations."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from bootlight.errors import BootlightError
from bootlight.io import pictures
from bootlight.io.atomic import write_bytes
from bootlight.io.pictures import MAX_PIXELS, decode, encode_png, row_of_tiles, to_arrays, to_float, to_uint8


def encoded(picture, format="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def png(width, height, depth, colour, rows=b""):
    """A PNG by hand (RFC 2083): Pillow writes no 16-bit colour and no false sizes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def grey(values, name="a.png"):
    values = np.asarray(values, np.uint8)
    return decode(encoded(Image.fromarray(values)), name, image_size=min(values.shape), channels=1)[:, :, 0]


# Ranges


def test_all_256_values_survive_the_round_trip():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(values)), values)


def test_range_of_floats_is_minus_one_to_one():
    floats = to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert floats.dtype == torch.float32
    # 51 = 255 / 5, so (51 / 127.5) - 1 = -0.6; float32 has 24 bits
    assert floats.tolist() == pytest.approx([-1.0, -0.6, 1.0], abs=2**-23)


def test_floats_are_rounded_to_the_nearest_level_and_clamped():
    levels = np.arange(255)
    for offset, expected in ((0.4, levels), (0.6, levels + 1)):  # truncation would give `levels` both times
        floats = torch.from_numpy((levels + offset) / 127.5 - 1).float()
        assert to_uint8(floats).tolist() == expected.tolist()
    assert to_uint8(torch.tensor([-7.0, -1.001, 1.001, 7.0, torch.inf])).tolist() == [0, 0, 255, 255, 255]


def test_bfloat16_is_widened_before_the_arithmetic():
    # 0.0078125 = 2^-7 is exact in bfloat16; 127.5 * (1 + 2^-7) = 128.496 rounds to 128; in bfloat16 (8 bits) it would not.
    floats = torch.tensor([2**-7 - 1, -(2**-7)], dtype=torch.bfloat16)
    assert to_uint8(floats).tolist() == [round(127.5 * 2**-7), round(127.5 - 127.5 * 2**-7)]


def test_nan_is_refused():
    with pytest.raises(BootlightError, match="NaN"):
        to_uint8(torch.tensor([0.0, torch.nan]))


# Crop and resize


@pytest.mark.parametrize(("width", "height", "first"), [(7, 3, 2), (6, 3, 1), (3, 7, 2), (3, 8, 2), (3, 3, 0)])
def test_largest_centred_square(width, height, first):
    """`first` is floor((long edge - short edge) / 2); no resizing is left to do, so the pixels are exact."""
    values = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    square = values[:, first : first + 3] if width > height else values[first : first + 3]
    assert np.array_equal(grey(values), square)


def lanczos_matrix(source, target):
    """Rows: target pixels; weights of the source pixels under a Lanczos-3 window widened by the scale."""
    scale = source / target
    centres = (np.arange(target)[:, None] + 0.5) * scale
    x = (np.arange(source)[None] + 0.5 - centres) / max(scale, 1)
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("edge", "size"), [(48, 9), (13, 8), (8, 20)])
def test_resize_is_lanczos_with_antialiasing(edge, size):
    values = np.random.default_rng(0).integers(64, 192, (edge, edge + 10), dtype=np.uint8)
    result = decode(encoded(Image.fromarray(values)), "a.png", image_size=size, channels=1)[:, :, 0]
    weights = lanczos_matrix(edge, size)
    expected = weights @ values[:, 5:-5].astype(float) @ weights.T
    # Pillow rounds after each direction: 0.5 from the second; 0.5 from the first times sum |weights| (1.4 to 1.6 here).
    assert np.abs(result - expected).max() < 0.5 + 0.5 * np.abs(weights).sum(axis=1).max()


def test_checkerboard_of_single_pixels_shrinks_to_mid_grey():
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    small = decode(encoded(Image.fromarray(board.astype(np.uint8))), "a.png", image_size=8, channels=1)
    assert set(np.unique(small)) <= {127, 128}  # its mean is 127.5; nearest neighbour would give 0 or 255


def test_one_bright_column_in_eight_shrinks_to_an_eighth():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::8] = 240
    small = decode(encoded(Image.fromarray(stripes)), "a.png", image_size=8, channels=1)[:, 3:5]
    # 30 = 240 / 8 up to the ripple of the window, 2 %, and two roundings; without antialiasing 0.
    assert np.abs(small.astype(int) - 30).max() <= 0.02 * 30 + 1


# Modes

COLOURS = np.array(
    [[[255, 0, 0], [0, 255, 0], [7, 80, 200]], [[0, 0, 255], [9, 9, 9], [255, 255, 255]], [[1, 2, 3]] * 3], np.uint8
)


def rgb(data):
    return decode(data, "a.png", image_size=3, channels=3)


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_colours_of_lossless_formats_are_exact(format, options):
    assert np.array_equal(rgb(encoded(Image.fromarray(COLOURS), format, **options)), COLOURS)


def test_grey_from_colour_is_luma():
    result = decode(encoded(Image.fromarray(COLOURS)), "a.png", image_size=3, channels=1)[:, :, 0]
    luma = COLOURS @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    assert np.abs(result - luma).max() < 0.51  # rounding, and 16-bit weights


def test_colour_from_grey_repeats_it():
    values = np.arange(0, 250, 28, dtype=np.uint8).reshape(3, 3)
    assert np.array_equal(rgb(encoded(Image.fromarray(values))), np.repeat(values[..., None], 3, axis=2))


def test_one_bit_is_black_and_white():
    bits = np.eye(3, dtype=bool)
    assert np.array_equal(rgb(encoded(Image.fromarray(bits)))[:, :, 0], bits * 255)


def test_palette_and_its_transparent_entry():
    picture = Image.fromarray(np.arange(9, dtype=np.uint8).reshape(3, 3))
    picture.putpalette(COLOURS.tobytes())
    assert picture.mode == "P"
    assert np.array_equal(rgb(encoded(picture)), COLOURS)
    expected = COLOURS.copy()
    expected[0, 1] = 0
    assert np.array_equal(rgb(encoded(picture, transparency=1)), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_is_laid_on_black(channels):
    alpha = np.array([[0, 255, 128], [255, 0, 64], [200, 100, 50]], np.uint8)
    light = np.full((3, 3), 210, np.uint8)
    picture = Image.fromarray(np.stack([light] * 3 + [alpha], axis=2))
    result = decode(encoded(picture), "a.png", image_size=3, channels=channels)
    # 210 * alpha / 255; half a level from rounding here and in luma
    assert np.abs(result - (210 * (alpha / 255))[..., None]).max() <= 1
    assert result[0, 0, 0] == 0 and result[0, 1, 0] == 210


def test_grey_with_alpha_is_laid_on_black():
    picture = Image.fromarray(np.full((2, 2), 90, np.uint8))
    picture.putalpha(Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)))
    assert picture.mode == "LA"
    assert decode(encoded(picture), "a.png", image_size=2, channels=1)[:, :, 0].tolist() == [[0, 90], [90, 0]]


def test_16_bit_grey_is_scaled_with_rounding():
    wide = np.array([[0, 128, 129], [257 * 200, 257 * 200 + 128, 257 * 200 + 129], [300, 65406, 65535]], np.uint16)
    result = decode(encoded(Image.fromarray(wide)), "a.png", image_size=3, channels=1)[:, :, 0]
    assert np.array_equal(result, np.round(wide / 257))  # 65535 / 255 = 257; no ties, 257 being odd
    assert result[2, 2] == 255 and result[0, 2] == 1


def test_16_bit_colour_keeps_its_high_byte():
    pixels = b"\x00" + b"".join(struct.pack(">HHH", 0x1234, 0xABFF, 0xFFFF) for _ in range(2))
    result = decode(png(2, 2, 16, 2, pixels * 2), "a.png", image_size=2, channels=3)
    assert result[1, 1].tolist() == [0x12, 0xAB, 0xFF]


def test_cmyk_jpeg():
    for ink, colour in (((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0)), ((0, 0, 0, 55), (200, 200, 200))):
        data = encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=95)
        # A plain field has only the DC coefficient: its quantisation step is 2 at quality 95, or a quarter level; YCC rounds.
        assert np.abs(decode(data, "a", image_size=16, channels=3).astype(int) - colour).max() <= 2


# EXIF

# EXIF 2.32, tag 0x0112: the side of the visual picture where the stored 0th row and the stored 0th column lie.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def seen(stored, orientation):
    """The visual picture, pixel by pixel from the table."""
    out = np.empty_like(stored)
    last = len(stored) - 1
    for i, j in np.ndindex(stored.shape):
        place = {}
        for distance, side in zip((i, j), SIDES[orientation], strict=True):
            place["row" if side in ("top", "bottom") else "column"] = distance if side in ("top", "left") else last - distance
        out[place["row"], place["column"]] = stored[i, j]
    return out


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_orientation_in_exif_is_applied(orientation, format):
    stored = np.arange(9, dtype=np.uint8).reshape(3, 3) * 25
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.repeat(stored[..., None], 3, axis=2))
    data = encoded(picture, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    assert np.array_equal(rgb(data)[:, :, 0], seen(stored, orientation))


@pytest.mark.filterwarnings("ignore")  # Pillow's notes on them
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\x00\x00garbage",
        b"Exif\x00\x00MM\x00*\x00\x00\xff\xff",
        b"Exif\x00\x00MM\x00*\x00",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff",
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_unreadable_exif_says_nothing(exif, format):
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    plain, odd = (decode(encoded(picture, format, **more), "a", image_size=8, channels=1) for more in ({}, {"exif": exif}))
    assert np.array_equal(plain, odd)


# What cannot be decoded

WHOLE_PNG = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)))
WHOLE_JPEG = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)), "JPEG")
WHOLE_WEBP = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)), "WEBP")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a PNG"),
        (b"plain text", "not a PNG"),
        (encoded(Image.new("L", (4, 4)), "GIF"), "not a PNG"),
        (WHOLE_PNG[: len(WHOLE_PNG) // 2], "cannot be decoded"),
        (WHOLE_JPEG[: len(WHOLE_JPEG) // 2], "cannot be decoded"),
        (WHOLE_WEBP[: len(WHOLE_WEBP) // 2], "cannot be decoded|not a PNG"),
        (png(50_000, 50_000, 8, 2), "pixels"),
        (png(8_001, 8_000, 8, 0), "8001 x 8000 pixels"),
        (png(4, 4, 8, 0, b"\x00"), "cannot be decoded"),
    ],
)
def test_one_line_names_the_picture_that_fails(data, reason):
    with pytest.raises(BootlightError, match=reason) as caught:
        decode(data, "cats/7.png", image_size=4, channels=3)
    assert str(caught.value).startswith("cats/7.png: ")
    assert "\n" not in str(caught.value) and "0x" not in str(caught.value)
    assert "remove it" in str(caught.value)


def test_the_limit_of_pixels_is_inclusive(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 32 * 32)
    assert decode(WHOLE_PNG, "a", image_size=32, channels=3).shape == (32, 32, 3)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 32 * 32 - 1)
    with pytest.raises(BootlightError, match="32 x 32 pixels"):
        decode(WHOLE_PNG, "a", image_size=32, channels=3)
    assert MAX_PIXELS == 64_000_000


def test_the_content_decides_about_the_format():
    assert np.array_equal(decode(WHOLE_PNG, "a.jpg", image_size=32, channels=3), np.asarray(Image.open(io.BytesIO(WHOLE_PNG))))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("whole", [WHOLE_PNG, WHOLE_JPEG, WHOLE_WEBP])
def test_damaged_bytes_raise_nothing_else(whole):
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for position in rng.integers(0, min(len(data), 400), 4):
            data[position] = rng.integers(256)
        try:
            decode(bytes(data), "a", image_size=8, channels=3)
        except BootlightError:
            refused += 1
    assert refused > 10


# Encoding and layout


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_lossless(channels):
    image = np.random.default_rng(3).integers(0, 256, (5, 5, channels), dtype=np.uint8)
    assert np.array_equal(decode(encode_png(image), "a", image_size=5, channels=channels), image)


def unpacked(data):
    """An independent reader of what `encode_png` writes: the parts of the header, and the pixels."""
    assert data[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
    chunks, place = {}, 8
    while place < len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        content = data[place + 8 : place + 8 + length]
        assert int.from_bytes(data[place + 8 + length : place + 12 + length], "big") == zlib.crc32(kind + content)
        chunks[kind], place = content, place + 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"] and chunks[b"IEND"] == b""
    header = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    width, height, channels = header[0], header[1], {0: 1, 2: 3}[header[3]]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * channels)
    assert (rows[:, 0] == 2).all()  # the filter "up": each byte is the difference from the one above
    return header, np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).reshape(height, width, channels)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 3), (1, 7, 3), (6, 1, 1), (5, 9, 3), (64, 32, 3), (8, 300, 1)])
@pytest.mark.parametrize("kind", ["noise", "flat", "ramp"])
def test_png_as_the_standard_has_it(shape, kind):
    flat = np.full(shape, 255, np.uint8)
    ramp = (np.arange(flat.size) % 256).astype(np.uint8).reshape(shape)
    image = {"noise": np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8), "flat": flat, "ramp": ramp}[kind]
    data = encode_png(image)
    header, pixels = unpacked(data)
    assert header == (shape[1], shape[0], 8, {1: 0, 3: 2}[shape[2]], 0, 0, 0)  # 8 bits, grey or RGB, not interlaced
    assert np.array_equal(pixels, image)
    picture = Image.open(io.BytesIO(data))
    assert picture.mode == {1: "L", 3: "RGB"}[shape[2]] and np.array_equal(np.asarray(picture).reshape(shape), image)
    assert encode_png(np.asfortranarray(image)) == data  # however it lies in memory


def test_arrays_have_channels_last():
    images = torch.tensor([-1.0, 0.2, 1.0]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    arrays = to_arrays(images)
    assert arrays.shape == (2, 4, 5, 3) and arrays[1, 3, 4].tolist() == [0, 153, 255]  # 127.5 * 1.2 = 153


def test_tiles_stand_side_by_side():
    tiles = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3, 1)
    assert row_of_tiles(tiles)[:, :, 0].tolist() == [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]]


def test_bytes_are_written_whole(tmp_path):
    write_bytes(tmp_path / "new" / "a.png", b"123")
    write_bytes(tmp_path / "new" / "a.png", b"4567")
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == {"a.png": b"4567"}
