"""Pictures to latents and back, by an autoencoder that was trained before (Rombach et al. 2022)."""

from typing import Any

from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.io.shape import Shape, as_size
from bootlight.networks.peer import built, peer

KEY = "model.autoencoder.settings"


class Autoencoder(nn.Module):
    """`diffusers.AutoencoderKL`, frozen and always in eval mode; needs that package.

    Latents are the mean of the encoder's Gaussian, not a draw from it, less `shift_factor` and times `scaling_factor`.

    Args:
        shape: (C, H, W) of the images, in [-1, 1]; height and width must be divisible by 2 for each of its blocks but the last.
        settings: of `AutoencoderKL`, as in a folder's `vae/config.json`; channels are filled in.

    Raises:
        BootlightError: diffusers is missing, or its model cannot be made with these settings and images.
    """

    def __init__(self, shape: Shape, settings: dict[str, Any] | None = None) -> None:
        super().__init__()
        channels, height, width = shape
        given = {name: value for name, value in (settings or {}).items() if not name.startswith("_")}
        known = {"in_channels": channels, "out_channels": channels}
        if wrong := [name for name, value in known.items() if given.get(name, value) != value]:
            raise BootlightError(f"{KEY}: {wrong[0]} is {given[wrong[0]]}, and the images have {channels} channels")
        self.vae = built(peer("diffusers", "AutoencoderKL"), given | known, KEY).eval()
        config = self.vae.config
        halved = 2 ** (len(config.block_out_channels) - 1)
        if height % halved or width % halved:
            raise BootlightError(f"data.image_size is {as_size(height, width)}; model.autoencoder needs a multiple of {halved}")
        self.latent_shape: Shape = (config.latent_channels, height // halved, width // halved)
        self.shift, self.scale = config.shift_factor or 0.0, config.scaling_factor

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to latents (B, *latent_shape)."""
        mean: Tensor = self.vae.encode(images).latent_dist.mode()
        return (mean - self.shift) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, *latent_shape) to images (B, C, H, W)."""
        images: Tensor = self.vae.decode(latents / self.scale + self.shift).sample
        return images

    def train(self, mode: bool = True) -> "Autoencoder":
        """Stay in eval mode: nothing is learned here."""
        return super().train(False)
