"""Diffusion without a network: the exact denoiser of what was fitted to the images, for loops with closed forms."""

from typing import Any

import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.diffusion.compose import Composition
from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.exact import GaussianDenoiser, MixtureDenoiser
from bootlight.diffusion.sampler import Sampler
from bootlight.diffusion.schedule import Schedule
from bootlight.errors import BootlightError, check_range
from bootlight.generators.denoising import DenoisingModule
from bootlight.generators.gaussian import PixelSums
from bootlight.rng import derive_seed

SEEN = "images seen"  # in a checkpoint


class FittedGaussian(PixelSums, DenoisingModule):
    """A mean and a variance for each pixel, drawn from by a sampler: what a perfect network would learn of such images.

    One pass (`data.num_epochs: 1`, a training set that is a multiple of the batch) is all that it takes.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config.
        channels: 1 or more; taken from the data section of a config.
        learned_variance: know Var[x0 | x_t] too, as a network with a learned variance would; else the sampler's fixed one.
        schedule: noise levels; cosine with 1000 timesteps if left out.
        sampler: how images are drawn; ancestral with every timestep if left out.
        compose: what the denoiser is composed with in drawing; nothing if left out.
    """

    def __init__(
        self,
        image_size: int | list[int],
        channels: int = 3,
        learned_variance: bool = True,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        compose: Composition | None = None,
    ) -> None:
        super().__init__(image_size, channels, schedule=schedule, sampler=sampler, compose=compose)
        self.learned_variance = learned_variance

    def own_denoiser(self, ema: bool = True) -> Denoiser:
        """Of the fit; there is no average."""
        return GaussianDenoiser(*self.fitted(), self.schedule, self.learned_variance)


class FittedMixture(DenoisingModule):
    """A mixture of Gaussians with full covariances by expectation maximization, drawn from by a sampler; for points.

    One pass collects the images, the fit is made at its end.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config.
        channels: 1 or more; taken from the data section of a config.
        num_components: Gaussians.
        regularization: added to each variance, so that none is 0.
        learned_variance: know Var[x0 | x_t] of each number too; else the sampler's fixed one.
        schedule: noise levels; cosine with 1000 timesteps if left out.
        sampler: how images are drawn; ancestral with every timestep if left out.
        compose: what the denoiser is composed with in drawing; nothing if left out.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __init__(
        self,
        image_size: int | list[int],
        channels: int = 3,
        num_components: int = 8,
        regularization: float = 1e-6,
        learned_variance: bool = True,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        compose: Composition | None = None,
    ) -> None:
        super().__init__(image_size, channels, schedule=schedule, sampler=sampler, compose=compose)
        self.learned_variance = learned_variance
        check_range("model.num_components", num_components, 1)
        check_range("model.regularization", regularization, 0)
        self.automatic_optimization = False
        self.regularization = regularization
        count, size = num_components, self.image_shape[0] * self.image_shape[1] * self.image_shape[2]
        for name, shape in (("weights", (count,)), ("means", (count, size)), ("covariances", (count, size, size))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self._seen: list[Tensor] = []
        self._seed = 0  # of the step that begins a pass

    def setup(self, stage: str) -> None:
        """Refuse several processes: each would fit its own images.

        Raises:
            BootlightError: there are several.
        """
        if self.trainer.world_size > 1:
            raise BootlightError("FittedMixture trains in one process; set trainer.devices and trainer.num_nodes to 1")

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the images of a batch; the loss is the mean square.

        Raises:
            BootlightError: images have weights, which the fit does not know.
        """
        if batch.weights is not None:
            raise BootlightError("FittedMixture cannot weigh images; take FittedGaussian, or leave the weights out")
        self._seed = self._seed if self._seen else batch.seed
        self._seen.append(batch.images.flatten(1).double().cpu())
        self.log("train/loss", self._seen[-1].square().mean())

    def on_train_epoch_end(self) -> None:
        """Fit; a trial of a few steps, which sees too few images, has as many fewer Gaussians, the others of weight 0.

        Raises:
            BootlightError: there are fewer images than Gaussians.
        """
        from sklearn.mixture import GaussianMixture  # 0.5 s to import

        images = torch.cat(self._seen)
        self._seen = []
        sources: Any = getattr(getattr(self.trainer, "datamodule", None), "sources", None)  # all images of the training set
        on_trial = sources is not None and self.trainer.checkpoint_callback is None
        wanted, total = len(self.weights), sum(len(source) for source in sources) if on_trial else len(images)
        if total < wanted:
            raise BootlightError(f"model.num_components is {wanted}, but there are only {total} images; lower it")
        count = min(wanted, max(1, len(images) // 10)) if len(images) < wanted else wanted
        fit = GaussianMixture(
            count, reg_covar=self.regularization, random_state=derive_seed("mixture", self._seed) % 2**32
        ).fit(images.numpy())
        for name, values in (("weights", fit.weights_), ("means", fit.means_), ("covariances", fit.covariances_)):
            getattr(self, name).zero_()[:count] = torch.from_numpy(values)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was seen of the pass."""
        checkpoint[SEEN] = {"images": list(self._seen), "seed": self._seed}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        seen = checkpoint.get(SEEN, {"images": [], "seed": 0})
        self._seen, self._seed = list(seen["images"]), seen["seed"]

    def configure_optimizers(self) -> Any:
        """None is needed."""
        return None

    def own_denoiser(self, ema: bool = True) -> Denoiser:
        """Of the fit; there is no average."""
        return MixtureDenoiser(self.weights, self.means, self.covariances, self.schedule, self.learned_variance)
