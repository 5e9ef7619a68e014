"""Sets of images that a user names, for metrics of one's own that take images, with what is known of each image."""

import json
from collections.abc import Mapping

from bootlight.data.reader import open_images
from bootlight.data.resolve import resolve
from bootlight.errors import BootlightError
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.on_images import About, check_known, measure_images
from bootlight.evaluation.options import Setting
from bootlight.evaluation.own_metrics import check_new
from bootlight.evaluation.sets.sources import ImageSource
from bootlight.evaluation.suite import finite
from bootlight.metrics.score import Score
from bootlight.runs.folder import MANIFEST
from bootlight.runs.manifest import parents_of

SIDES = ("real", "synthetic")


def what_is_known(setting: Setting, sources: Mapping[str, ImageSource]) -> dict[str, About]:
    """Of the images of both sides, if a metric takes images.

    Raises:
        BootlightError: a metric asks for something that is not known.
    """
    if not setting.on_images:
        return {}
    asked = any("labels" in metric.wanted or "parents" in metric.wanted for metric in setting.on_images)
    known = {side: about(setting, sources[side]) if asked else About(ids=sources[side].names) for side in SIDES}
    for metric in setting.on_images:
        for side in SIDES if metric.sees_real else ("synthetic",):
            check_known(metric, known[side], sources[side].where)
    return known


def about(setting: Setting, source: ImageSource) -> About:
    """What folders, archives and manifests say of images; a label is the position of its class among those of its set."""
    with open_images(*resolve(source.where), setting.reading) as images:
        whole = dict(zip((*images.names, *images.known_as), images.names * 2, strict=True))
        names = [whole.get(name, name) for name in source.names]
        position = {name: i for i, name in enumerate(images.class_names)}
        classes = dict(zip(images.names, images.labels, strict=True))
        labels = [-1 if (label := classes.get(name)) is None else position[label] for name in names]
        parents: dict[str, tuple[str, ...]] = {}
        for file in images.files.names:
            if file.rpartition("/")[2] == MANIFEST:
                parents |= _parents(images.files.read(file), file.removesuffix(MANIFEST))
    return About(labels, source.names, [parents.get(name, ()) for name in names])


def _parents(manifest: bytes, base: str) -> dict[str, tuple[str, ...]]:
    """Of the images that it lists with some."""
    try:
        rows = [json.loads(line) for line in manifest.decode("utf-8-sig").split("\n") if line.strip()]
        return {base + row["file_name"]: found for row in rows if (found := parents_of(row))}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BootlightError(f"{base}{MANIFEST} cannot be read ({error!r}); correct or delete it") from error


def own_scores(
    setting: Setting,
    sources: Mapping[str, ImageSource],
    known: Mapping[str, About],
    there: Mapping[str, Score],
    failed: dict[str, str],
) -> dict[str, Score]:
    """Scores of a user's metrics that take images, by name.

    Args:
        setting: metrics, device, batches.
        sources: `real` and `synthetic` images.
        known: see `what_is_known`.
        there: scores whose names are taken.
        failed: notes why a metric has none, by its class path.
    """
    scores: dict[str, Score] = {}
    for metric in setting.on_images:
        with attempt(metric.label, failed):
            real, synthetic = ((sources[side], known[side]) for side in SIDES)
            how = setting.batch_size, setting.device
            found = finite(measure_images(metric, synthetic, real, *how), failed)
            check_new(tuple(found), {**there, **scores})
            scores |= found
    return scores
