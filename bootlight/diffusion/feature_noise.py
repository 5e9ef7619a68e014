"""Noise inside of the network, on the bottleneck or on every layer of a half of it (Fu et al. 2024, "DreamDA")."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from bootlight.diffusion.denoiser import Denoiser, NetworkDenoiser
from bootlight.diffusion.perturbation import Perturbation, StepNoise
from bootlight.errors import BootlightError
from bootlight.networks.features import can_be_taken_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from bootlight.diffusion.prediction import Estimate
    from bootlight.diffusion.sampler import MarkovSampler
    from bootlight.networks.features import Features, TakenApart


class FeatureNoise(Perturbation):
    """Fresh noise on features of the network at every step.

    Asymmetric, equation 6: the clean image is estimated from perturbed features, the direction towards x_t from those as they
    are, which takes a second pass of the decoder. Symmetric, as in the published code: both from perturbed ones.

    Args:
        sigma: deviation of the noise; 0 = none. That of the paper, 3, is an absolute one of the features of Stable Diffusion.
        relative: sigma counts in deviations of what the noise is added to, over all numbers of one image's; otherwise it is
            absolute.
        asymmetric: whether only the estimate of the clean image is perturbed.
    """

    @abstractmethod
    def __init__(self, sigma: float = 1.0, relative: bool = True, asymmetric: bool = True) -> None:
        super().__init__(sigma, relative)
        self.asymmetric = asymmetric

    def fits(self, model: Any, sampler: MarkovSampler) -> None:
        """See `Perturbation`.

        Raises:
            BootlightError: the network has no bottleneck, others draw with it, or the sampler knows no direction.
        """
        who = type(self).__name__
        if self.asymmetric and not sampler.follows_direction:
            raise BootlightError(
                f"{who}: {type(sampler).__name__} does not walk along a direction of its own; take bootlight.DDIM, with eta 1 "
                "for as much noise, or set asymmetric to false"
            )
        own = [part for part in (model.compose, model.then) if part is not None]
        if own:
            raise BootlightError(
                f"{who} changes the features of one network, and the model is composed with others by "
                f"{type(own[0]).__name__}; leave compose out, or take another perturbation"
            )
        denoiser = model.own_denoiser()
        network = denoiser.network if isinstance(denoiser, NetworkDenoiser) else denoiser
        if not can_be_taken_apart(network):
            raise BootlightError(
                f"{who}: {type(network).__name__} has no encode and decode, between which features could be changed; take a "
                "network that has, such as bootlight.UNet, or another perturbation"
            )

    def inside(self, denoiser: Denoiser, noise: StepNoise) -> Denoiser:
        """See `Perturbation`."""
        assert isinstance(denoiser, NetworkDenoiser)
        return PerturbedFeatures(denoiser, self, noise)

    @abstractmethod
    def answers(
        self, network: TakenApart, encode: Callable[..., Features], change: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """What the network answers to perturbed features, and, if that is asymmetric, to those as they are.

        Args:
            network: decodes.
            encode: its encoder, with the images; takes `change` alone.
            change: adds noise to a feature map (B, ...).
        """


class PerturbedFeatures(Denoiser):
    """The estimate of a network whose features are perturbed, with the direction of one whose features are not.

    Args:
        base: whose network it is.
        perturbation: of the features.
        noise: of the images, in the order of the batch.
    """

    def __init__(self, base: NetworkDenoiser, perturbation: FeatureNoise, noise: StepNoise) -> None:
        super().__init__(base.schedule)
        self.base = base
        self._perturbation = perturbation
        self._noise = noise

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, **cond: Tensor) -> Estimate:
        """See `Denoiser`."""
        self._noise.again()
        network = cast("TakenApart", self.base.network)
        more: dict[str, Any] = cond
        encode = partial(network.encode, *self.base.inputs(x_t, t), labels, **more)
        perturbed, plain = self._perturbation.answers(network, encode, partial(self._perturbation.noisy, noise=self._noise))
        estimate = self._read(perturbed, x_t, t)
        return estimate if plain is None else replace(estimate, direction=self._read(plain, x_t, t).epsilon)

    def _read(self, answer: Tensor, x_t: Tensor, t: Tensor) -> Estimate:
        return self.base.read(answer.to(torch.promote_types(answer.dtype, torch.float32)), x_t, t)


class BottleneckNoise(FeatureNoise):
    """Noise on the bottleneck, what leaves the middle of the network: one pass of the encoder, two of the decoder.

    Args:
        sigma: deviation of the noise; 0 = none. That of the paper, 3, is an absolute one of the features of Stable Diffusion.
        relative: sigma counts in deviations of the bottleneck, over all numbers of one image's; otherwise it is absolute.
        asymmetric: only the estimate of the clean image is perturbed (equation 6), and not the direction towards x_t.
    """

    identity: Mapping[str, Any] | None = {"sigma": 0.0}

    def __init__(self, sigma: float = 1.0, relative: bool = True, asymmetric: bool = True) -> None:
        super().__init__(sigma, relative, asymmetric)

    @property
    def calls(self) -> float:
        """See `Perturbation`; a decoder is a larger part of a U-Net than its encoder."""
        return 1.6 if self.asymmetric else 1.0

    def answers(
        self, network: TakenApart, encode: Callable[..., Features], change: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """See `FeatureNoise`."""
        features = encode()
        perturbed = network.decode(features._replace(bottleneck=change(features.bottleneck)))
        return perturbed, network.decode(features) if self.asymmetric else None


class DecoderNoise(FeatureNoise):
    """Noise on the feature map of every layer of the decoder.

    Args:
        sigma: deviation of the noise; 0 = none.
        relative: sigma counts in deviations of each feature map, over all numbers of one image's; otherwise it is absolute.
        asymmetric: only the estimate of the clean image is perturbed (equation 6), and not the direction towards x_t.
    """

    identity: Mapping[str, Any] | None = {"sigma": 0.0}

    def __init__(self, sigma: float = 0.3, relative: bool = True, asymmetric: bool = True) -> None:
        super().__init__(sigma, relative, asymmetric)

    @property
    def calls(self) -> float:
        """See `Perturbation`."""
        return 1.6 if self.asymmetric else 1.0

    def answers(
        self, network: TakenApart, encode: Callable[..., Features], change: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """See `FeatureNoise`."""
        features = encode()
        perturbed = network.decode(features, change=change)
        return perturbed, network.decode(features) if self.asymmetric else None


class EncoderNoise(FeatureNoise):
    """Noise on the feature map of every layer of the encoder; asymmetric, it takes two passes of the whole network.

    Args:
        sigma: deviation of the noise; 0 = none.
        relative: sigma counts in deviations of each feature map, over all numbers of one image's; otherwise it is absolute.
        asymmetric: only the estimate of the clean image is perturbed (equation 6), and not the direction towards x_t.
    """

    identity: Mapping[str, Any] | None = {"sigma": 0.0}

    def __init__(self, sigma: float = 0.3, relative: bool = True, asymmetric: bool = True) -> None:
        super().__init__(sigma, relative, asymmetric)

    @property
    def calls(self) -> float:
        """See `Perturbation`."""
        return 2.0 if self.asymmetric else 1.0

    def answers(
        self, network: TakenApart, encode: Callable[..., Features], change: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """See `FeatureNoise`."""
        perturbed = network.decode(encode(change=change))
        return perturbed, network.decode(encode()) if self.asymmetric else None
