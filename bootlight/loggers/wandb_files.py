"""How far W&B has come with a run, by the files that it writes on this machine.

W&B has no reader of them for Python. A file is a log as LevelDB writes it (its `doc/log_format.md`): blocks of 32 KiB with
checked pieces of records, here protocol buffers of type `Record`. A kill leaves a torn tail.
"""

import glob
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

MAGIC = b":W&B\xe1\xbe"  # one byte more is the version
BLOCK = 2**15
PIECE = struct.Struct("<IHB")  # checksum of what follows but the length; length; part
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def next_row(folder: Path, run_id: str) -> int:
    """Number after that of the last row in the files of a run; 0 where they have none.

    Args:
        folder: W&B's folder, with one folder in it for each start.
        run_id: id of the W&B run.
    """
    name = glob.escape(run_id)
    files = [path for path in folder.glob(f"*run-*/run-{name}.wandb") if path.is_file()]
    return max((step + 1 for file in files for step in _steps(file)), default=0)


def _steps(path: Path) -> Iterator[int]:
    """Numbers of the rows in a file, as far as it can be read."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    with suppress(OSError), open(path, "rb") as file:
        for content in _records(file):
            with suppress(DecodeError):
                record = Record.FromString(content)
                if record.WhichOneof("record_type") == "history":
                    yield record.history.step.num


def _records(file: IO[bytes]) -> Iterator[bytes]:
    """Whole records; after a damaged piece it goes on with the next block."""
    record: bytearray | None = None
    at = len(MAGIC) + 1
    while block := file.read(BLOCK):
        if file.tell() == len(block) and not block.startswith(MAGIC):
            return
        while at + PIECE.size <= len(block):
            checksum, length, part = PIECE.unpack_from(block, at)
            piece = block[at + PIECE.size : at + PIECE.size + length]
            if len(piece) < length or zlib.crc32(piece, zlib.crc32(bytes([part]))) != checksum:
                record = None
                break
            if part in (FULL, FIRST):
                record = bytearray()
            if record is not None:
                record += piece
                if part in (FULL, LAST):
                    yield bytes(record)
                    record = None
            at += PIECE.size + length
        at = 0
