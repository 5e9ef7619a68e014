"""Drawing a few images that nobody keeps, shared between the processes of a run."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from bootlight.distributed.processes import gather, rank
from bootlight.distributed.stopping import Stopped, check_stop, leave_if_asked
from bootlight.errors import BootlightError
from bootlight.io.pictures import to_arrays
from bootlight.synthesis.batches import Part, in_batches
from bootlight.synthesis.written import as_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bootlight.synthesis.drawing import Drawing


def draw_in_memory(drawing: Drawing, batch_size: int, world_size: int, description: str) -> NDArray[Any]:
    """All images of a drawing (n, H, W, C), as they would come back from the disk, on every rank.

    They are drawn in the same batches by any number of processes.

    Args:
        drawing: generator, on its device, and requests.
        batch_size: requests of one network call.
        world_size: number of processes; all call this at the same point.
        description: of the progress bar.

    Raises:
        BootlightError: the network diverged, on some process.
        SystemExit: a stop was asked for.
    """
    generator, length = drawing.generator, drawing.synthesizer.length
    convert = to_arrays if generator.image_dtype == "uint8" else as_numbers
    mine = in_batches(drawing.requests, batch_size)[rank() :: world_size]
    found: list[tuple[list[int], NDArray[Any]]] = []
    failed = ""
    with torch.no_grad(), generator.drawing_mode(), suppress(Stopped):
        try:
            for which in tqdm(mine, desc=description, unit="batch", disable=rank() > 0, leave=False):
                check_stop()
                for frame in range(length):
                    part = Part(which, frame)
                    found.append((list(drawing.numbers(part)), convert(drawing.predict_step(part))))
        except BootlightError as error:  # the others must not wait for this process
            failed = str(error)
    answers = gather((found, failed))
    leave_if_asked()
    if why := next((why for _, why in answers if why), ""):
        raise BootlightError(why)
    every = [pair for own, _ in answers for pair in own]
    images = np.concatenate([arrays for _, arrays in every])
    return images[np.argsort(np.concatenate([numbers for numbers, _ in every]), kind="stable")]
