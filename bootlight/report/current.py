"""Whether a page is of the scores that its run has now. Told by content: times change when a folder is copied."""

import hashlib
from pathlib import Path

from bootlight.errors import BootlightError
from bootlight.io.atomic import MAX_JSON_BYTES, read_bytes
from bootlight.runs.folder import RunFolder

MAX_PAGE_BYTES = 64 * 2**20


def scores_mark(run: RunFolder) -> str:
    """SHA-256 of all scores of a run, hexadecimal; `strip.png` and `report.html` carry that of the scores they show."""
    digest = hashlib.sha256()
    for folder in run.generations():
        if folder.is_evaluated:
            digest.update(hashlib.sha256(read_bytes(folder.metrics, MAX_JSON_BYTES)).digest())
    return digest.hexdigest()


def carries(page: Path, mark: str) -> bool:
    """Whether a file is there and has this mark in it."""
    try:
        return mark.encode() in read_bytes(page, MAX_PAGE_BYTES)
    except BootlightError:  # missing, or nothing that bootlight has written
        return False
