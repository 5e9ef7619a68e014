"""The discriminator score with all that it takes to believe it: several judges, real images, and a second GAN (section 5.3)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from lightning.pytorch import Trainer
from scipy.stats import t as student
from torch import Tensor, nn

from bootlight.data.datamodule import BootstrapData
from bootlight.data.origin import StoreOrigin
from bootlight.data.store import store_from_arrays
from bootlight.distributed.stopping import stop_request
from bootlight.errors import BootlightError
from bootlight.evaluation.networks.judge import trained_gan
from bootlight.evaluation.networks.trained_networks import load_network, reference_key, save_network
from bootlight.evaluation.sets.sources import ImageSource, StoreSource
from bootlight.generators.dcgan import DCGAN
from bootlight.io.cache_folder import tell_not_kept
from bootlight.io.pictures import to_arrays
from bootlight.io.quiet import quiet
from bootlight.metrics.discriminator import DiscriminatorScore, JudgeLogits
from bootlight.metrics.score import SHARE, Score
from bootlight.metrics.uncertainty import PLUS_FOUR, bounded_interval, bounded_mean
from bootlight.runs.shared_cache import shared
from bootlight.training.progress import GenerationProgressBar
from bootlight.training.stop import StopBetweenSteps

SECOND_GAN = "second-gan"
DRAW = 100  # images of one call of a generator


def train_gans(
    real: StoreSource, *, count: int, num_steps: int, device: str, cache: Path, width: int = 64, batch_size: int = 64
) -> list[DCGAN]:
    """DCGANs that differ in nothing but their seed, trained on the same images, or read from the cache.

    Args:
        real: the images.
        count: how many.
        num_steps: training steps of each.
        device: such as cpu or cuda.
        cache: folder; weights are kept there as `shared_cache.shared` does.
        width: channels of the stage next to the image.
        batch_size: images of one step.
    """
    quiet()
    data = BootstrapData(origin=StoreOrigin(real.store), num_steps=1, holdout_fraction=0, cache=str(cache))
    data.setup()
    gans = []
    for seed in range(count):
        settings = {"steps": num_steps, "width": width, "batch": batch_size, "seed": seed}
        gan = DCGAN(data.image_shape[1], data.channels, width=width)
        with TemporaryDirectory() as folder:
            file = Path(folder) / f"gan-{reference_key(data, **settings)}.safetensors"
            with shared(file, cache / "judges", {"device": torch.device(device).type}) as found:
                if not found:
                    bar = GenerationProgressBar()
                    bar.label = f"judge {seed + 1} of {count} · training"
                    own = _trainer(device, bar)
                    with stop_request.listening():  # as the trainer does; afterwards a signal ends the program again
                        gan = trained_gan(data, num_steps=num_steps, width=width, batch_size=batch_size, seed=seed, trainer=own)
                    try:
                        save_network(gan, file, settings)
                    except BootlightError as error:  # a full disk: it is used all the same
                        tell_not_kept(cache, "judges", error)
            gans.append(load_network(gan, file) if file.exists() else gan.cpu().eval())
    return gans


def _trainer(device: str, bar: GenerationProgressBar) -> Trainer:
    accelerator = torch.device(device).type
    return Trainer(
        accelerator={"cuda": "gpu"}.get(accelerator, accelerator),
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[bar, StopBetweenSteps(None)],
    )


def judge_scores(
    gans: Sequence[DCGAN], sources: Mapping[str, ImageSource], ask: Callable[[nn.Module, ImageSource], dict[str, Tensor]]
) -> dict[str, Score]:
    """Opinions of the discriminators of several GANs, each score a mean over images and judges.

    `discriminator_score` is that of the synthetic images, `discriminator_score/real`, `/held-out` and `/second-gan` those of
    the other sets. With two judges or more, the images of each GAN are judged by the discriminator of the next one, never by
    its own, which was trained on them.

    The standard error covers the draw of the images. The interval covers the seeds of the judges too, by Student's t
    with one degree of freedom less than there are judges: with two of them it is very wide, and rightly so.

    Args:
        gans: differing in their seeds.
        sources: sets of images by role: `real` (trained on), `synthetic`, `held-out`.
        ask: gives a network's answers to a set, as `Setting.ask_with`.
    """
    judges = [JudgeLogits(gan.net_d, gan.channels) for gan in gans]
    scores = {}
    for role, source in sources.items():
        answers = [ask(judge, source)["features"] for judge in judges]
        name = DiscriminatorScore.name if role == "synthetic" else f"{DiscriminatorScore.name}/{role}"
        scores[name] = pooled(torch.stack([answer.flatten() for answer in answers]))
    if len(gans) > 1:
        drawn = [images_of(gan, len(sources["synthetic"].names)) for gan in gans]
        others = [ask(judge, drawn[(i + 1) % len(gans)])["features"] for i, judge in enumerate(judges)]
        scores[f"{DiscriminatorScore.name}/{SECOND_GAN}"] = pooled(torch.stack([answer.flatten() for answer in others]))
    return scores


def images_of(gan: DCGAN, count: int) -> StoreSource:
    """The first `count` images of a generator."""
    gan.cpu().eval()
    chunks = [to_arrays(gan.sample(list(range(s, min(s + DRAW, count))))) for s in range(0, count, DRAW)]
    return StoreSource("images of another GAN", store_from_arrays(np.concatenate(chunks)))


def pooled(logits: torch.Tensor) -> Score:
    """Score from logits (judges, images)."""
    probabilities = logits.double().sigmoid()
    judges, n = probabilities.shape
    of_judges, of_images = probabilities.mean(1), probabilities.mean(0)
    value = probabilities.mean().item()
    error = ((of_images.std() / n**0.5).item() or None) if n > 1 else None
    spread = of_judges.std().item() if judges > 1 else None
    interval = None
    if spread is not None:
        centre, of_draw = bounded_mean(of_images)
        interval = bounded_interval(centre, float(student.ppf(0.975, judges - 1)) * (of_draw**2 + spread**2 / judges) ** 0.5)
    protocol = {
        "judges": judges,
        "standard_deviation": probabilities.flatten(1).std(1).mean().item() if n > 1 else None,
        "spread_between_judges": spread,
        "num_synthetic": n,
        SHARE: PLUS_FOUR,
    }
    remarks = () if judges > 1 else ("one judge: how much another seed of it would say otherwise is not known; use --judges 3",)
    return Score(value, error, n, protocol, interval, remarks, higher_is_better=True)
