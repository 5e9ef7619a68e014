"""A disk in memory that can be filled without harm."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def can_mount(folder: Path) -> bool:
    """Whether this user may."""
    if os.name != "posix" or not shutil.which("mount"):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    with small_disk(folder) as mounted:
        return mounted


@contextmanager
def small_disk(folder: Path, size: str = "16m") -> Iterator[bool]:
    """Mount one there; False inside where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
