"""Batches one after the other, from any place on; how many of them are an optimizer step."""

import signal
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.utils.data import DataLoader, Sampler

from bootlight.batch import Batch
from bootlight.data.batches import StepDataset
from bootlight.errors import BootlightError
from bootlight.rng import seed_everywhere
from bootlight.runs.timing import clock


def accumulated(trainer: Trainer) -> int:
    """Batches of an optimizer step of a trainer.

    Raises:
        BootlightError: it changes in the course of the training; a generation is one epoch.
    """
    if any(isinstance(callback, GradientAccumulationScheduler) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise BootlightError(
            "trainer.callbacks: GradientAccumulationScheduler changes between epochs, and a generation is one: set "
            "trainer.accumulate_grad_batches instead"
        )
    return trainer.accumulate_grad_batches


class Place(NamedTuple):
    """What a trainer decides of the batches that a process reads."""

    rank: int = 0
    world_size: int = 1
    accumulate: int = 1
    on_gpu: bool = False

    @classmethod
    def of(cls, trainer: Trainer) -> "Place":
        """Of this process of a trainer."""
        on_gpu = trainer.strategy.root_device.type == "cuda"
        return cls(trainer.global_rank, trainer.world_size, accumulated(trainer), on_gpu)


def _seed_worker(seed: int, worker: int) -> None:
    """Nothing here draws from global generators; for what a subclass of a dataset may do. Ctrl-C is for the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    seed_everywhere(seed, "worker", worker)


class StepSampler(Sampler[int]):
    """The steps from `start` on."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.num_steps))

    def __len__(self) -> int:
        return self.num_steps


class StepLoader(DataLoader[Batch]):
    """A loader that knows how many batches it has handed out, so that a checkpoint can continue in the middle.

    Args:
        dataset: one item for each step.
        num_workers: processes that read ahead; whole batches come from a memory map, so 0 is fast enough for small images.
        pin_memory: for copies to a GPU.
    """

    def __init__(self, dataset: StepDataset, num_workers: int = 0, pin_memory: bool = False) -> None:
        self.steps = StepSampler(len(dataset))
        self.accumulate = dataset.accumulate
        self.handed_out = 0
        seed_worker = partial(_seed_worker, dataset.seed)
        super().__init__(
            dataset,
            batch_size=None,
            sampler=self.steps,
            num_workers=num_workers,
            pin_memory=pin_memory,
            worker_init_fn=seed_worker,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self.handed_out = self.steps.start
        batches = super().__iter__()
        while True:
            with clock.part("data"):
                batch = next(batches, None)
            if batch is None:
                break
            self.handed_out += 1
            yield batch
        self.steps.start = 0

    def state_dict(self) -> dict[str, Any]:
        """The number of batches handed out."""
        return {"batches": self.handed_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after that many; a state saved at the very end starts anew, or Lightning would skip a whole epoch.

        Raises:
            BootlightError: it was saved within an optimizer step, whose gradient so far is in no checkpoint.
        """
        if int(state["batches"]) % self.accumulate:
            raise BootlightError(
                f"the checkpoint was saved after {state['batches']} batches, within an optimizer step of {self.accumulate} "
                "(trainer.accumulate_grad_batches), and has no gradient of those before; continue from one that was saved "
                "between two steps"
            )
        self.steps.start = self.handed_out = int(state["batches"]) % len(self.steps)
