"""DCGAN (Radford et al. 2016): the GAN of the bootstrapping paper's toy experiments, and its judge."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bootlight.batch import Batch
from bootlight.compat import not_counted
from bootlight.errors import BootlightError, check_range
from bootlight.generators.base import GeneratorModule
from bootlight.io.shape import ImageSize
from bootlight.networks.dcgan import Discriminator, Generator
from bootlight.rng import NoiseStreams


class DCGAN(GeneratorModule):
    """Generator and discriminator, trained in turn with the non-saturating loss.

    Images are drawn in eval mode: batch norm uses its running statistics, so that an image does not depend on its batch.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config. Halved once or
            more, the edge must have 4 to 7 pixels; or the smaller one, the other being halved as often.
        channels: 1 or more; taken from the data section of a config.
        latent_dim: length of a latent vector.
        width: channels of the stage next to the image, in both networks.
        learning_rate: of both Adams.
        beta1: of both Adams; 0.5 keeps the two networks from oscillating.
        ema_decay: of an average of the generator to draw from; None = none, as published.
    """

    def __init__(
        self,
        image_size: ImageSize,
        channels: int = 3,
        latent_dim: int = 100,
        width: int = 64,
        learning_rate: float = 2e-4,
        beta1: float = 0.5,
        ema_decay: float | None = None,
    ) -> None:
        super().__init__(image_size, channels)
        check_range("model.latent_dim", latent_dim, 1)
        check_range("model.learning_rate", learning_rate, 0)
        if not 0 <= beta1 < 1:
            raise BootlightError(f"model.beta1 is {beta1}; it must be at least 0 and below 1")
        self.automatic_optimization = False
        self.latent_dim = latent_dim
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.net_g = Generator(self.image_shape, latent_dim, width)
        self.net_d = Discriminator(self.image_shape, width)
        self.average(self.net_g, ema_decay)

    def draw(self, noise: NoiseStreams, labels: Tensor | None) -> Tensor:
        """See `GeneratorModule.draw`."""
        images: Tensor = self.drawn(self.net_g)(noise.normal(self.latent_dim))
        return images

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the discriminator, one of the generator; `global_step` counts the pair once."""
        opt_g, opt_d = self.optimizers()  # type: ignore[attr-defined]
        not_counted(opt_d)
        fake = self.net_g(batch.normal("latent", self.latent_dim))
        logits_real, logits_fake = self.net_d(batch.images), self.net_d(fake.detach())
        # softplus(-l) = -log D, softplus(l) = -log(1 - D): the loss from logits, no saturation in float16.
        loss_d = batch.weighted(F.softplus(-logits_real)) + F.softplus(logits_fake).mean()
        opt_d.zero_grad()
        self.manual_backward(loss_d)
        opt_d.step()
        self.net_d.requires_grad_(False)  # the generator's step needs no gradients of D's weights
        loss_g = F.softplus(-self.net_d(fake)).mean()
        opt_g.zero_grad()
        self.manual_backward(loss_g)
        opt_g.step()
        self.update_average()
        self.net_d.requires_grad_(True)
        size = len(batch.images)
        self.log("train/loss", loss_g, batch_size=size, prog_bar=True)
        self.log("train/loss_d", loss_d, batch_size=size, prog_bar=True)
        self.log("train/d_real", logits_real.detach().sigmoid().mean(), batch_size=size)
        self.log("train/d_synthetic", logits_fake.detach().sigmoid().mean(), batch_size=size)

    def configure_optimizers(self) -> Any:
        """Adam for each network, the generator's first."""
        return [
            torch.optim.Adam(network.parameters(), lr=self.learning_rate, betas=(self.beta1, 0.999), fused=True)
            for network in (self.net_g, self.net_d)
        ]
