"""What runs were made and measured with, by the configurations that they keep: so that their images are compared alike."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from bootlight.data.datamodule import BootstrapData
from bootlight.data.resolve import is_generation, resolve, split_suffix
from bootlight.errors import BootlightError
from bootlight.evaluation.networks.default_network import default_network
from bootlight.evaluation.sets.real_images import describe_images
from bootlight.generators.load import Allocations, build, noted_dtype
from bootlight.generators.trust import class_paths, importable, only
from bootlight.io.atomic import read_json
from bootlight.metrics.features.features import FeatureNetwork
from bootlight.runs.folder import RunFolder
from bootlight.runs.kept_config import read_config
from bootlight.runs.links import check_links

# Settings of `data` that decide which images a run trains on and holds out, and what they look like.
OF_IMAGES = ("root", "origin", "image_size", "channels", "num_images", "holdout_fraction", "subset_seed")
OF_READING = ("label_column", "max_bad", "follow_links")
MAX_ELEMENTS = 2_000_000_000  # of a feature network: a number in a file can ask for terabytes
DATA = {f"bootlight{place}.BootstrapData" for place in ("", ".data", ".data.datamodule")}


class RunSetting(NamedTuple):
    """What a run keeps of how it was made.

    Attributes:
        run: its folder.
        data: class path and arguments of its real images.
        features: class path and arguments of its feature network; None where it names none.
        max_real: how many real images it was measured against at most.
        known: hashes of its real images, by `real_images.json`; empty where that is not there.
    """

    run: RunFolder
    data: dict[str, Any]
    features: dict[str, Any] | None
    max_real: int
    known: dict[str, Any]

    @property
    def where(self) -> str:
        """How messages call it."""
        return str(self.run.path)

    @property
    def images(self) -> dict[str, Any]:
        """Arguments of `data`."""
        return dict(self.data.get("init_args") or {})


def run_of(text: str) -> RunFolder | None:
    """The run whose images a text names; None for other images.

    Raises:
        BootlightError: there is no name in the text.
    """
    root, _ = split_suffix(text)
    with suppress(OSError):
        whole = root.resolve()
        around = root if len(root.parts) > 2 else whole  # `.` has no parent in its text
        places = [root, *([around.parent] * is_generation(root)), *([around.parent.parent] * is_generation(whole.parent))]
        return next((RunFolder(place) for place in places if RunFolder(place).config.is_file()), None)
    return None


def runs_of(texts: Sequence[str]) -> list[RunSetting]:
    """What the runs keep whose images are named, each run once; nothing of other images.

    Raises:
        BootlightError: a text names nothing, or a run that has no images yet or is damaged.
    """
    found: dict[Path, RunSetting] = {}
    for text in texts:
        run = run_of(text)
        if run is None:
            continue
        place = run.path.resolve()
        if resolve(text)[0].resolve() == place:
            raise BootlightError(f"{text}: no generation has all of its images yet; run bootlight fit again to go on with it")
        if place not in found:
            found[place] = read_run(run)
    return list(found.values())


def read_run(run: RunFolder) -> RunSetting:
    """What a run keeps.

    Raises:
        BootlightError: its configuration is damaged, or has no real images in it.
    """
    check_links(run.path)
    config = read_config(run.config)
    data, evaluation = config.get("data"), config.get("evaluation")
    if not isinstance(data, dict) or not isinstance(data.get("init_args"), dict):
        raise BootlightError(f"{run.config} does not say which real images the run has; give --real")
    evaluation = evaluation if isinstance(evaluation, dict) else {}
    features, max_real = evaluation.get("features"), evaluation.get("max_real")
    if isinstance(features, str):
        features = {"class_path": features}
    known = read_json(run.real_images) if run.real_images.exists() else {}
    return RunSetting(
        run,
        data,
        features if isinstance(features, dict) else None,
        max_real if type(max_real) is int and max_real > 1 else 50_000,
        known if isinstance(known, dict) else {},
    )


def network_of(setting: RunSetting, trust: Collection[str]) -> Callable[[], nn.Module]:
    """What makes the feature network of a run, the default one where it names none.

    Raises:
        BootlightError: it is of a class that is not trusted.
    """
    if setting.features is None:
        first = setting.run.generation(0)
        pictures = not first.model_config.exists() or noted_dtype(first) == "uint8"
        return partial(default_network, pictures, data_of(setting, trust=trust).channels)
    name = f"{setting.run.config}: evaluation.features"
    make: Callable[[], nn.Module] = _built(Callable[[], FeatureNetwork], setting.features, trust, f"{name}: ", "--features")
    return partial(_limited, make)


def _limited(make: Callable[[], nn.Module]) -> nn.Module:
    with Allocations(MAX_ELEMENTS):
        return make()


def data_of(
    setting: RunSetting, *, cache: Path | None = None, image_size: int | list[int] | None = None, trust: Collection[str] = ()
) -> BootstrapData:
    """The real images of a run, with what it holds out and nothing of what it mixes them with; not opened yet.

    Args:
        setting: of the run.
        cache: folder of decoded images; None = the usual one.
        image_size: instead of the run's own.
        trust: class paths of other code that may run.

    Raises:
        BootlightError: a class that is not trusted, or images that have no other size.
    """
    given, path = setting.images, str(setting.data.get("class_path"))
    if path in DATA:
        given = {key: given[key] for key in (*OF_IMAGES, *OF_READING) if given.get(key) is not None}
    changes: dict[str, Any] = {"num_steps": 1, "num_epochs": None, "origins": None}
    changes |= {"cache": None if cache is None else str(cache), "mixing": {"class_path": "bootlight.OnlyReal"}}
    if image_size is not None:
        if given.get("origin") is not None:
            raise BootlightError(f"--image-size: the real images of {setting.where} have a size of their own; give --real too")
        changes["image_size"] = image_size
    config = {"class_path": path, "init_args": {**given, **changes}}
    data: BootstrapData = _built(BootstrapData, config, trust, f"{setting.run.config}: data: ", "--real")
    return data


def open_data(
    setting: RunSetting, *, cache: Path, image_size: int | list[int] | None = None, trust: Collection[str] = ()
) -> BootstrapData:
    """The same, opened: the images that the run was begun with.

    Raises:
        BootlightError: as `data_of`; or they are not there any more, or have changed since.
    """
    data = data_of(setting, cache=cache, trust=trust)
    try:
        data.setup()
        _check_same(setting, data)
        if image_size is not None:
            data = data_of(setting, cache=cache, image_size=image_size, trust=trust)
            data.setup()
    except BootlightError as error:
        raise BootlightError(f"the real images of {setting.where}: {error}; or name others with --real") from error
    return data


def _built(kind: Any, config: dict[str, Any], trust: Collection[str], where: str, option: str) -> Any:
    try:
        with only(importable(class_paths(config), trust)):
            return build(kind, config)
    except BootlightError as error:
        raise BootlightError(f"{where}{error}; or say it with {option}") from error


def _check_same(setting: RunSetting, data: BootstrapData) -> None:
    """Refuse images that have changed since the run has begun; runs of other formats have no marks to know them by.

    Raises:
        BootlightError: they have.
    """
    found, known = describe_images(data), setting.known
    if known.get("format") != found["format"]:
        return
    for key, what in (("content", "the real images"), ("held_out", "the held-out images")):
        if key in known and known[key] != found[key]:
            raise BootlightError(
                f"data.root: {data.root} does not hold {what} that {setting.where} was begun with (hash "
                f"{str(known[key])[:8]}, now {str(found[key])[:8]}); restore them"
            )
