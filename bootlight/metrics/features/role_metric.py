"""What metrics on features share: images in their roles, looked at once; kept, synchronized and forgotten."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from bootlight.metrics.features.frozen import Frozen
from bootlight.metrics.features.looking import look
from bootlight.metrics.scored_metric import ScoredMetric

SYNTHETIC = "synthetic"


class RoleMetric(ScoredMetric):
    """A metric of the features of synthetic images and of references, one state for each role, (N, D) on their device.

    Lists of features are replaced, never changed: other metrics of a compute group may hold the one from before.

    Args:
        features: see `FeatureMetric`.
        reset_real_features: likewise.
        settings: likewise.
    """

    references: ClassVar[tuple[str, ...]]
    output = "features"  # which of the network's answers; others than "features" come from its method `outputs`
    synthetic_features: list[Tensor]

    def __init__(self, *, features: nn.Module, reset_real_features: bool = False, **settings: Any) -> None:
        super().__init__(**{"dist_sync_fn": gather_rows, **settings})
        self.reset_real_features = reset_real_features
        self._features = Frozen(features)
        for role in (*self.references, SYNTHETIC):
            self.add_state(f"{role}_features", [], dist_reduce_fx="cat")
        # A compute group has the states of its first metric: those that do otherwise at `reset` must not look alike.
        self.add_state("forgets_reference", torch.tensor(int(reset_real_features)), dist_reduce_fx="max")

    def _features_of(self, role: str) -> Tensor:
        """Features of all updates, and after synchronization of all processes, (N, D)."""
        state: list[Tensor] | Tensor = getattr(self, f"{role}_features")
        return dim_zero_cat(state) if len(state) else torch.empty(0, 0)

    def _add(self, images: Tensor, role: str) -> None:
        """See `update`."""
        features = look(self._features, images)[self.output]
        setattr(self, f"{role}_features", [*getattr(self, f"{role}_features"), features])

    def _answer_for(self, role: str) -> Tensor:
        """After an update: the value of these images alone against the references so far; NaN for images of a reference.

        Of all processes where `dist_sync_on_step`.
        """
        everything, value = self.synthetic_features, self._number()
        if role == SYNTHETIC:
            try:
                self.synthetic_features = everything[-1:]
                with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.dist_sync_on_step):
                    value = self._number(self._main(self._measured()).value)
            finally:
                self.synthetic_features = everything
        self._forward_cache = value  # type: ignore[assignment]  # what Lightning logs for the step
        return value

    def reset(self) -> None:
        """Forget the synthetic images; references stay unless `reset_real_features`."""
        if self._is_synced:
            self.unsync()  # references are those of this process alone
        kept = {f"{role}_features": getattr(self, f"{role}_features") for role in self.references}
        for name in (*kept, "synthetic_features"):
            setattr(self, name, [])  # torchmetrics would empty those of the compute group too
        super().reset()
        if not self.reset_real_features:
            for name, features in kept.items():
                setattr(self, name, features)


def gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """Rows of all processes, (N, D) each; also where one has none, and so does not know how many columns there are."""
    if rows.ndim == 0:
        return gather_all_tensors(rows, group)
    width = torch.tensor(rows.shape[1] if rows.ndim == 2 else 0, device=rows.device)
    return gather_all_tensors(rows.reshape(len(rows), int(max(gather_all_tensors(width, group)))), group)
