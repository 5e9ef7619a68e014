"""Measuring one set of images against another."""

from pathlib import Path

import numpy as np
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.evaluation.answer import Answer
from bootlight.evaluation.judges import judge_scores, train_gans
from bootlight.evaluation.options import Setting
from bootlight.evaluation.reference_stats import measure_against, save_statistics
from bootlight.evaluation.source_remarks import source_remarks
from bootlight.evaluation.sources import ImageSource, open_store
from bootlight.evaluation.suite import measure_all
from bootlight.images import resized
from bootlight.metrics.c2st import two_sample_test
from bootlight.metrics.neighbours import nearest
from bootlight.metrics.pixel_statistics import PixelDifference, PixelStatistics
from bootlight.metrics.score import Score
from bootlight.metrics.statistics import feature_statistics
from bootlight.networks.dcgan import SIZES
from bootlight.tracking.neighbours import MAX_ROWS, write_neighbours

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
    texts = {"real": real, "synthetic": synthetic, "held-out": held_out}
    sources = {role: setting.open(text) for role, text in texts.items() if text is not None}
    answers = {role: setting.ask(source) for role, source in sources.items()}
    if reference_stats is not None:
        scores = measure_against(Path(reference_stats), setting.network, answers["synthetic"]["features"])
        return Answer(counted(sources), scores, [])
    scores = measure_all(
        setting.metrics,
        setting.network,
        real=answers["real"],
        synthetic=answers["synthetic"],
        held_out=answers.get("held-out"),
        cache=setting.cache,
    )
    if pixels:
        statistics = [setting.ask_with(PixelStatistics(), sources[role])["features"] for role in ("real", "synthetic")]
        scores |= PixelDifference(sync_on_compute=False).measure(*statistics)
    sizes = source_remarks(sources)
    scores = {name: score._replace(remarks=(*score.remarks, *sizes)) for name, score in scores.items()}
    scores |= learned_scores(setting, sources, judges=judges, judge_steps=judge_steps, c2st=c2st)
    notes = []
    if save_stats is not None:
        save_statistics(Path(save_stats), feature_statistics(answers["real"]["features"]))
        notes.append(f"statistics of the real features in {save_stats}")
    if neighbours is not None:
        features = [answers[role]["features"] for role in ("real", "synthetic")]
        draw_neighbours(Path(neighbours), sources["real"], sources["synthetic"], *features)
        notes.append(f"nearest real images in {neighbours}")
    return Answer(counted(sources), scores, notes)


def counted(sources: dict[str, ImageSource]) -> list[tuple[str, str, int]]:
    """Role, name and number of images of each set."""
    return [(role, source.where, len(source.names)) for role, source in sources.items()]


def learned_scores(
    setting: Setting, sources: dict[str, ImageSource], *, judges: int, judge_steps: int, c2st: bool
) -> dict[str, Score]:
    """Scores for which networks are trained on the images themselves, at the size of the synthetic ones.

    Raises:
        BootlightError: the synthetic images are not square, or have a size that a judge cannot have.
    """
    if not judges and not c2st:
        return {}
    height, width = sources["synthetic"].pick([0])[0].shape[:2]
    if height != width or (judges and height not in SIZES):
        raise BootlightError(
            f"{sources['synthetic'].where} has images of {width} x {height} pixels; give --image-size, one of "
            f"{', '.join(map(str, SIZES))}"
        )
    stores = {role: open_store(source.where, image_size=height, cache=setting.cache) for role, source in sources.items()}
    scores: dict[str, Score] = {}
    if judges:
        gans = train_gans(stores["real"], count=judges, num_steps=judge_steps, device=setting.device, cache=setting.cache)
        scores |= judge_scores(gans, stores, setting.ask_with)
    if c2st:
        arrays = [stores[role].store.images for role in ("real", "synthetic")]
        scores["c2st"] = two_sample_test(*arrays, device=setting.device)
    return scores


def short_name(name: str) -> str:
    """The end of a file's name, as much as fits under a small picture."""
    return Path(name).stem[-9:]


def draw_neighbours(path: Path, real: ImageSource, synthetic: ImageSource, real_features: Tensor, features: Tensor) -> None:
    """The synthetic images that are closest to a real one, beside the real ones closest to them."""
    count = min(NEIGHBOURS, len(real_features))
    distances, indices = nearest(features, real_features, count)
    closest = np.argsort(distances[:, 0].numpy(), kind="stable")[:MAX_ROWS].tolist()
    drawn = synthetic.pick(closest)
    edges = {edge for image in drawn for edge in image.shape[:2]}
    edge = edges.pop() if len(edges) == 1 else PICTURE_EDGE
    write_neighbours(
        path,
        synthetic=np.stack([resized(image, edge) for image in drawn]),
        indices=indices[closest].numpy(),
        distances=distances[closest].double().numpy(),
        real=lambda i: resized(real.pick([i])[0], edge),
        synthetic_label=lambda row: short_name(synthetic.names[closest[row]]),
        real_label=lambda i: short_name(real.names[i]),
    )
