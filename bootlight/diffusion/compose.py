"""Denoisers made of denoisers: what a model is composed with, by class path, for training and drawing or for drawing alone."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from bootlight.diffusion.denoiser import Denoiser, mixed
from bootlight.diffusion.prediction import Estimate
from bootlight.diffusion.schedule import Schedule
from bootlight.diffusion.settings import settings_of
from bootlight.errors import BootlightError


class HasDenoiser(Protocol):
    """A published diffusion model."""

    def denoiser(self, ema: bool = True) -> Denoiser:
        """Its denoiser, by the average."""


class Composition(ABC):
    """Makes another denoiser of a model's own.

    Attributes:
        references: published networks that it needs, by a name of its choice.
        identity: attributes, with their values, by which it changes nothing; None = there are none.
    """

    references: Mapping[str, str] = {}
    identity: Mapping[str, Any] | None = None

    def attach(self, parts: Mapping[str, Any]) -> None:  # noqa: B027  (most need nothing)
        """Take the models that `references` names, by the same names; called after the constructor, before the first use."""

    def fits(self, model: Any) -> None:  # noqa: B027  (most fit all)
        """Refuse a model that cannot be composed with what is attached; called before any training, and again with it trained.

        Args:
            model: whose denoiser will be composed.

        Raises:
            BootlightError: it cannot.
        """

    def protocol(self) -> dict[str, Any]:
        """What a reader must know of it; its settings, see `settings_of`, unless said otherwise."""
        settings = {name: value for name, value in settings_of(self).items() if name != "references"}
        return {"class": type(self).__name__, **settings, **self.references}

    @abstractmethod
    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """The composed denoiser; it keeps its parts as named attributes, so that an objective reaches the one it trains."""


class Alone(Composition):
    """The model's own denoiser as it is."""

    identity: Mapping[str, Any] | None = {}

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """See `Composition`."""
        return denoiser


class Extrapolated(Denoiser):
    """base + w * (base - auxiliary), in x0 as in epsilon; the variance is the base's.

    Args:
        base: denoiser.
        auxiliary: denoiser to move away from.
        w: how far; 0 is the base, -1 the auxiliary.
    """

    def __init__(self, base: Denoiser, auxiliary: Denoiser, w: float) -> None:
        super().__init__(base.schedule)
        self.base = base
        self.auxiliary = auxiliary
        self.w = w

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """See `Denoiser`."""
        base: Estimate = self.base(x_t, t, labels, **cond)
        if self.w == 0:
            return base
        return mixed(self.auxiliary(x_t, t, labels, **cond), base, 1 + self.w, variance=base)


class Extrapolate(Composition):
    """Away from a worse model (Karras et al. 2024, "autoguidance"; Alemohammad et al. 2024, SIMS).

    Args:
        auxiliary: reference to the worse model, such as `auxiliary`, `@-1/model` or `runs/x@0/model`.
        w: how far, any finite number; 0 changes nothing.
    """

    identity: Mapping[str, Any] | None = {"w": 0.0}

    def __init__(self, auxiliary: str, w: float) -> None:
        check_weight("Extrapolate w", w)
        self.references = {"auxiliary": auxiliary}
        self.w = w
        self._auxiliary: HasDenoiser | None = None

    def attach(self, parts: Mapping[str, Any]) -> None:
        """See `Composition`."""
        self._auxiliary = parts["auxiliary"]

    def fits(self, model: Any) -> None:
        """See `Composition`: both draw images of one shape and the same classes, over the same noise levels."""
        for what, name in (("images", "image_shape"), ("classes", "num_classes")):
            own, other = getattr(model, name, None), getattr(self._auxiliary, name, None)
            if own != other:
                raise BootlightError(
                    f"Extrapolate: {self.references['auxiliary']} has {what} {other}, and the model that it is composed with "
                    f"{own}; train it with the same {name}"
                )
        own, other = getattr(model, "schedule", None), getattr(self._auxiliary, "schedule", None)
        if own is not None and other is not None and not same_levels(own, other):
            raise BootlightError(
                f"Extrapolate: {self.references['auxiliary']} was trained on other noise levels ({type(other).__name__}) than "
                f"the model that it is composed with ({type(own).__name__}); give both the same schedule"
            )

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """See `Composition`."""
        if self._auxiliary is None:
            raise ValueError(f"the model {self.references['auxiliary']} was not attached")
        return Extrapolated(denoiser, self._auxiliary.denoiser(), self.w)


def same_levels(one: Schedule, other: Schedule) -> bool:
    """Whether a time is the same noise level in both."""
    if one.num_timesteps != other.num_timesteps:
        return False
    total = one.num_timesteps
    t = torch.tensor([0.05, 0.5, 5.0]) if total is None else torch.linspace(0, total - 1, 5)  # of sigma, or of a table
    pairs = zip(one.level(t), other.level(t), strict=True)
    return all(torch.allclose(torch.as_tensor(own), torch.as_tensor(its)) for own, its in pairs)


def check_weight(what: str, w: float, least: float = -math.inf) -> None:
    """Refuse how far to go where nobody can go.

    Raises:
        BootlightError: it is no finite number, or not above `least`.
    """
    if isinstance(w, bool) or not isinstance(w, int | float) or not math.isfinite(w) or w <= least:
        raise BootlightError(f"{what} is {w}; give a finite number" + (f" above {least:g}" if math.isfinite(least) else ""))
