"""A denoiser assembled of denoisers of parts, and a network for what the parts do not know of each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bootlight.diffusion.compose import Composition, HasDenoiser, check_weight, same_levels
from bootlight.diffusion.corruption import View
from bootlight.diffusion.coverage import Coverage
from bootlight.diffusion.denoiser import Denoiser, NetworkDenoiser
from bootlight.diffusion.grid import Level
from bootlight.diffusion.prediction import Estimate, LearnedVariance
from bootlight.diffusion.settings import settings_of
from bootlight.diffusion.view_checks import Shape, check_together, check_view
from bootlight.errors import BootlightError


@dataclass
class ViewModel:
    """A view, and the published network that was trained on its parts.

    Args:
        part: reference to it, such as `view_low`, `@0/view_low` or `runs/x@0/view_low`.
        view: of the images.
    """

    part: str
    view: View


@dataclass
class Seen:
    """A view with the denoiser of its parts.

    Args:
        view: of the images.
        denoiser: frozen.
        knows_labels: whether it is asked with those of the images.
    """

    view: View
    denoiser: Denoiser
    knows_labels: bool = False


class SumOfViews(Denoiser):
    """Each view's estimate from its part of x_t, at the same level, averaged where views overlap; a prior elsewhere.

    Args:
        base: own denoiser, whose answer is added; of a network the answer itself, in the units of its prediction, of another
            denoiser what its estimate differs from the prior's.
        views: by name.
        prior_variance: of the normal prior, with mean 0, of directions that no view has.
        residual: False = nothing is added.
    """

    def __init__(self, base: Denoiser, views: Mapping[str, Seen], prior_variance: float = 1.0, residual: bool = True) -> None:
        super().__init__(base.schedule)
        self.base = base
        self.seen = dict(views)
        self.denoisers = nn.ModuleDict({name: seen.denoiser for name, seen in views.items()})
        self.prior_variance = prior_variance
        self.residual = residual
        self._coverage = Coverage([seen.view for seen in views.values()])

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """See `Denoiser`."""
        found = self.of_views(x_t, t, labels)
        if not self.residual:
            return found
        level = self.schedule.level(t)
        if isinstance(self.base, NetworkDenoiser):
            return self.added(found, self.base.output(x_t, t, labels, **cond), x_t, level)
        own, prior = self.base(x_t, t, labels, **cond), self._prior(x_t, level)
        return Estimate(found.x0 + own.x0 - prior.x0, found.epsilon + own.epsilon - prior.epsilon)

    def of_views(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Estimate:
        """What the views know of (B, C, H, W), without anything added."""
        level = self.schedule.level(t)
        x0, epsilon = torch.zeros_like(x_t), torch.zeros_like(x_t)
        for seen in self.seen.values():
            part = seen.view.completed(seen.view.project(x_t), level.noise)
            estimate: Estimate = seen.denoiser(part, t, labels if seen.knows_labels else None)
            x0, epsilon = x0 + seen.view.adjoint(estimate.x0), epsilon + seen.view.adjoint(estimate.epsilon)
        unseen = self._prior(x_t - self._coverage.covered(x_t), level)
        return Estimate(self._coverage.averaged(x0) + unseen.x0, self._coverage.averaged(epsilon) + unseen.epsilon)

    def added(self, found: Estimate, answer: Tensor, x_t: Tensor, level: Level) -> Estimate:
        """An estimate, and the answer of the own network: that of x_t = 0 is what an answer alone adds."""
        assert isinstance(self.base, NetworkDenoiser)
        x0 = self.base.prediction.x0(answer, torch.zeros_like(x_t), level)
        return Estimate(found.x0 + x0, found.epsilon - level.signal / level.noise * x0)

    def _prior(self, x_t: Tensor, level: Level) -> Estimate:
        """Of numbers N(0, prior_variance)."""
        standard = x_t / (level.signal**2 * self.prior_variance + level.noise**2)
        return Estimate(level.signal * self.prior_variance * standard, level.noise * standard)


class ViewSum(Composition):
    """What models of parts know, and a residual that the own network learns, whose last layer should start at zero.

    Inspired by Ma 2025, "Bootstrapping Diffusion: Diffusion Model Training Leveraging Partial and Corrupted Data", which has
    neither code nor figures.

    Args:
        views: by names of one's choice; without any, nothing changes.
        prior_variance: of a normal prior, in directions that no view has.
        residual: add the own network's answer; False = the views alone.

    Raises:
        BootlightError: a variance that is not above 0.
    """

    identity: Mapping[str, Any] | None = {"views": {}}

    def __init__(self, views: dict[str, ViewModel], prior_variance: float = 1.0, residual: bool = True) -> None:
        check_weight("ViewSum prior_variance", prior_variance, least=0.0)
        self.views = views
        self.prior_variance = prior_variance
        self.residual = residual
        self.references = {name: model.part for name, model in views.items()}
        self._parts: Mapping[str, Any] = {}

    def attach(self, parts: Mapping[str, Any]) -> None:
        """See `Composition`."""
        self._parts = {name: parts[name] for name in self.references if name in parts}

    def fits(self, model: Any) -> None:
        """See `Composition`: each view has orthonormal rows, and its model draws such parts over the same noise levels."""
        check_names(self.views)
        shape = tuple(model.image_shape)
        if self.views and tuple(getattr(model, "latent_shape", shape)) != shape:
            raise BootlightError("ViewSum: views of images are not those of latents; take a model without model.autoencoder")
        for name, view in self.views.items():
            who = f"ViewSum: the view {name}"
            part = check_view(view.view, (shape[0], shape[1], shape[2]), who)
            if name in self._parts:  # one of a generation before the first is not
                check_model(self._parts[name], model, part, f"{who}: its model, {view.part},")
        check_together({name: view.view for name, view in self.views.items()}, (shape[0], shape[1], shape[2]))
        if self.views and self.residual and isinstance(getattr(model, "prediction", None), LearnedVariance):
            raise BootlightError("ViewSum: views know no variance of a step; set model.learned_variance to false")

    def protocol(self) -> dict[str, Any]:
        """See `Composition`."""
        views = {
            name: {"part": model.part, "view": type(model.view).__name__, **settings_of(model.view)}
            for name, model in self.views.items()
        }
        about = {"views": views, "prior_variance": self.prior_variance, "residual": self.residual}
        return {"class": type(self).__name__, **about}

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """See `Composition`."""
        if not self.views:
            return denoiser
        if missing := self.references.keys() - self._parts.keys():
            raise ValueError(f"models were not attached: {', '.join(sorted(missing))}")
        views = {
            name: Seen(model.view, self._parts[name].denoiser(), getattr(self._parts[name], "num_classes", None) is not None)
            for name, model in self.views.items()
        }
        return SumOfViews(denoiser, views, self.prior_variance, self.residual)


def check_names(views: Mapping[str, ViewModel]) -> None:
    """See whether each view stands there once.

    Raises:
        BootlightError: names one that stands there twice, or a name that is none.
    """
    known = [(model.part, type(model.view), settings_of(model.view)) for model in views.values()]
    for i, (name, model) in enumerate(zip(views, known, strict=True)):
        if not name.isidentifier():
            raise BootlightError(f"ViewSum views: {name!r} is no name of a view: use letters, digits and _")
        if model in known[:i]:
            raise BootlightError(f"ViewSum views: {list(views)[known.index(model)]} and {name} are one view; leave one out")


def check_model(part: HasDenoiser, model: Any, shape: Shape, who: str) -> None:
    """See whether the model of a view can be asked about its parts of a model's images.

    Raises:
        BootlightError: it is of other images, levels or classes.
    """
    found = tuple(getattr(part, "image_shape", shape))
    if found != shape:
        raise BootlightError(
            f"{who} is of images {found}, and a part is {shape}; train it on such parts (data.view), or correct it"
        )
    own, other = getattr(model, "schedule", None), getattr(part, "schedule", None)
    if own is not None and other is not None and not same_levels(own, other):
        raise BootlightError(
            f"{who} was trained on other noise levels ({type(other).__name__}) than the model that it is composed with "
            f"({type(own).__name__}); give both the same schedule"
        )
    classes = getattr(part, "num_classes", None)
    if classes not in (None, getattr(model, "num_classes", None)):
        raise BootlightError(f"{who} has {classes} classes, other ones than the model that it is composed with; give it none")
