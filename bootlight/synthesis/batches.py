"""What a process draws at a time: batches of requests that still miss an image, shared between ranks."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from bootlight.distributed.stopping import stop_request
from bootlight.synthesis.requests import Requests
from bootlight.synthesis.written import Written


class Share(NamedTuple):
    """Which of the batches a process draws: they go round the ranks.

    Args:
        rank: of this process among those that write into the folder that it sees.
        world_size: number of them.
    """

    rank: int = 0
    world_size: int = 1


ALONE = Share()


class Part(NamedTuple):
    """What one network call draws: a frame of some requests.

    Args:
        which: of the requests.
        frame: from 0.
    """

    which: slice
    frame: int = 0


def numbers_of(requests: Requests, part: Part, length: int) -> Sequence[int]:
    """Numbers of the images of a part in the folder, for clips of some length."""
    indices = requests.indices[part.which]
    return indices if length == 1 else [i * length + part.frame for i in indices]


def in_batches(requests: Requests, batch_size: int) -> list[slice]:
    """The requests in batches of a size; those with equal parents, which follow each other, are never divided.

    So a batch has fewer where the next ones would not fit as a whole, and more where those of one parent are more.
    """
    count, parents = len(requests), requests.parents
    if parents is None:
        return [slice(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
    batches = []
    start = begun = 0
    for end in range(1, count + 1):
        if end == count or tuple(parents[end]) != tuple(parents[begun]):
            if begun > start and end - start > batch_size:
                batches.append(slice(start, begun))
                start = begun
            begun = end
    return [*batches, slice(start, count)] if count else []


class MissingBatches:
    """The batches of a process that still miss an image, frame after frame; ends early when a stop was asked for.

    A request always belongs to the same batch, whichever images are missing: the network sees the same batch after an
    interruption, so that not even its rounding differs.

    Args:
        written: the images that are there.
        requests: of all images, as `Drawing` has them.
        length: images of each.
        batch_size: requests of one network call.
        share: of this process.
        bar: told of what is there already.
    """

    def __init__(
        self, written: Written, requests: Requests, length: int, batch_size: int, share: Share, bar: "tqdm[Any]"
    ) -> None:
        self.written = written
        self.requests = requests
        self.length = length
        self.mine = in_batches(requests, batch_size)[share.rank :: share.world_size]
        self.bar = bar

    def __len__(self) -> int:
        """Network calls of this process; without it, Lightning would ask for one before the one before is drawn."""
        return len(self.mine) * self.length

    @property
    def largest(self) -> int:
        """Requests of the largest batch of this process."""
        return max((batch.stop - batch.start for batch in self.mine), default=0)

    @property
    def num_images(self) -> int:
        """Of this process."""
        return sum(batch.stop - batch.start for batch in self.mine) * self.length

    def __iter__(self) -> Iterator[Part]:
        """Look at the disk just before each batch; of a clip, what lies before and behind the missing frames stays."""
        for which in self.mine:
            parts = [Part(which, k) for k in range(self.length)]
            missing = [part.frame for part in parts if not self._is_there(part)]
            for part in parts:
                if stop_request.made:
                    return
                if missing and missing[0] <= part.frame <= missing[-1]:
                    yield part
                else:
                    self.bar.update(which.stop - which.start)

    def _is_there(self, part: Part) -> bool:
        return self.written.has(numbers_of(self.requests, part, self.length))
