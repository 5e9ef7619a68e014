"""The only place where images change range ([-1, 1] <-> uint8, by rounding), and where pictures meet the disk."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from bootlight.errors import BootlightError
from bootlight.io.budget import Budget
from bootlight.io.png_notes import SIGNATURE, without_notes
from bootlight.io.shape import height_width

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64_000_000  # 8000 x 8000; a picture that claims more is refused before it is decoded
MAX_SCANS = 200  # of a progressive JPEG, where ten are usual: each costs a pass over all pixels, and can be a few bytes
MODES = {1: "L", 3: "RGB"}
_COLOUR_TYPES = {1: 0, 3: 2}  # of a PNG, by channels: grey, RGB (section 11.2.1)
_FILTER_UP = 2  # section 9.2
_START_OF_SCAN = b"\xff\xda"  # in a JPEG's pixels a byte FF is never followed by DA
_pixels = Budget(MAX_PIXELS)  # decoded at a time by all threads: up to 25 bytes of memory for each
_TURNS = {  # EXIF 2.32, tag 0x0112: how the stored rows and columns are turned to what was seen
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Float images in [-1, 1] to uint8 in [0, 255], rounded; values outside are clamped, NaN is refused.

    Rounding matters in a loop: truncation darkens each generation by half a grey level.
    """
    if torch.isnan(images).any():
        raise BootlightError("the generator drew NaN pixels: its training diverged; lower the learning rate")
    return images.float().mul(127.5).add(127.5).round().clamp(0, 255).to(torch.uint8)


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Uint8 images in [0, 255] to float32 in [-1, 1]; `to_uint8` inverts it exactly. Float data stay as they are."""
    if images.is_floating_point():
        return images
    return images.float().div(127.5).sub(1)


def decode(data: bytes, name: str, *, image_size: int | Sequence[int], channels: int) -> NDArray[np.uint8]:
    """Decode a picture, turn it upright, cut the largest centered part of that aspect ratio, resize it with antialiasing.

    The content decides about the format, not the name. The orientation in EXIF is applied. 16-bit grey is scaled to 8 bits
    with rounding; Pillow itself keeps the high byte of 16-bit colour. Transparency is laid on black. Of an animation the
    first picture counts. Inks of a JPEG are inverted, as Adobe writes them. Embedded colour profiles are not applied; texts
    and profiles of a PNG may be of any size.

    Args:
        data: the encoded file: PNG, JPEG or WebP.
        name: how to call it in an error.
        image_size: of the result in pixels: edge of a square, or height and width.
        channels: 1 (grey, ITU-R 601 luma) or 3 (RGB).

    Returns:
        Array (H, W, channels).

    Raises:
        BootlightError: not such a picture, truncated, of more than `MAX_PIXELS` pixels or `MAX_SCANS` scans.
    """
    height, width = height_width(image_size)
    fitted = _opened(data, name, lambda picture: _fitted(_upright_opaque(picture, MODES[channels], data), height, width))
    return np.asarray(fitted, dtype=np.uint8).reshape(height, width, channels)


def decode_whole(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a picture as it is, turned upright, in RGB; otherwise as `decode`.

    Returns:
        Array (height, width, 3).

    Raises:
        BootlightError: as `decode`.
    """
    return np.asarray(_opened(data, name, lambda picture: _upright_opaque(picture, "RGB", data)), dtype=np.uint8)


def decode_stored(data: bytes, name: str) -> NDArray[np.uint8]:
    """The rows and columns of a picture's file in RGB, as pytorch-fid, torch-fidelity and clean-fid read it.

    They call Pillow's `convert("RGB")` and nothing else. So EXIF turns nothing, an alpha channel or a transparent colour is
    dropped and what it hid is seen, and 16-bit grey is clipped at 255.

    Returns:
        Array (height, width, 3).

    Raises:
        BootlightError: as `decode`.
    """
    return np.asarray(_opened(data, name, _without_transparency), dtype=np.uint8)


def _without_transparency(picture: Image.Image) -> Image.Image:
    picture.info.pop("transparency", None)  # Pillow looks at it to warn, not to convert
    return picture.convert("RGB")


def _opened(data: bytes, name: str, finish: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Decode, and let `finish` make something of it; whatever goes wrong is told in one line."""
    if data.startswith(b"\xff\xd8") and data.count(_START_OF_SCAN) > MAX_SCANS + len(data) // 2**15:  # chance finds some
        raise BootlightError(f"{name}: a JPEG of more than {MAX_SCANS} scans; save it anew or remove it")
    try:
        with Image.open(io.BytesIO(without_notes(data)), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise BootlightError(f"{name}: {width} x {height} pixels is more than {MAX_PIXELS}; shrink or remove it")
            with _pixels.part(width * height):
                picture.load()  # before EXIF is read: what is wrong with the pixels must not pass for bad EXIF
                return finish(picture)
    except UnidentifiedImageError:  # its own message is the address of a buffer
        raise BootlightError(f"{name}: not a PNG, JPEG or WebP picture; convert or remove it") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's limit, while opening
        raise BootlightError(f"{name}: more than {MAX_PIXELS} pixels; shrink or remove it") from error
    except (OSError, ValueError, SyntaxError, MemoryError, OverflowError, EOFError, struct.error) as error:
        raise BootlightError(f"{name}: cannot be decoded ({error}); repair or remove it") from error


def _upright_opaque(picture: Image.Image, mode: str, data: bytes) -> Image.Image:
    """The picture in mode L or RGB, transparent parts on black, as EXIF says that it should be seen; bad EXIF says nothing."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except (SyntaxError, struct.error):
        orientation = None
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    opaque = _opaque(picture, mode, data)
    return opaque if turn is None else opaque.transpose(turn)


def _opaque(picture: Image.Image, mode: str, data: bytes) -> Image.Image:
    """The picture in mode L or RGB, transparent parts on black."""
    hidden = _hidden(picture, data)
    if picture.mode.startswith("I"):  # 16-bit grey: Pillow would clip it at 255
        wide = np.asarray(picture).astype(np.uint32)
        picture = Image.fromarray(((wide + 128) // 257).astype(np.uint8))  # 65535 = 255 * 257; half of 257 rounds
    elif picture.has_transparency_data:
        colours = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), colours)
    picture = picture.convert(mode)
    if hidden is not None:
        picture.paste(0, mask=Image.fromarray(hidden))
    return picture


def _hidden(picture: Image.Image, data: bytes) -> NDArray[np.bool_] | None:
    """Where a PNG without alpha or palette has its transparent colour (PNG 3rd edition, section 11.3.1.1), or None.

    Not left to Pillow: it compares the samples that it has scaled to 8 bits with one that it has not.
    """
    if picture.format != "PNG" or picture.mode == "P" or "transparency" not in picture.info:
        return None
    depth = data[len(SIGNATURE) + 16]  # bits of a sample, in the header that comes first (section 11.2.1)
    samples, colour = np.asarray(picture), np.asarray(picture.info.pop("transparency"))
    if depth == 16 and picture.mode == "RGB":
        with Image.open(io.BytesIO(without_notes(data)), formats=FORMATS) as again:
            again.tile = [again.tile[0]._replace(args="RGB;16L")]  # taken for little-endian, the low bytes are the high ones
            low = np.asarray(again)
        return ((samples == colour >> 8) & (low == colour & 255)).all(axis=2)
    colour = colour & (2**depth - 1)  # the other bits mean nothing
    if depth in (2, 4):
        colour = colour * (255 // (2**depth - 1))  # so are samples brought to 0 to 255 (section 13.12)
    same = samples == colour
    return same if same.ndim == 2 else same.all(axis=2)


def _fitted(picture: Image.Image, height: int, width: int) -> Image.Image:
    """The largest centered part of that aspect ratio, at that size; untouched when it already has it."""
    if picture.size == (width, height):
        return picture
    across, down = picture.size
    if across * height > down * width:  # too wide
        part = (max(1, round(down * width / height)), down)
    else:
        part = (across, max(1, round(across * height / width)))
    left, top = (across - part[0]) // 2, (down - part[1]) // 2
    cut = picture.crop((left, top, left + part[0], top + part[1]))  # resize(box=...) would mix in pixels from outside the box
    # LANCZOS in Pillow widens its kernel when shrinking: antialiased.
    return cut.resize((width, height), Image.Resampling.LANCZOS)


def resized(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Center of an array (H, W, C) at that size, as `decode` makes it."""
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    return np.asarray(_fitted(picture, height, width), dtype=np.uint8).reshape(height, width, image.shape[2])


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """PNG bytes of an array (H, W, 1) or (H, W, 3).

    Every row is its difference from the row above, packed in runs and Huffman codes alone (PNG 3rd edition, sections 9.2 and
    10): two to three times faster than a search for repetitions, which photographs have not, at a tenth more bytes. And
    zlib, unlike Pillow's encoder, lets other threads run.
    """
    height, width, channels = image.shape
    pixels = image.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = _FILTER_UP
    rows[:1, 1:] = pixels[:1]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    packer = zlib.compressobj(level=1, wbits=zlib.MAX_WBITS, strategy=zlib.Z_RLE)
    packed = packer.compress(rows.data) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    return b"".join([SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", packed), _chunk(b"IEND", b"")])


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Length, type, content and checksum (PNG 3rd edition, section 5.3)."""
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])


def to_arrays(images: torch.Tensor) -> NDArray[np.uint8]:
    """Float images (B, C, H, W) in [-1, 1] to arrays (B, H, W, C) uint8."""
    return to_uint8(images).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def row_of_tiles(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (K, H, W, C) side by side as one array (H, K * W, C)."""
    count, height, width, channels = images.shape
    return np.ascontiguousarray(images.transpose(1, 0, 2, 3).reshape(height, count * width, channels))
