"""Zips and PNG files byte by byte, with claims that no library would write; and the least that a checkpoint has."""

import struct
import zlib
from typing import NamedTuple


class Entry(NamedTuple):
    """One file in a zip; what is left out is told truly.

    Args:
        name: in both headers.
        data: as it lies in the zip.
        method: 0 = stored, 8 = deflated.
        crc: checksum of the content.
        size: bytes of the content.
        packed: bytes in the zip.
        flags: general purpose flags.
        extra: extra field of the directory.
        offset: of the local header; None = where the header is written.
        listed: whether the directory has it.
    """

    name: bytes
    data: bytes = b""
    method: int = 0
    crc: int | None = None
    size: int | None = None
    packed: int | None = None
    flags: int = 0
    extra: bytes = b""
    offset: int | None = None


def local_header(entry: Entry) -> bytes:
    """APPNOTE 4.3.7."""
    crc, size, packed = told(entry)
    sizes = (crc, packed & 0xFFFFFFFF, size & 0xFFFFFFFF)
    return (
        struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, entry.flags, entry.method, 0, 33, *sizes, len(entry.name), 0) + entry.name
    )


def directory_entry(entry: Entry, offset: int) -> bytes:
    """APPNOTE 4.3.12."""
    lengths = (len(entry.name), len(entry.extra), 0, 0, 0, 0)
    head = (b"PK\1\2", 20, 20, entry.flags, entry.method, 0, 33)
    crc, size, packed = told(entry)
    return struct.pack("<4sHHHHHHIIIHHHHHII", *head, crc, packed, size, *lengths, offset) + entry.name + entry.extra


def told(entry: Entry) -> tuple[int, int, int]:
    """Checksum, size of the content, size in the zip."""
    crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
    size = len(entry.data) if entry.size is None else entry.size
    return crc, size, len(entry.data) if entry.packed is None else entry.packed


def end_of_directory(count: int, size: int, offset: int) -> bytes:
    """APPNOTE 4.3.16."""
    return struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), size, offset, 0)


def raw_zip(*entries: Entry) -> bytes:
    """A zip of entries as they describe themselves."""
    body, directory = b"", b""
    for entry in entries:
        directory += directory_entry(entry, len(body) if entry.offset is None else entry.offset)
        body += local_header(entry) + entry.data
    return body + directory + end_of_directory(len(entries), len(directory), len(body))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of any claimed size around other chunks; IEND is added."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def with_right_checksums(png: bytes) -> bytes:
    """The same chunks with checksums that fit, as far as the lengths make sense: damage then reaches what is behind them."""
    out, at = [png[:8]], 8
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        if at + 12 + length > len(png):
            break
        out.append(chunk(png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join(out) + png[at:]


def squeezed_zeros(size: int) -> bytes:
    """A zlib stream of so many zero bytes, a thousandth of their size."""
    packer, block = zlib.compressobj(9), bytes(2**20)
    whole = b"".join(packer.compress(block) for _ in range(size >> 20))
    return whole + packer.compress(bytes(size % 2**20)) + packer.flush()


def state_of_training(step: int = 3, **weights: object) -> dict[str, object]:
    """What a checkpoint has that a training can be continued from."""
    return {"state_dict": weights, "optimizer_states": [], "lr_schedulers": [], "loops": {}, "global_step": step}
