"""The real images of runs as the reference of a comparison, and the network that looks at them."""

import shutil
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bootlight.data.datamodule import BootstrapData
from bootlight.errors import BootlightError
from bootlight.evaluation.comparing.comparison import Reference
from bootlight.evaluation.comparing.run_compare import Real, named_real
from bootlight.evaluation.comparing.run_setting import RunSetting, data_of, open_data
from bootlight.evaluation.networks.trained_networks import TrainedOnReal, look_at, real_images
from bootlight.evaluation.options import Setting
from bootlight.evaluation.sets.sources import StoreSource
from bootlight.evaluation.suite import DISTANCES, least_images
from bootlight.io.shape import height_width
from bootlight.metrics.features.features import feature_name


def real_of_runs(
    setting: Setting, runs: Sequence[RunSetting], real: str | None, trust: Collection[str]
) -> tuple[Setting, Real]:
    """What runs are measured against, and the setting with their size and channels where no size was given.

    Against all images that they may train on, and against those that they hold out: training images favour copies.

    Args:
        setting: network and metrics; an image size that an option gives.
        runs: that agree.
        real: images that an option names in the place of those of the runs.
        trust: class paths of other code that may run.

    Raises:
        BootlightError: the images are not there, have changed since, or are too few.
    """
    first, given = runs[0], setting.image_size
    shaped = data_of(first, cache=setting.cache, trust=trust, image_size=given if real is None else None)
    channels, height, width = shaped.image_shape
    setting = setting._replace(image_size=given or [height, width], channels=channels)
    if real is not None:
        return setting, named_real(setting, real, taken_text(setting, runs, None))
    data = open_data(first, cache=setting.cache, image_size=given, trust=trust)
    least = least_images(setting.metrics)
    if len(data.available) < least:
        raise BootlightError(f"{data.root} has {len(data.available)} images to train on; the chosen metrics need {least}")
    distances = [name for name in setting.metrics if name in DISTANCES]
    sides = {"train": (data.available, "to train on")}
    if distances and len(data.holdout) >= least_images(distances):
        sides["holdout"] = (data.holdout, "held out")
    references = []
    for name, (which, words) in sides.items():
        indices = which.indices[data.reference(which, first.max_real)]
        source = StoreSource(f"{data.root}, {words}", which.store, indices)
        favours = ", whose copies they favour" if name == "train" else ""
        references.append((Reference(name, source.where + favours, len(indices)), source))
    return setting, Real(references, partial(learn, setting, first, data), taken_text(setting, runs, data))


def learn(setting: Setting, run: RunSetting, data: BootstrapData) -> None:
    """Train the network on the real images of a run, or load it from its folder `references` or the cache, if it must be.

    Raises:
        BootlightError: it cannot be trained on these images.
    """
    if not isinstance(setting.network, TrainedOnReal):
        return
    images = real_images(data)
    look_at(setting.network, images)
    with TemporaryDirectory() as folder:  # a run that is compared is not written to
        for file in run.run.references.glob("*.*"):
            if file.suffix in (".json", ".safetensors") and not file.name.startswith("judge-"):
                shutil.copy(file, folder)
        setting.network.fit_real(images, Path(folder), torch.device(setting.device))


def taken_text(setting: Setting, runs: Sequence[RunSetting], data: BootstrapData | None) -> str:
    """One line that says what was taken from the runs; without `data` not their real images."""
    assert setting.image_size is not None  # that of the runs, if no other
    size = " x ".join(map(str, height_width(setting.image_size)))
    colour = {1: "grey", 3: "RGB"}.get(setting.channels, f"{setting.channels} channels")
    split = f"real images, {len(data.available):,} to train on and {len(data.holdout):,} held out; " if data else ""
    names = " and ".join(run.where for run in runs)
    return f"from {names}: {split}{size} {colour}, features {feature_name(setting.network)}"
