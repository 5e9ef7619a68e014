"""Notes inside of a PNG that Pillow would unpack and nobody here reads: texts, XMP, colour profiles."""

import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"  # begins each file (PNG 3rd edition, section 5.2)
NOTES = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")  # sections 11.3.2.3 and 11.3.3
TURNING = (b"XML:com.adobe.xmp", b"Raw profile type exif")  # keywords of texts in which Pillow looks for an orientation
MAX_KEYWORD = 79  # bytes
MAX_TURNING = 2**20  # bytes of these, unpacked, all together; Pillow refuses a picture that has more in one


def without_notes(data: bytes) -> bytes:
    """The same PNG without colour profile and texts, which may be of any size; other data as they are.

    A picture with megabytes of them is a good one, but Pillow takes them for a bomb. Nothing is unpacked but what may say
    how to turn the picture, and of that no more than `MAX_TURNING` bytes: what is larger goes too. EXIF in a chunk of its
    own (eXIf) stays.
    """
    if not data.startswith(SIGNATURE) or not any(kind in data for kind in NOTES):
        return data
    view = memoryview(data)  # its parts are no copies
    kept, begin, at, left = bytearray(), 0, len(SIGNATURE), MAX_TURNING
    while at + 12 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(view[at : at + 4], "big")
        if kind in NOTES and end <= len(data):  # what is cut off is left to be complained of
            size = _turning_size(kind, view[at + 8 : end - 4], left)
            if size is None:
                kept += view[begin:at]
                begin = end
            else:
                left -= size
        at = end
    if begin == 0:
        return data
    kept += view[begin:]
    return bytes(kept)


def _turning_size(kind: bytes, content: memoryview, limit: int) -> int | None:
    """Bytes of a text in which an orientation may be, unpacked; None where it is another note, damaged, or has over `limit`."""
    keyword = bytes(content[: MAX_KEYWORD + 1]).partition(b"\0")[0]
    if kind == b"iCCP" or keyword not in TURNING or len(content) > 2 * limit:  # so much does not unpack to half of it
        return None
    text = bytes(content[len(keyword) + 1 :])
    packed = kind == b"zTXt"
    if packed:
        text = text[1:]  # method of compression
    elif kind == b"iTXt":
        packed = text[:1] != b"\0"
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]  # language, translated keyword
    try:
        size = len(zlib.decompressobj().decompress(text, limit + 1)) if packed else len(text)
    except zlib.error:
        return None
    return size if size <= limit else None
