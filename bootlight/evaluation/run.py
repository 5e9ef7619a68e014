"""Measuring one set of images against another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.evaluation.answer import Answer, Measured
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.floors.set_floors import beside, doubted
from bootlight.evaluation.networks.several_judges import judge_scores, train_gans
from bootlight.evaluation.networks.trained_networks import TrainedOnReal
from bootlight.evaluation.options import Setting
from bootlight.evaluation.own_metrics import with_others
from bootlight.evaluation.reference_stats import check_width, load_statistics, measure_against, save_statistics
from bootlight.evaluation.sets.images_of_sets import own_scores, what_is_known
from bootlight.evaluation.sets.source_remarks import check_alike, source_remarks
from bootlight.evaluation.sets.sources import ImageSource, open_store
from bootlight.evaluation.suite import finite, measure_all
from bootlight.io.arrays import split_row
from bootlight.io.pictures import resized
from bootlight.io.shape import PICTURE_CHANNELS
from bootlight.io.shown import Show, shower, squared
from bootlight.metrics.c2st import LEAST as LEAST_TOLD_APART
from bootlight.metrics.c2st import two_sample_test
from bootlight.metrics.discriminator import DiscriminatorScore
from bootlight.metrics.distances.statistics import feature_statistics
from bootlight.metrics.neighbours.neighbours import nearest
from bootlight.metrics.pixel_statistics import LEAST_EDGE, PixelStatistics, pixel_differences
from bootlight.metrics.score import Score
from bootlight.networks.dcgan import halvings
from bootlight.report.neighbours import MAX_ROWS, write_neighbours

NEIGHBOURS = 5
PICTURE_EDGE = 64  # pixels, where the images have several sizes


def evaluate(
    setting: Setting,
    *,
    real: str | None,
    synthetic: str,
    reference_stats: str | None = None,
    held_out: str | None = None,
    save_stats: str | None = None,
    neighbours: str | None = None,
    judges: int = 0,
    judge_steps: int = 2000,
    c2st: bool = False,
    pixels: bool = False,
) -> Answer:
    """All metrics of a setting.

    Args:
        setting: network, metrics, sizes.
        real: the reference, as `sources.open_source` understands it; None with `reference_stats`.
        synthetic: the images to judge.
        reference_stats: .npz in the place of the reference; then there is a Fréchet distance only.
        held_out: real images that the generator has not seen, for the data-copying test.
        save_stats: .npz to write the statistics of the real features to.
        neighbours: .png to draw the closest pairs of synthetic and real images into.
        judges: discriminators to train on the real images, each with a seed of its own; 0 = no discriminator score.
        judge_steps: training steps of each.
        c2st: whether to train a classifier to tell the two sets apart.
        pixels: whether to compare brightness, contrast, saturation, sharpness and spectrum, which takes no network.

    Raises:
        BootlightError: unusable images, or a file that cannot be written.
    """
    for path in filter(None, (save_stats, neighbours)):
        if not Path(path).absolute().parent.is_dir():
            raise BootlightError(f"{path}: its folder does not exist; make it first")
    if reference_stats is not None and isinstance(setting.network, TrainedOnReal):
        name = type(setting.network).__name__
        raise BootlightError(f"--reference-stats has no images, and {name} is trained on real ones; give --real")
    reference = None if reference_stats is None else load_statistics(Path(reference_stats))
    texts = {"real": real, "synthetic": synthetic, "held-out": held_out}
    sources = {role: setting.open(text) for role, text in texts.items() if text is not None}
    check_alike(sources)
    remarks = source_remarks(sources)
    if reference_stats is not None and reference is not None:
        check_width(Path(reference_stats), reference, setting.network, setting.width(sources["synthetic"]))
        features = setting.ask(sources["synthetic"])["features"]
        scores = measure_against(Path(reference_stats), reference, setting.network, features)
        return Answer(counted(sources), remarked(scores, remarks), [], {})
    check_sizes(sources, judges=judges, c2st=c2st, pixels=pixels)
    known = what_is_known(setting, sources)
    setting.learn(sources["real"])
    answers = {role: setting.ask(source) for role, source in sources.items()}
    failed: dict[str, str] = {}
    scores = measure_all(
        setting.metrics,
        setting.network,
        real=answers["real"],
        synthetic=answers["synthetic"],
        held_out=answers.get("held-out"),
        cache=setting.cache,
        failed=failed,
    )
    scores |= own_scores(setting, sources, known, scores, failed)
    scores = doubted(scores, setting, sources, answers, failed)
    if pixels:
        with attempt("pixels", failed):
            statistics = [setting.ask_with(PixelStatistics(), sources[role])["features"] for role in ("real", "synthetic")]
            scores |= finite(pixel_differences(*statistics), failed)
    scores = remarked(scores, remarks)
    learned = learned_scores(setting, sources, judges=judges, judge_steps=judge_steps, c2st=c2st, failed=failed)
    scores = with_others(scores, beside(setting, sources, answers, failed) | learned, failed)
    notes = []
    if save_stats is not None:
        with attempt("--save-stats", failed):
            save_statistics(Path(save_stats), feature_statistics(answers["real"]["features"]))
            notes.append(f"statistics of the real features in {save_stats}")
    if neighbours is not None:
        with attempt("--neighbours", failed):
            features_of = [answers[role]["features"] for role in ("real", "synthetic")]
            draw_neighbours(Path(neighbours), sources["real"], sources["synthetic"], *features_of)
            notes.append(f"nearest real images in {neighbours}")
    return Answer(counted(sources), scores, notes, failed)


def remarked(scores: dict[str, Score], remarks: tuple[str, ...]) -> dict[str, Score]:
    """The scores with further remarks."""
    return {name: score._replace(remarks=(*score.remarks, *remarks)) for name, score in scores.items()}


def check_sizes(sources: Mapping[str, ImageSource], *, judges: int, c2st: bool, pixels: bool) -> None:
    """Refuse, before anything is measured, images of a size that networks trained on them or pixel statistics cannot have.

    Raises:
        BootlightError: says which sizes they are.
    """
    if not all(source.sizes for source in sources.values()):
        return  # no picture can be read: decoding them says why
    if pixels:
        edges = [edge for role in ("real", "synthetic") for size in sources[role].sizes for edge in size]
        if min(edges) < LEAST_EDGE:
            raise BootlightError(f"--pixels needs images of {LEAST_EDGE} pixels or more, not {min(edges)}; leave it out")
    if not judges and not c2st:
        return
    drawn = sources["synthetic"]
    width, height = min(drawn.sizes)
    if judges and drawn.dtype != "uint8":
        raise BootlightError(
            "--judges: the judge is a DCGAN, which draws in [-1, 1], and float data have no range; leave it out"
        )
    if len(drawn.sizes) > 1 or (judges and halvings(height, width) is None):
        sizes = f"{width} x {height}" if len(drawn.sizes) == 1 else f"{len(drawn.sizes):,} sizes, such as {width} x {height},"
        raise BootlightError(f"{drawn.where} has images of {sizes} pixels; give --image-size, such as 32 or 64")
    fewest = min(len(sources[role].names) for role in ("real", "synthetic"))
    if c2st and fewest < LEAST_TOLD_APART:
        raise BootlightError(f"--c2st needs {LEAST_TOLD_APART} images on each side, got {fewest}; draw more or leave it out")


def counted(sources: dict[str, ImageSource]) -> list[Measured]:
    """What is said of each set."""
    return [
        Measured(role, source.where, len(source.names), source.layout.besides if source.layout else [])
        for role, source in sources.items()
    ]


def learned_scores(
    setting: Setting,
    sources: dict[str, ImageSource],
    *,
    judges: int,
    judge_steps: int,
    c2st: bool,
    failed: dict[str, str],
) -> dict[str, Score]:
    """Scores for which networks are trained on the images themselves, at the size of the synthetic ones, see `check_sizes`."""
    if not judges and not c2st:
        return {}
    width, height = min(sources["synthetic"].sizes)
    how: dict[str, Any] = {"image_size": (height, width), "cache": setting.cache, "reading": setting.reading}
    stores = {role: open_store(source.where, **how) for role, source in sources.items()}
    scores: dict[str, Score] = {}
    if judges:
        with attempt(DiscriminatorScore.name, failed):
            gans = train_gans(stores["real"], count=judges, num_steps=judge_steps, device=setting.device, cache=setting.cache)
            scores |= finite(judge_scores(gans, stores, setting.ask_with), failed)
    if c2st:
        with attempt("c2st", failed):
            arrays = [stores[role].store.images for role in ("real", "synthetic")]
            scores |= finite({"c2st": two_sample_test(*arrays, device=setting.device)}, failed)
    return scores


def short_name(name: str) -> str:
    """The end of a file's name, as much as fits under a small picture."""
    file, row = split_row(name)
    return (Path(file).stem if row is None else f"{Path(file).stem}#{row}")[-9:]


def draw_neighbours(path: Path, real: ImageSource, synthetic: ImageSource, real_features: Tensor, features: Tensor) -> None:
    """The synthetic images that are closest to a real one, beside the real ones closest to them."""
    count = min(NEIGHBOURS, len(real_features))
    distances, indices = nearest(features, real_features, count)
    closest = np.argsort(distances[:, 0].numpy(), kind="stable")[:MAX_ROWS].tolist()
    drawn = synthetic.pick(closest)
    edges = {edge for image in drawn for edge in image.shape[:2]}
    edge = edges.pop() if len(edges) == 1 else PICTURE_EDGE
    whole: Show = squared if drawn[0].shape[2] not in PICTURE_CHANNELS else lambda image: image  # channels below each other
    near = real.pick(np.unique(indices[closest].numpy()).tolist()) if synthetic.dtype != "uint8" else []  # by their range
    show = shower([*drawn, *near])
    write_neighbours(
        path,
        synthetic=np.stack([resized(whole(show(image)), edge, edge) for image in drawn]),
        indices=indices[closest].numpy(),
        distances=distances[closest].double().numpy(),
        real=lambda i: resized(whole(show(real.pick([i])[0])), edge, edge),
        synthetic_label=lambda row: short_name(synthetic.names[closest[row]]),
        real_label=lambda i: short_name(real.names[i]),
    )
