"""One pass over all images of a set, in several threads: constant memory, and all failures in one message."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from bootlight.budget import Budget
from bootlight.data.reader import ImageSet
from bootlight.errors import BootlightError
from bootlight.terminal import safe

T = TypeVar("T")
CHUNK = 16  # images of one task; with THREADS it bounds what is in memory
# Hashing, decoding and resizing let other threads run; more than there are cores cost more in changing turns than they save.
THREADS = max(2, min(8, os.cpu_count() or 1))
MAX_NAMED = 5
BYTES = 256 * 2**20  # of encoded files that all threads hold; as much as the largest has


def over_images(images: ImageSet, work: Callable[[int], T], description: str | None) -> Iterator[list[T]]:
    """Yield `work(i)` for every image in order, in lists; a bar is shown when it takes longer than a second.

    Args:
        images: the set; only its length, names and sizes are used here.
        work: called with 0 to len(images) - 1 from several threads; raises BootlightError for an image that is no good.
        description: of the bar; None = no bar.

    Raises:
        BootlightError: after the last image, for all that failed together; once one has failed, nothing more is yielded.
    """
    failures: list[tuple[int, str]] = []  # not the errors themselves, which hold on to what could not be decoded
    held = Budget(BYTES)

    def run(start: int) -> tuple[list[T], list[tuple[int, str]]]:
        results, failed = [], []
        for i in range(start, min(start + CHUNK, len(images))):
            try:
                with held.part(images.size(i)):
                    results.append(work(i))
            except BootlightError as error:
                failed.append((i, str(error)))
        return results, failed

    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(
            total=len(images), desc=safe(description or ""), unit=" images", delay=1, leave=False, disable=description is None
        ) as bar,
    ):
        for results, failed in _in_order(pool, run, range(0, len(images), CHUNK)):
            bar.update(len(results) + len(failed))
            failures += failed
            if not failures:
                yield results
    if failures:
        raise BootlightError(_summary(images, failures))


def _in_order(pool: ThreadPoolExecutor, run: Callable[[int], T], starts: range) -> Iterator[T]:
    """Like `pool.map`, but at most 2 * THREADS tasks are ahead of the caller."""
    pending: deque[Future[T]] = deque()
    for start in starts:
        pending.append(pool.submit(run, start))
        if len(pending) > 2 * THREADS:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _summary(images: ImageSet, failures: list[tuple[int, str]]) -> str:
    others = [images.names[i] for i, _ in failures[1:MAX_NAMED]]
    left = len(failures) - 1 - len(others)
    also = f"; also {', '.join(others)}" if others else ""
    more = f" and {left} more" if left else ""
    return f"{images.where}: {len(failures)} of {len(images)} pictures cannot be used: {failures[0][1]}{also}{more}"
