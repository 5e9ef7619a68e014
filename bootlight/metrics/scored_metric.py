"""A torchmetrics metric that says how sure it is: one number to be logged, and scores with all that belongs to them."""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import _IncompatibleKeys
from torchmetrics import Metric

from bootlight.errors import BootlightError
from bootlight.metrics.score import Score


class ScoredMetric(Metric):
    """A metric whose `compute` answers with one number, as torchmetrics and Lightning want it, and whose `scores` say the rest.

    The number is the value of the score called `name`. Both are of all images so far, and where several processes measure of
    those of all of them; asked one after the other they are computed once.

    Args:
        settings: of `torchmetrics.Metric`, such as `sync_on_compute`: whether `compute` waits for all processes.
    """

    full_state_update = False
    is_differentiable = False
    name: str

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._answer: dict[str, Score] = {}
        self.register_load_state_dict_post_hook(_forget_answer)  # type: ignore[no-untyped-call]

    @abstractmethod
    def _measured(self) -> dict[str, Score]:
        """Scores by name, of the states as they are."""

    def compute(self) -> Tensor:
        """The value of the score `name`, a float64 scalar (float32 on Apple's GPUs, which have no other).

        Raises:
            BootlightError: it has none, for instance of too few images.
        """
        self._answer = self._measured()
        return self._number(self._main(self._answer).value)

    def scores(self) -> dict[str, Score]:
        """All scores by name, `name` among them, with error, interval, protocol, direction and remarks.

        Raises:
            BootlightError: as `compute`.
        """
        self.compute()
        return dict(self._answer)

    def _main(self, found: dict[str, Score]) -> Score:
        """The score `name`.

        Raises:
            BootlightError: there is none.
        """
        if self.name not in found:
            raise BootlightError(f"{self.name} has no value of these images; {type(self).__name__} says when")
        return found[self.name]

    def _number(self, value: float = math.nan) -> Tensor:
        """A scalar on the device of the metric."""
        return torch.as_tensor(value, dtype=torch.float32 if self.device.type == "mps" else torch.float64, device=self.device)


def _forget_answer(metric: Metric, _: _IncompatibleKeys) -> None:
    """What was computed of other states than those just loaded is no answer any more."""
    metric._computed = None
