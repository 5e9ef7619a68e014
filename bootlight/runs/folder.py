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

from dataclasses import dataclass, replace
from pathlib import Path

IMAGES_PER_FOLDER = 1000
MODEL = "model"  # the part that draws, unless another one is named
SAMPLES = "samples"  # where its images lie, unless another folder is named
MANIFEST = "metadata.jsonl"  # in a folder of images: what each of them is


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
    def number(self) -> int:
        """Of the generation, by the name of its folder."""
        return int(self.path.name.removeprefix("gen_"))

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
        return self.samples / MANIFEST

    @property
    def drawn(self) -> Path:
        """Number of the synthetic images and SHA-256 of `metadata`, written just before it."""
        return self.path / f"{self.into}.json"

    @property
    def protocol(self) -> Path:
        """What decided the images: the part that drew them and its hash, sampler, size of a batch."""
        return self.samples / "protocol.json"

    @property
    def choice(self) -> Path:
        """Values that were chosen for drawing, by a stage before."""
        return self.samples / "choice.json"

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
    def noise_bins(self) -> Path:
        """The loss of the model that drew the images at each noise level: see `bootlight.evaluation.noise_bins`."""
        return self.path / ("noise_bins.json" if self.into == SAMPLES else f"{self.into}_noise_bins.json")

    @property
    def witness(self) -> Path:
        """What each image adds to a kernel distance: see `bootlight.runs.witness`."""
        return self.path / "witness.json"

    @property
    def timing(self) -> Path:
        """Wall-clock seconds under each name of `bootlight.runs.timing`, one JSON line for each time they were noted."""
        return self.path / "timing.jsonl"

    @property
    def is_trained(self) -> bool:
        """Whether training is complete and its weights are published; a folder of images has a file of such a name too."""
        return self.model_config.exists() and (self.part == MODEL or not self.of_images(self.part).is_synthesized)

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
        return self.is_trained and self.is_drawn and self.is_evaluated

    @property
    def image_folders(self) -> list["GenerationFolder"]:
        """The generation as seen from each of its folders of images, complete or not, by name."""
        found = {path.parent.name for pattern in ("*/metadata.jsonl", "*/[0-9]*") for path in self.path.glob(pattern)}
        return [self.of_images(name) for name in sorted(found)]

    @property
    def is_drawn(self) -> bool:
        """Whether it has images, and no folder of them lacks some."""
        folders = self.image_folders
        return len(folders) > 0 and all(folder.is_synthesized for folder in folders)

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
        """Hash and number of the real images, hashes of a held-out split and of what a mixture takes from elsewhere."""
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
