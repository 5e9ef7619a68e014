"""Reader of the transaction log that W&B writes offline: blocks of 32 KiB with checked records, as in LevelDB."""

import json
import struct
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32768
HEADER = 7  # of the file: mark, magic number, version; of a record: checksum, length, part
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class Log:
    """What one `.wandb` file says."""

    run_id: str = ""
    group: str = ""
    job_type: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    artifacts: list[Any] = field(default_factory=list)
    exited: bool = False


def payloads(path: Path) -> list[bytes]:
    """Whole records, up to a torn tail."""
    data = path.read_bytes()
    assert data[:HEADER] == b":W&B" + struct.pack("<HB", 0xBEE1, data[6])
    found, parts, at = [], b"", HEADER
    while True:
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
        if at + HEADER > len(data):
            return found
        _, length, part = struct.unpack_from("<IHB", data, at)
        body = data[at + HEADER : at + HEADER + length]
        if part not in (FULL, FIRST, MIDDLE, LAST) or len(body) < length:
            return found
        parts = body if part in (FULL, FIRST) else parts + body
        if part in (FULL, LAST):
            found.append(parts)
        at += HEADER + length


def items(entries: Any) -> dict[str, Any]:
    return {"/".join(entry.nested_key) or entry.key: json.loads(entry.value_json) for entry in entries}


def read_log(path: Path) -> Log:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protobuf about its own age
        from wandb.proto.wandb_internal_pb2 import Record

    log = Log()
    for payload in payloads(path):
        record = Record.FromString(payload)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            log.run_id, log.group, log.job_type = record.run.run_id, record.run.run_group, record.run.job_type
            log.config |= items(record.run.config.update)
        elif kind == "config":
            log.config |= items(record.config.update)
        elif kind == "metric":
            log.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "history":
            log.rows.append((record.history.step.num, items(record.history.item)))
        elif kind == "artifact":
            log.artifacts.append(record.artifact)
        elif kind == "exit":
            log.exited = True
    return log


def finished_logs(folder: Path, *, exited: bool = True) -> list[Log]:
    """Every offline run below a folder, in order of time; W&B's own process may write a little after `finish`."""
    paths = sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.parent.name)
    return [wait_for(path, lambda log: log.exited or not exited, seconds=20) for path in paths]


def wait_for(path: Path, condition: Callable[[Log], bool], *, seconds: float) -> Log:
    """Read a file until it fulfils a condition; fails when that takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        log = read_log(path)
        if condition(log):
            return log
        time.sleep(0.05)
    raise AssertionError(f"{path} did not fulfil the condition within {seconds} s")
