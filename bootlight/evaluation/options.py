"""The options that `evaluate` and `compare` share."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from jsonargparse import ActionYesNo, ArgumentParser, Namespace
from torch import Tensor, nn

from bootlight.data.reading import SAFE, Reading
from bootlight.errors import BootlightError, check_range
from bootlight.evaluation.chosen import choose, read_entries, with_own
from bootlight.evaluation.features import extract
from bootlight.evaluation.networks.default_network import default_line
from bootlight.evaluation.networks.learned_features import LearnedFeatures
from bootlight.evaluation.networks.trained_networks import TrainedOnReal, look_at
from bootlight.evaluation.on_images import OnImages
from bootlight.evaluation.sets.real_of_source import real_of_source
from bootlight.evaluation.sets.sources import ImageSource, open_source
from bootlight.evaluation.suite import METRICS, USUAL, Choice, can_serve, least_images
from bootlight.io.cache_folder import default_cache
from bootlight.io.shape import height_width
from bootlight.metrics.features.features import FeatureNetwork
from bootlight.metrics.features.frozen import Frozen
from bootlight.metrics.features.inception import InceptionFeatures
from bootlight.metrics.features.inception_weights import default_file
from bootlight.metrics.features.looking import look
from bootlight.terminal import Usage, say

SETS = "a folder, a zip, a run (its newest generation) or RUN@GENERATION; images@SPLIT for a split"
MEASURED = "separated by commas, or all; class paths of your own, such as my_file.MyMetric, and"
MAX_BAD = "leave out so many pictures of each set that cannot be decoded, and list them (default: 0)"
FOLLOW_LINKS = "read what symbolic links lead to, wherever it lies (default: refuse those that leave their folder)"


class Parser(Usage, ArgumentParser):  # type: ignore[misc]
    """Of command lines; with safe errors."""


class Setting(NamedTuple):
    """What two sets of images are measured with.

    Attributes:
        network: for features.
        metrics: keys of `METRICS`, and metrics of features of one's own.
        image_size: edge, or [height, width], to which all pictures are brought, None = as they are.
        batch_size: images of one network call.
        device: where the network runs.
        cache: folder of decoded images and features.
        reading: whether links in the sets are followed, and how many bad pictures of each may be left out.
        on_images: metrics of images of one's own.
        channels: of pictures that are brought to a size: 1 (grey) or 3.
    """

    network: nn.Module
    metrics: tuple[Choice, ...]
    image_size: int | list[int] | None
    batch_size: int
    device: str
    cache: Path
    reading: Reading = SAFE
    on_images: tuple[OnImages, ...] = ()
    channels: int = 3

    def open(self, text: str) -> ImageSource:
        """The images that a user names.

        Raises:
            BootlightError: there are none, or too few for the metrics.
        """
        source = open_source(text, image_size=self.image_size, channels=self.channels, cache=self.cache, reading=self.reading)
        least = least_images(self.metrics)
        if len(source.names) < least:
            raise BootlightError(f"{text} has {len(source.names)} images; the chosen metrics need at least {least}")
        return source

    def learn(self, real: ImageSource) -> None:
        """Train the network on the real images, or take it from the cache, if it is one that must be.

        Raises:
            BootlightError: it cannot be trained on these.
        """
        if isinstance(self.network, TrainedOnReal):
            images = real_of_source(real, self.cache)
            look_at(self.network, images)
            with TemporaryDirectory() as folder:
                self.network.fit_real(images, Path(folder), torch.device(self.device))

    def width(self, source: ImageSource) -> int:
        """How many features the network answers with, of one of the images."""
        image = torch.from_numpy(source.pick([0])[0].copy()).permute(2, 0, 1)
        return look(Frozen(self.network), image[None].to(self.device))["features"].shape[1]

    def ask(self, source: ImageSource) -> dict[str, Tensor]:
        """What the feature network answers to the images, by output, and those that metrics have of their own."""
        return with_own(partial(self.ask_with, source=source), self.network, self.metrics)

    def ask_with(self, network: nn.Module, source: ImageSource) -> dict[str, Tensor]:
        """What another network answers."""
        return extract(source, network, cache=self.cache, batch_size=self.batch_size, device=self.device)


def add_options(parser: ArgumentParser) -> None:
    """Add them."""
    parser.add_argument("--real", type=str, help=f"real images: {SETS}")
    parser.add_argument(
        "--features",
        type=Callable[[], FeatureNetwork] | None,  # type: ignore[arg-type]
        help="class path of the feature network (default: bootlight.InceptionFeatures, or bootlight.LearnedFeatures until "
        "bootlight weights has been run)",
    )
    parser.add_argument("--metrics", type=str, default=",".join(USUAL), help=f"{MEASURED} {', '.join(METRICS)}")
    parser.add_argument(
        "--image-size",
        type=int | list[int] | None,
        help="cut the center, resize to this edge or [height,width]; default: no",
    )
    parser.add_argument("--batch-size", type=int, default=64, help="images of one network call")
    parser.add_argument("--device", type=str, default="cpu", help="such as cuda")
    parser.add_argument("--cache", type=str | None, help="folder of decoded images and features ($BOOTLIGHT_CACHE)")
    parser.add_argument("--follow-links", action=ActionYesNo(yes_prefix="", no_prefix="no-"), default=False, help=FOLLOW_LINKS)
    parser.add_argument("--max-bad", type=int, default=0, help=MAX_BAD)
    parser.add_argument("--json", action=ActionYesNo(yes_prefix="", no_prefix="no-"), default=False, help="JSON on stdout")


def read_setting(parser: ArgumentParser, options: Namespace, features: Callable[[], nn.Module] | None = None) -> Setting:
    """Build the network and check everything that does not need the images.

    Args:
        parser: of the options.
        options: as parsed.
        features: makes the network where no option names one.

    Raises:
        BootlightError: a metric that there is not, or a network that cannot be built.
    """
    check_range("--batch-size", options.batch_size, 1)
    check_range("--max-bad", options.max_bad, 0)
    if options.image_size is not None:
        height_width(options.image_size, "--image-size")
    network = _network(parser.instantiate(options).features or features)
    entries = read_entries(options.metrics)
    if entries == ["all"]:
        entries = [name for name in METRICS if can_serve(network, name)]
    chosen = choose(entries, network, "--metrics")
    if chosen.of_generation:
        raise BootlightError(
            f"--metrics: {chosen.of_generation[0][0]} measures a generation of a run; name it in evaluation.metrics of the run"
        )
    cache = default_cache() if options.cache is None else Path(options.cache)
    reading = Reading(options.follow_links, max_bad=options.max_bad)
    how = options.image_size, options.batch_size, options.device, cache, reading
    return Setting(network, chosen.on_features, *how, chosen.on_images)


def _network(build: Callable[[], Any] | None) -> nn.Module:
    if build is None:
        if not (file := default_file()).exists():
            network = LearnedFeatures()
            with redirect_stdout(sys.stderr):  # standard output is for the answer
                say(f"{default_line(network)}; bootlight weights fetches FID's network")
            return network
        build = partial(InceptionFeatures, str(file))
    found: nn.Module = build()
    check = getattr(found, "check", None)
    if callable(check):
        check()
    return found
