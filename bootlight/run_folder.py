"""Where everything of a run lies, and which stages of it are done.

A stage is done when the file that it writes last exists; there are no other markers, so nothing can contradict the disk:

==============  ==========================================================
stage           last file
==============  ==========================================================
Train           ``gen_000/model.json``, of another part ``<part>.json``
Synthesize      ``gen_000/samples/metadata.jsonl``, or in another folder
Curate          ``gen_000/samples/curation.jsonl``
Evaluate        ``gen_000/metrics.json``
==============  ==========================================================
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from bootlight.atomic import atomic_write, check_content, read_json, write_json
from bootlight.errors import BootlightError
from bootlight.lines import short_lines

IMAGES_PER_FOLDER = 1000
MODEL = "model"  # the part that draws, unless another one is named
SAMPLES = "samples"  # where its images lie, unless another folder is named


@dataclass(frozen=True)
class GenerationFolder:
    """Files of one generation, as seen from one of its parts and one of its folders of images.

    Args:
        path: of the folder.
        part: published name of a network; a generation may train several.
        into: name of a folder of images; a generation may draw several.
    """

    path: Path
    part: str = MODEL
    into: str = SAMPLES

    def of_part(self, part: str) -> "GenerationFolder":
        """The same generation, seen from another part."""
        return replace(self, part=part)

    def of_images(self, into: str) -> "GenerationFolder":
        """The same generation, seen from another folder of images."""
        return replace(self, into=into)

    @property
    def training(self) -> Path:
        """Folder of what the training of the part leaves besides its weights; the generation's own for `model`."""
        return self.path if self.part == MODEL else self.path / self.part

    @property
    def checkpoints(self) -> Path:
        """Folder of Lightning checkpoints: for resuming."""
        return self.training / "checkpoints"

    @property
    def trained_checkpoint(self) -> Path:
        """State at the end of training, from which publishing can be resumed."""
        return self.checkpoints / "trained.ckpt"

    @property
    def weights(self) -> Path:
        """EMA weights: for using."""
        return self.path / f"{self.part}.safetensors"

    @property
    def model_config(self) -> Path:
        """Class path and arguments that go with `weights`, steps, and what it started from."""
        return self.path / f"{self.part}.json"

    @property
    def history(self) -> Path:
        """Training curves: one JSON line for each logged step."""
        return self.training / "train.jsonl"

    @property
    def samples(self) -> Path:
        """Folder of synthetic images, 1,000 to a sub-folder."""
        return self.path / self.into

    @property
    def metadata(self) -> Path:
        """One JSON line for each synthetic image, in the order of their numbers."""
        return self.samples / "metadata.jsonl"

    @property
    def drawn(self) -> Path:
        """Number of the synthetic images and SHA-256 of `metadata`, written just before it."""
        return self.path / f"{self.into}.json"

    @property
    def protocol(self) -> Path:
        """What decided the images: the part that drew them and its hash, sampler, size of a batch."""
        return self.samples / "protocol.json"

    @property
    def curation(self) -> Path:
        """One JSON line for each synthetic image: whether it is kept, its label, and why."""
        return self.samples / "curation.jsonl"

    @property
    def previews(self) -> Path:
        """One picture: the preview images side by side, no border."""
        return self.path / ("previews.png" if self.into == SAMPLES else f"{self.into}_previews.png")

    @property
    def batch_size(self) -> Path:
        """Images of one network call in synthesis, where that was measured."""
        return self.path / ("batch_size.json" if self.into == SAMPLES else f"{self.into}_batch_size.json")

    @property
    def metrics(self) -> Path:
        """Scores with protocol, uncertainty and n."""
        return self.path / "metrics.json"

    @property
    def timing(self) -> Path:
        """Wall-clock seconds under each name of `bootlight.clock`, one JSON line for each time they were noted."""
        return self.path / "timing.jsonl"

    @property
    def is_trained(self) -> bool:
        """Whether training is complete and its weights are published."""
        return self.model_config.exists()

    @property
    def is_synthesized(self) -> bool:
        """Whether every synthetic image is there."""
        return self.metadata.exists()

    @property
    def is_evaluated(self) -> bool:
        """Whether the scores are there."""
        return self.metrics.exists()

    @property
    def is_done(self) -> bool:
        """Whether no stage is left to do, nor to be repeated because someone deleted what it wrote."""
        return self.is_trained and self.is_synthesized and self.is_evaluated

    def sample_file(self, index: int) -> Path:
        """Path of synthetic image `index`."""
        return self.samples / sample_name(index)


@dataclass(frozen=True)
class RunFolder:
    """Files of one bootstrap run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, enough to run it again."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, hardware and number of processes with which the run was begun."""
        return self.path / "environment.json"

    @property
    def table(self) -> Path:
        """One row for each generation."""
        return self.path / "metrics.csv"

    @property
    def metrics(self) -> Path:
        """The same with protocols, uncertainties and n."""
        return self.path / "metrics.json"

    @property
    def strip(self) -> Path:
        """Rows = generations, columns = the same preview seeds."""
        return self.path / "strip.png"

    @property
    def report(self) -> Path:
        """Self-contained page."""
        return self.path / "report.html"

    @property
    def real_previews(self) -> Path:
        """Some real images side by side, as in `GenerationFolder.previews`."""
        return self.path / "real_previews.png"

    @property
    def references(self) -> Path:
        """Networks trained once on the real images: judge, feature classifier."""
        return self.path / "references"

    @property
    def real_images(self) -> Path:
        """Hash and number of the real images, hashes of a held-out split and of a teacher's, that the run was begun with."""
        return self.references / "real_images.json"

    @property
    def is_begun(self) -> bool:
        """Whether it has what other settings would not fit: a checkpoint, weights, images or scores of some generation."""
        return any(
            any(folder.checkpoints.glob("*.ckpt")) or folder.is_trained or folder.samples.exists() or folder.is_evaluated
            for folder in self.generations()
        )

    def generation(self, generation: int) -> GenerationFolder:
        """Files of generation `generation`, counted from 0."""
        return GenerationFolder(self.path / f"gen_{generation:03d}")

    def generations(self) -> list[GenerationFolder]:
        """The generations that have a folder, in order, up to the first gap."""
        found: list[GenerationFolder] = []
        while self.generation(len(found)).path.is_dir():
            found.append(self.generation(len(found)))
        return found


def sample_name(index: int) -> str:
    """Name of synthetic image `index` relative to its samples folder: ``00001/001234.png``."""
    return f"{index // IMAGES_PER_FOLDER:05d}/{index:06d}.png"


def write_metadata(folder: GenerationFolder, rows: Iterable[dict[str, Any]]) -> None:
    """Write the manifest of a complete samples folder (Hugging Face imagefolder layout)."""
    digest, count = hashlib.sha256(), 0
    with atomic_write(folder.metadata) as file:
        for row in rows:
            line = json.dumps(row).encode() + b"\n"
            digest.update(line)
            file.write(line)
            count += 1
        write_json(folder.drawn, {"images": count, "sha256": digest.hexdigest()})


def read_metadata(folder: GenerationFolder) -> Iterator[dict[str, Any]]:
    """The rows of the manifest of a samples folder, one by one.

    Raises:
        BootlightError: it is missing, was changed, or has a line that is too long or not about an image below that folder.
    """
    try:
        check_content(folder.metadata, folder.drawn, "sha256")
        with open(folder.metadata, "rb") as file:
            for here, line in short_lines(file, folder.metadata.name):
                if line == b"\n":
                    continue
                row = json.loads(line.decode())
                known = isinstance(row, dict) and _is_inside(row.get("file_name"))
                if not known or not isinstance(row.get("label"), int | None):
                    raise ValueError(f"{here} is not about an image of this folder")
                yield row
    except (BootlightError, OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise BootlightError(f"{folder.metadata}: cannot be read ({why}); delete it and run the same command again") from error


def _is_inside(name: object) -> bool:
    """Whether a file name is relative and leads nowhere else."""
    return isinstance(name, str) and name.isprintable() and not {"", ".", ".."} & set(name.split("/"))


def how_to_redraw(folder: GenerationFolder) -> str:
    """What to do about a synthetic image that is missing or torn."""
    return f"delete that image, if it is there, and {folder.metadata}, and run the same command again: it is drawn anew"


def parts_of(folder: GenerationFolder) -> list[GenerationFolder]:
    """A generation as seen from each part that has left something in it, by name; from `model` in any case."""
    names = {weights.stem for weights in folder.path.glob("*.safetensors")} | {MODEL}
    names |= {path.parent.name for name in ("train.jsonl", "checkpoints") for path in folder.path.glob(f"*/{name}")}
    return [folder.of_part(name) for name in sorted(names)]


class Training(NamedTuple):
    """One part that a generation has trained, or is training.

    Args:
        folder: as seen from the part.
        before: training steps of the parts before it in this generation.
        steps: its own; None where it is not published yet.
    """

    folder: GenerationFolder
    before: int
    steps: int | None


def trainings_of(folder: GenerationFolder) -> list[Training]:
    """The parts of a generation in the order of their training, the one that is not published yet at the end.

    Raises:
        BootlightError: a file of the generation does not say what it should.
    """
    published = [folder.of_part(weights.stem) for weights in folder.path.glob("*.safetensors")]
    noted = {part: read_json(part.model_config) for part in published if part.is_trained}
    found = [Training(part, *_steps(part, about)) for part, about in noted.items()]
    found.sort(key=lambda training: (training.before, training.folder.part))
    if folder.is_evaluated and not any(training.steps for training in found):  # of a version that noted them here alone
        found = [Training(folder, 0, _number(folder.metrics, read_json(folder.metrics), "steps"))]
    known = {training.folder.part for training in found}
    before = sum(training.steps or 0 for training in found)
    begun = [part for part in parts_of(folder) if part.part not in known and part.history.exists()]
    return found + [Training(part, before, None) for part in begun]


def _steps(part: GenerationFolder, about: Any) -> tuple[int, int]:
    """Training steps before those of a part in its generation, and its own; 0 where they are not noted."""
    if not isinstance(about, dict):
        raise BootlightError(f"{part.model_config} does not describe a network; delete it and run bootlight fit again")
    return tuple(_number(part.model_config, {key: 0, **about}, key) for key in ("steps_before", "steps"))  # type: ignore[return-value]


def _number(file: Path, content: Any, key: str) -> int:
    number = content.get(key) if isinstance(content, dict) else None
    if not isinstance(number, int) or number < 0:
        raise BootlightError(f"{file} has no number under {key}; delete it and run bootlight fit again")
    return number


def steps_of(folder: GenerationFolder) -> int:
    """Training steps of all parts that a generation has published."""
    return sum(training.steps or 0 for training in trainings_of(folder))


def read_generation_metrics(run: RunFolder) -> list[dict[str, Any]]:
    """Scores of every evaluated generation, in order."""
    return [read_json(folder.metrics) for folder in run.generations() if folder.is_evaluated]


@dataclass(frozen=True)
class GenerationContext:
    """Which generation of which run an object works for; handed to fresh objects before they are used.

    Args:
        run: the run's folder.
        generation: from 0.
        seed: of the run.
        model: class path and arguments of the generator, as published in `model.json`.
        shared: whether all nodes see the same run folder; otherwise each keeps a complete copy in its own.
        part: that is trained.
        origin: what the part has of others: weights that it started from, and parts that it needs, with their hashes.
    """

    run: RunFolder
    generation: int
    seed: int
    model: dict[str, Any] = field(default_factory=dict)
    shared: bool = True
    part: str = MODEL
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> GenerationFolder:
        """Files of this generation, as seen from the part."""
        return self.run.generation(self.generation).of_part(self.part)

    @property
    def streams(self) -> tuple[str, ...]:
        """What the part adds to the names of its random streams, so that two parts see other noise; nothing for `model`."""
        return () if self.part == MODEL else (self.part,)
