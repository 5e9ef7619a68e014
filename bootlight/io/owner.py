"""Whose a half-written file is: its name tells the process, so that nobody waits for one that was killed."""

import hashlib
import os
import re
import secrets
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

MAX_BYTES = 200  # of the name itself: file systems take 255, and what tells of the process up to 48
_NAME = re.compile(r"\.([0-9a-f]{8})-([0-9a-f]{1,8})-([0-9a-f]{1,16})-[0-9a-f]{8}\.tmp$")


def temporary_name(name: str) -> str:
    """A hidden name that nobody else uses and that tells of this process; ends in `.tmp`."""
    short = os.fsdecode(os.fsencode(name)[:MAX_BYTES])
    return f".{short}.{_process(os.getpid())}-{secrets.token_hex(4)}.tmp"


def is_own(name: str) -> bool:
    """Whether this process made a `temporary_name`."""
    return f".{_process(os.getpid())}-" in name


def owner_lives(name: str) -> bool | None:
    """Whether the process that made a `temporary_name` still runs; None = nobody can know.

    Processes of other machines, of other containers and of before a restart are not seen from here.
    """
    match = _NAME.search(name)
    if match is None or match[1] != _here():
        return None
    started = _started(int(match[2], 16))
    return started is not None and int(match[3], 16) in (0, started)


def _process(pid: int) -> str:
    return f"{_here()}-{pid:x}-{_started(pid) or 0:x}"


@cache
def _here() -> str:
    """Stands for everything within which numbers of processes have one meaning: machine, its start, its container."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # there is no /proc but on Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _started(pid: int) -> int | None:
    """When a process was started, in the system's own unit; 0 where the system does not tell, None if it does not run."""
    try:
        # Behind the name of the program, which may hold anything: state is field 3, time of start field 22.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, LookupError, ValueError):
        pass
    if os.path.exists("/proc/self/stat"):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:  # somebody else's
        pass
    return 0
