"""Where everything of a run lies, and which stages of it are done.

A stage is done when the file that it writes last exists; there are no other markers, so nothing can contradict the disk:

==============  =======================================
stage           last file
==============  =======================================
training        ``gen_000/model.json``
synthesis       ``gen_000/samples/metadata.jsonl``
evaluation      ``gen_000/metrics.json``
==============  =======================================
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootlight.atomic import atomic_write, check_content, read_json, write_json
from bootlight.errors import BootlightError
from bootlight.lines import short_lines

IMAGES_PER_FOLDER = 1000


@dataclass(frozen=True)
class GenerationFolder:
    """Files of one generation."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of Lightning checkpoints: for resuming."""
        return self.path / "checkpoints"

    @property
    def trained_checkpoint(self) -> Path:
        """State at the end of training, from which synthesis can be resumed."""
        return self.checkpoints / "trained.ckpt"

    @property
    def weights(self) -> Path:
        """EMA weights: for using."""
        return self.path / "model.safetensors"

    @property
    def model_config(self) -> Path:
        """Class path and arguments that go with `weights`."""
        return self.path / "model.json"

    @property
    def samples(self) -> Path:
        """Folder of synthetic images, 1,000 to a sub-folder."""
        return self.path / "samples"

    @property
    def metadata(self) -> Path:
        """One JSON line for each synthetic image, in the order of their numbers."""
        return self.samples / "metadata.jsonl"

    @property
    def drawn(self) -> Path:
        """Number of the synthetic images and SHA-256 of `metadata`, written just before it."""
        return self.path / "samples.json"

    @property
    def previews(self) -> Path:
        """One picture: the preview images side by side, no border."""
        return self.path / "previews.png"

    @property
    def metrics(self) -> Path:
        """Scores with protocol, uncertainty and n."""
        return self.path / "metrics.json"

    @property
    def history(self) -> Path:
        """Training curves: one JSON line for each logged step."""
        return self.path / "train.jsonl"

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
    """

    run: RunFolder
    generation: int
    seed: int
    model: dict[str, Any] = field(default_factory=dict)
    shared: bool = True

    @property
    def folder(self) -> GenerationFolder:
        """Files of this generation."""
        return self.run.generation(self.generation)
