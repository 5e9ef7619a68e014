"""One pass over all images of a set, in several threads: constant memory, and all failures in one message."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from tqdm import tqdm

from bootlight.errors import BootlightError, safe
from bootlight.io.budget import Budget

T = TypeVar("T")
CHUNK = 16  # images of one task; with THREADS it bounds what is in memory
# Hashing, decoding and resizing let other threads run; more than there are cores cost more in changing turns than they save.
THREADS = max(2, min(8, os.cpu_count() or 1))
MAX_NAMED = 5
BYTES = 256 * 2**20  # of encoded files that all threads hold; as much as the largest has


class Pictures(Protocol):
    """What is passed over, such as a `reader.ImageSet`."""

    @property
    def where(self) -> str:
        """How messages call them."""

    @property
    def names(self) -> Sequence[str]:
        """Of the pictures."""

    def __len__(self) -> int:
        """How many there are."""

    def size(self, i: int) -> int:
        """Bytes of the encoded file of picture i."""


class BadPictures(BootlightError):
    """Pictures of a set cannot be used.

    Args:
        message: for the user.
        bad: what is wrong with them, by position.
    """

    def __init__(self, message: str, bad: dict[int, str]) -> None:
        super().__init__(message)
        self.bad = bad


def over_images(
    images: Pictures, work: Callable[[int], T], description: str | None, bad: dict[int, str] | None = None
) -> Iterator[list[T]]:
    """Yield `work(i)` for every image in order, in lists; a bar is shown when it takes longer than a second.

    Args:
        images: the set; only its length, names and sizes are used here.
        work: called with 0 to len(images) - 1 from several threads; raises BootlightError for an image that is no good.
        description: of the bar; None = no bar.
        bad: takes, by position, what is wrong with images that fail; the others are yielded without them.

    Raises:
        BadPictures: without `bad`, after the last image, for all that failed together; once one has failed, nothing more is
            yielded.
    """
    failures: dict[int, str] = (
        {} if bad is None else bad
    )  # not the errors themselves, which hold on to what could not be decoded
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
            failures |= failed
            if bad is not None or not failures:
                yield results
    if failures and bad is None:
        raise bad_pictures(images, failures)


def _in_order(pool: ThreadPoolExecutor, run: Callable[[int], T], starts: range) -> Iterator[T]:
    """Like `pool.map`, but at most 2 * THREADS tasks are ahead of the caller."""
    pending: deque[Future[T]] = deque()
    for start in starts:
        pending.append(pool.submit(run, start))
        if len(pending) > 2 * THREADS:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def bad_pictures(images: Pictures, bad: dict[int, str], limit: str = "0") -> BadPictures:
    """The error that tells of bad pictures: what is wrong with the first, the names of some, how many there are."""
    first, *others = sorted(bad)
    named = [images.names[i] for i in others[: MAX_NAMED - 1]]
    left = len(others) - len(named)
    also = f"; also {', '.join(named)}" if named else ""
    more = f" and {left} more" if left else ""
    return BadPictures(
        f"{images.where}: {len(bad)} of {len(images)} pictures cannot be used: {bad[first]}{also}{more}; max_bad, so "
        f"many as may be left out, is {limit}",
        bad,
    )
