"""Exact models of views of Gaussian data, and linear networks that are fitted to the last digit."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call

from bootlight.batch import Batch
from bootlight.diffusion.denoiser import Denoiser, NetworkDenoiser
from bootlight.diffusion.exact import MixtureDenoiser
from bootlight.diffusion.prediction import X0
from bootlight.diffusion.schedules import SigmaSchedule
from bootlight.diffusion.view_sum import ViewModel, ViewSum


@dataclass
class Published:
    """What a composition sees of a published diffusion model."""

    own: Denoiser
    image_shape: tuple[int, int, int]
    num_classes: int | None = None

    @property
    def schedule(self):
        return self.own.schedule

    def denoiser(self, ema=True):
        return self.own


def gaussian(covariance, schedule=None):
    """The denoiser of vectors N(0, covariance), of whatever shape."""
    size = len(covariance)
    weights, mean = torch.ones(1, dtype=torch.float64), torch.zeros(1, size, dtype=torch.float64)
    return MixtureDenoiser(weights, mean, covariance[None].double(), schedule or SigmaSchedule())


def matrix(view, shape):
    """P (parts, numbers of an image), of a view."""
    basis = torch.eye(shape[0] * shape[1] * shape[2], dtype=torch.float64).reshape(-1, *shape)
    return view.project(basis).flatten(1).T


def composed(views, covariance, shape, schedule=None, **settings):
    """A `ViewSum` with an exact model for the parts of images N(0, covariance) of each view."""
    made = ViewSum({name: ViewModel(name, view) for name, view in views.items()}, **settings)
    models = {}
    for name, view in views.items():
        p, part = matrix(view, shape), tuple(view.project(torch.zeros(1, *shape)).shape[1:])
        models[name] = Published(gaussian(p @ covariance @ p.T, schedule), part)
    made.attach(models)
    return made


def jacobian(denoiser, shape, sigma, what="x0"):
    """The matrix of a linear denoiser at a level."""
    basis = torch.eye(shape[0] * shape[1] * shape[2], dtype=torch.float64).reshape(-1, *shape)
    estimate = denoiser(basis, torch.full((len(basis),), sigma, dtype=torch.float64))
    return getattr(estimate, what).detach().flatten(1).T


class Linear(nn.Module):
    """One matrix, from zero."""

    def __init__(self, shape):
        super().__init__()
        size = shape[0] * shape[1] * shape[2]
        self.weight = nn.Parameter(torch.zeros(size, size, dtype=torch.float64))

    def forward(self, x, time, labels=None):
        return (x.flatten(1) @ self.weight.T).reshape(x.shape)


def fitted(objective, compose, images, sigma, prediction=None, decay=0.0, seed=5):
    """The composed denoiser at the minimum of an objective over a batch, by a step of Newton, as it is quadratic."""
    shape = tuple(images.shape[1:])
    network = Linear(shape)
    denoiser = compose(NetworkDenoiser(network, prediction or X0(), SigmaSchedule()))
    batch = Batch(images, None, seed, 0, len(images), ids=torch.arange(len(images)))
    t = torch.full((len(images),), sigma, dtype=torch.float64)
    name = next(name for name, parameter in denoiser.named_parameters() if parameter is network.weight)

    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.denoiser = denoiser

        def forward(self):
            return objective(self.denoiser, batch, t)[0].mean()

    def loss(weight):
        own = functional_call(Loss(), {f"denoiser.{name}": weight.reshape(network.weight.shape)}, ())
        return own + decay * weight.square().sum() / len(network.weight)  # own is a mean over numbers

    start = torch.zeros(network.weight.numel(), dtype=torch.float64)
    curvature = torch.autograd.functional.hessian(loss, start)
    slope = torch.autograd.functional.jacobian(loss, start)
    with torch.no_grad():
        network.weight.copy_(-torch.linalg.solve(curvature, slope).reshape(network.weight.shape))
    return denoiser
