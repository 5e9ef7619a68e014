"""Damage of a file of an interrupted run or of its cache, and what may come of it."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

# Files by what reads them, as patterns below the folder of a run and its cache. Whatever is not read again may stay damaged;
# numbers that are read are checked, and the run is exact or names the file. The last three are records for people: pages show
# them as they stand, or say what is wrong with them.
KINDS_OF_FILES = {
    "picture": "run/gen_*/samples/*/*.png",
    "manifest": "run/gen_*/samples/metadata.jsonl",
    "hash of the manifest": "run/gen_*/samples.json",
    "weights": "run/gen_*/model.safetensors",
    "model.json": "run/gen_*/model.json",
    "checkpoint": "run/gen_*/checkpoints/*.ckpt",
    "network": "run/references/*.safetensors",
    "what was asked of a network": "run/references/*.json",
    "configuration": "run/config.yaml",
    "decoded images": "cache/*/*.npy",
    "description of decoded images": "cache/*/store.json",
    "features": "cache/features/*",
    "kept network": "cache/judges/*/*.*",
    "scores": "run/gen_*/metrics.json",
    "curves": "run/gen_*/*.jsonl",
    "environment": "run/environment.json",
}
RECORDS = ("scores", "curves", "environment")
SHOWN = re.compile(r"gen_\d+ curves|gen_\d+/metrics\.json|metrics\.(json|csv)|strip\.png")  # results that repeat records


@dataclass
class Damage:
    """What was done to a file.

    Attributes:
        path: of the file.
        kind: of `KINDS_OF_FILES`.
        what: in words.
        before: the bytes that it had, of all files that were changed.
        after: the bytes that they have; None = deleted.
    """

    path: Path
    kind: str
    what: str
    before: dict[Path, bytes]
    after: dict[Path, bytes | None]

    def mend(self) -> None:
        """Put back what was there."""
        for path, data in self.before.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def untouched(self) -> list[Path]:
        """Files that nobody has written or mended since."""
        return [path for path, data in self.after.items() if (path.read_bytes() if path.exists() else None) == data]

    def may_differ(self, result: str) -> bool:
        """Whether a result, by its name in `fingerprint`, shows a damaged record as it stands."""
        return self.kind in RECORDS and bool(SHOWN.fullmatch(result))

    def told(self, text: str) -> bool:
        """Whether a message names a file, or the folder of a cache that it lies in."""
        return any(path.name in text or path.parent.name in text for path in self.after)


def damage(folder: Path, rng: Random) -> Damage | None:
    """Change a file, if there is one: any kind of file with the same probability."""
    found = {kind: files for kind, pattern in KINDS_OF_FILES.items() if (files := list_files(folder, pattern))}
    if not found:
        return None
    kind = rng.choice(sorted(found))
    path = rng.choice(found[kind])
    ways: list[Callable[[bytes, Random], bytes | None]] = [flip, cut, lambda data, rng: None]
    if kind == "picture" and len(found[kind]) > 1:
        other = rng.choice([file for file in found[kind] if file != path])
        if rng.random() < 0.5 and other.read_bytes() != path.read_bytes():
            return _change(kind, f"swapped with {other.name}", {path: other.read_bytes(), other: path.read_bytes()})
    way = rng.choice(ways)
    return _change(kind, {flip: "a byte", cut: "the last line"}.get(way, "deleted"), {path: way(path.read_bytes(), rng)})


def _change(kind: str, what: str, after: dict[Path, bytes | None]) -> Damage:
    done = Damage(next(iter(after)), kind, what, {path: path.read_bytes() for path in after}, after)
    for path, data in after.items():
        if data is None:
            os.unlink(path)
        else:
            path.write_bytes(data)
    return done


def list_files(folder: Path, pattern: str) -> list[Path]:
    """Files of a pattern that are not empty, in the order of their names."""
    return [path for path in sorted(folder.glob(pattern)) if path.is_file() and path.stat().st_size]


def flip(data: bytes, rng: Random) -> bytes:
    """Another value of one bit."""
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, rng: Random) -> bytes:
    """Without the last line, or the last tenth of what has no lines."""
    lines = data.splitlines(keepends=True)
    return data[: -max(1, len(data) // 10)] if len(lines) < 2 or b"\0" in data else b"".join(lines[:-1])
