"""Rewards and curators: what is said of images that are there."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bootlight.checking.stand_ins import Model
from bootlight.checking.trials import NotHere, Trials, demand, near, repeated, tensor, uniform
from bootlight.diffusion.schedules import CosineSchedule
from bootlight.errors import BootlightError
from bootlight.metrics.reward import Reward
from bootlight.runs.context import GenerationContext
from bootlight.runs.curation import Row
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.synthesis.curator import Curator

COUNT, EDGE, CLASSES = 12, 8, 3
SURE = "the same images must always be judged alike"


def stored(channels: int, dtype: str = "uint8", name: str = "images") -> Tensor:
    """Images (B, C, H, W) as they are stored, from dark to bright."""
    images = (uniform(COUNT, channels, EDGE, EDGE, name=name) + torch.linspace(0, 1, COUNT).view(-1, 1, 1, 1)) / 2
    return (images * 255).to(torch.uint8) if dtype == "uint8" else images * 2 - 1


class RewardTrials(Trials):
    """Of a `Reward`."""

    kind = Reward
    name = "reward"

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        self.images: list[Tensor] = []
        self.labelled = False
        try:
            self._asked(stored(3))
        except BootlightError:  # of the images
            pass
        except Exception:  # perhaps it cannot do without labels; if it is that not, the first trial will tell
            self.labelled = True

    def _fresh(self, number: int = 0) -> Any:
        """One that may look through the networks of a run."""
        found = super()._fresh(number).eval()
        found.begin(StandIn(Path("bootlight-check"), 3))
        return found

    def one_each(self) -> str:
        """One finite number for each image, (B,), of images as they are stored; the images stay as they are."""
        refused = []
        for dtype in ("uint8", "float32"):
            for channels in (3, 1):
                images = stored(channels, dtype)
                try:
                    tensor(self._asked(images), (COUNT,), f"the reward of {COUNT} {dtype} images")
                except BootlightError as error:  # it says what it is not for
                    refused.append(error)
                    continue
                demand(torch.equal(images, stored(channels, dtype)), "it changes the images that it is given; take a copy")
                self.images.append(images)
                break
        if not self.images:
            raise refused[0]
        kinds = " and ".join(f"{images.dtype}".removeprefix("torch.") for images in self.images)
        return f"of {kinds}{' with labels' if self.labelled else ''}"

    def image_alone(self) -> None:
        """The reward of an image does not depend on the others, on their order, or on random generators."""
        for images in self._kinds():
            whole = repeated(lambda i=images: self._asked(i), torch.equal, "it", SURE)  # type: ignore[misc]
            for chosen in ([0], [7, 1], [3, 2, 11, 5, 8]):
                alone = self._asked(images, chosen)
                demand(
                    near(alone, whole[chosen], 1e-4),
                    f"the reward of an image is another one among {len(chosen)} than among {COUNT}: it depends on the others",
                )

    def fixed(self) -> None:
        """What it judges by is fixed: judging changes nothing, a fresh one judges alike."""
        before = {name: value.clone() for name, value in self.thing.state_dict().items()}
        for images in self._kinds():
            self._asked(images)
        changed = [name for name, value in self.thing.state_dict().items() if not torch.equal(value, before[name])]
        demand(changed == [], f"it changes {', '.join(changed[:3])} while it judges")
        fresh = self._fresh(1).eval()
        for images in self._kinds():
            same = near(self._asked(images, reward=fresh), self._asked(images), 1e-4)
            demand(same, "a fresh one judges otherwise: what it judges by must come from a file, or from a seed of its own")

    def _kinds(self) -> list[Tensor]:
        if not self.images:
            raise NotHere("there are no rewards")
        return self.images

    def _asked(self, images: Tensor, chosen: list[int] | None = None, reward: Any = None) -> Tensor:
        labels = torch.arange(COUNT) % CLASSES
        which = list(range(COUNT)) if chosen is None else chosen
        with torch.no_grad():
            return (reward or self.thing)(images[which], labels[which] if self.labelled else None)


class ArrayImages:
    """Images that are there, in a fixed order; the `Images` of a generation.

    Args:
        images: (B, C, H, W).
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def batches(self, size: int) -> Iterator[Tensor]:
        """In order."""
        yield from (part.clone() for part in torch.split(self.images, size))

    def pick(self, indices: list[int]) -> Sequence[NDArray[Any]]:
        """Arrays (H, W, C)."""
        return [np.array(image) for image in self.images[list(indices)].permute(0, 2, 3, 1)]


class Seen(nn.Module):
    """A network that looks at images; what it answers depends on all pixels.

    Args:
        outputs: numbers for each image.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs_ = outputs

    def logits(self, images: Tensor) -> Tensor:
        """Of as many classes, (B, outputs)."""
        return self(images)  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """(B, outputs)."""
        rows = images.double().flatten(1)
        waves = torch.arange(rows.shape[1], dtype=torch.float64) * torch.arange(1, self.outputs_ + 1).unsqueeze(1)
        return (rows @ torch.cos(waves / rows.shape[1]).T / rows.shape[1]).float()


class StandIn:
    """A generation whose only network is a denoiser that is known.

    Args:
        folder: of its run.
        channels: of its images.
    """

    number = 1
    writes = is_rank_0 = True
    world_size = 1
    device = torch.device("cpu")
    truth = None
    judge: Any
    features: Any

    def __init__(self, folder: Path, channels: int) -> None:
        self.judge, self.features = Seen(1), Seen(4)
        self.context = GenerationContext(RunFolder(folder), self.number, 7)
        self.real = ArrayImages(stored(channels, name="real"))
        self.asked: list[str] = []

    @property
    def folder(self) -> GenerationFolder:
        """Its files."""
        return self.context.folder

    def published(self, part: str) -> Any:
        """The network of a part; what it is nobody knows here."""
        self.asked.append(part)
        return Model(CosineSchedule())


class CuratorTrials(Trials):
    """Of a `Curator`."""

    kind = Curator
    name = "curator"

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        self._folder = tempfile.TemporaryDirectory(prefix="bootlight-check-")

    def one_each(self) -> str | None:
        """One row for each image, in the same order."""
        only = None
        for labelled in (True, False):
            asked = self._rows(labelled)
            try:
                rows = self._asked(self.thing, labelled)
            except Exception:
                if labelled:
                    raise
                only = "where images have labels"
                continue
            demand(len(rows) == COUNT, f"it answers {len(rows)} rows about {COUNT} images; an image that goes has keep=False")
            wrong = [i for i in range(COUNT) if not isinstance(rows[i], Row) or rows[i].file_name != asked[i].file_name]
            demand(wrong == [], f"row {wrong[:1]} is about another image than the one in its place: keep the order")
        return only

    def possible(self) -> None:
        """Something is kept and counts; weights, labels and noise ranges can be."""
        rows = self._asked(self.thing)
        demand(any(row.keep for row in rows), "no image is kept: later generations would have none to train on")
        demand(any(row.keep and row.weight > 0 for row in rows), "all images that are kept have weight 0")
        for row in rows:
            weight, label, (low, high) = row.weight, row.label, row.noise or (0, math.inf)
            demand(0 <= weight < math.inf, f"{row.file_name} gets weight {weight}; give a finite number from 0 on")
            known = label is None or (isinstance(label, int | np.integer) and 0 <= label < CLASSES)
            demand(known, f"{row.file_name} gets label {label!r}, of {CLASSES} classes")
            demand(0 <= low <= high, f"{row.file_name} gets noise {row.noise}; give the least and the largest sigma")
            demand(isinstance(row.why, str), f"why is {row.why!r} of {row.file_name}; give a word or two")

    def sure(self) -> None:
        """The same images are always judged alike, also by a fresh one."""
        rows = repeated(
            lambda: self._asked(self.thing), lambda a, b: a == b, "rows", "take randomness from generation.context.seed"
        )
        demand(self._asked(self._fresh(1)) == rows, "a fresh one judges otherwise: a run that was interrupted would go on so")

    def identity(self) -> None:
        """With the settings that it calls `identity` all images are kept, count alike and have their labels."""
        curator = self._at_identity()
        rows, asked = self._asked(curator), self._rows(True)
        alike = all(row.keep for row in rows) and len({row.weight for row in rows}) == 1
        demand(alike, f"with {dict(curator.identity)} some are not kept, or count otherwise than others")
        demand([row.label for row in rows] == [row.label for row in asked], f"with {dict(curator.identity)} labels change")

    def _rows(self, labelled: bool) -> list[Row]:
        return [Row(f"00000/{i:06d}.png", label=i % CLASSES if labelled else None) for i in range(COUNT)]

    def _asked(self, curator: Any, labelled: bool = True) -> list[Row]:
        for channels in (3, 1):
            generation = StandIn(Path(self._folder.name), channels)
            try:
                return list(curator.rows(self._rows(labelled), ArrayImages(stored(channels)), generation))
            except Exception as error:
                if generation.asked:
                    asked = ", ".join(generation.asked)
                    raise NotHere(f"it judges by {asked}, a published network of which there is none here") from error
                if channels == 1 or not isinstance(error, BootlightError):
                    raise
        raise NotHere("it judges neither colored nor grey images")

    def _close(self) -> None:
        self._folder.cleanup()
