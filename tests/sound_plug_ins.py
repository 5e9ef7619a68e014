"""Plug-ins in which nothing is wrong, though a check could stumble over them."""

import io
import time
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import nn

import bootlight
from bootlight.errors import BootlightError
from bootlight.rng import numpy_rng


class Lazy(bootlight.GeneratorModule):
    """Takes arguments by keyword alone, remembers what it has computed and when, and is grey when it is new."""

    def __init__(self, width=6, **sizes):
        super().__init__(**sizes)
        self.width = width
        self.images = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 64 * self.channels))
        nn.init.constant_(self.images[-1].bias, 0.3)
        nn.init.zeros_(self.images[-1].weight)
        self.began = 0.0
        self.grid = None

    @cached_property
    def scale(self):
        return torch.linspace(0.5, 1, 8)

    def draw(self, noise, labels):
        if self.grid is None:
            self.grid = torch.ones(8)
        images = self.images(noise.normal(self.width)).unflatten(1, self.image_shape)
        return torch.tanh(images * self.scale * self.grid)

    def training_step(self, batch, batch_idx):
        self.began = time.time()
        return ((self.images(batch.normal("x", self.width)) - batch.images.flatten(1)) ** 2).mean()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.01, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]


class Dropped(Lazy):
    """With dropout in training."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch._replace(images=nn.functional.dropout(batch.images, 0.2)), batch_idx)


class Conditional(Lazy):
    """For two classes."""

    def __init__(self, image_size, channels, num_classes=2):
        super().__init__(image_size=image_size, channels=channels, num_classes=num_classes)
        self.of_label = nn.Embedding(num_classes, 64)

    def draw(self, noise, labels):
        return super().draw(noise, labels) + 0.1 * self.of_label(labels).unflatten(1, self.image_shape)

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + self.of_label(batch.labels).square().mean()


class OfFloats(bootlight.PixelGaussian):
    """Numbers that are all above 0."""

    image_dtype = "float32"

    def draw(self, noise, labels):
        return super().draw(noise, labels).exp()


class LossSecondMoment(bootlight.TimestepSampler):
    """Timesteps by the root of the mean square of their losses, of a table alone (Nichol and Dhariwal 2021, section 3.3)."""

    observes = True

    def setup(self, schedule):
        super().setup(schedule)
        if schedule.num_timesteps is None:
            raise ValueError("model.timesteps needs a schedule with a table")
        self.register_buffer("losses", torch.ones(schedule.num_timesteps, dtype=torch.float64))

    def draw(self, u, position):
        p = self.losses.sqrt() / self.losses.sqrt().sum()
        t = torch.searchsorted(p.cumsum(0), u[position].double()).clamp(max=len(p) - 1)
        return t, (1 / (len(p) * p[t])).float()

    def observe(self, t, loss):
        for i, value in zip(t.long().tolist(), loss.tolist(), strict=True):
            self.losses[i] = 0.9 * self.losses[i] + 0.1 * value**2


class Strata(bootlight.TimestepSampler):
    """One image of a step in each of as many equal parts."""

    def draw(self, u, position):
        return self.schedule.drawn((position + u[position]).double() / len(u)), None


class SigmasAlone(bootlight.Heun):
    """For noise levels without a table."""

    def grid(self, schedule, start=None):
        if schedule.num_timesteps is not None:
            raise ValueError("model.sampler is for a SigmaSchedule")
        return super().grid(schedule, start)


class Flow(bootlight.Prediction):
    """noise - x0, which a rectified flow predicts."""

    def target(self, x0, noise, level):
        return noise - x0

    def x0(self, output, x_t, level):
        return (x_t - level.noise * output) / (level.signal + level.noise)

    def scale(self, level):
        return (1 + level.signal / level.noise) ** 2


class TwoHeads(bootlight.Prediction):
    """Image and noise, each from channels of its own; the mean of both estimates."""

    def num_outputs(self, channels):
        return 2 * channels

    def target(self, x0, noise, level):
        return torch.cat([x0, noise], 1)

    def x0(self, output, x_t, level):
        image, noise = output.chunk(2, 1)
        return (image + (x_t - level.noise * noise) / level.signal) / 2

    def scale(self, level):
        return 1.0


class Jpeg(bootlight.Corruption):
    """What a JPEG leaves."""

    level = 0.5

    def __call__(self, x, ids, seed):
        arrays = ((x + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        return torch.stack([self.coded(array) for array in arrays])

    def coded(self, array):
        file = io.BytesIO()
        Image.fromarray(array).save(file, "JPEG", quality=20)
        return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 127.5 - 1


class ForLabels(bootlight.Reward):
    """Likes images as bright as their label."""

    def forward(self, images, labels=None):
        return -(images.double().mean((1, 2, 3)) - 50 * labels).abs()


class ByJudge(bootlight.Curator):
    """Asks a network that has been published."""

    def rows(self, rows, images, generation):
        judge = generation.published("judge")
        scores = torch.cat([judge.logits(batch.float()) for batch in images.batches(64)])
        return [row._replace(keep=bool(score > 0)) for row, score in zip(rows, scores, strict=True)]


class ManyImages(bootlight.OnlyReal):
    """So many that few runs have them; a trial has fewer."""

    def __init__(self, number=1500):
        self.number = number

    def sources(self, generation, archive):
        if self.number > len(archive.real):
            raise BootlightError(f"data.mixing.number is {self.number}, of {len(archive.real)}")
        return [archive.real.take(numpy_rng(archive.seed, generation).permutation(len(archive.real))[: self.number])]

    def scaled(self, share):
        return ManyImages(max(1, int(self.number * share)))


class OfTheFit(bootlight.Draw):
    """Draws with a fitted model alone."""

    needs = bootlight.FittedGaussian


class Crops(bootlight.Digits):
    """Two crops of 6 x 6 pixels, the second one beside the first."""

    def __init__(self):
        super().__init__(8)
        self.shape = (1, 6, 6)

    @property
    def stored_shape(self):
        return (1, 8, 8)

    def load(self):
        return bootlight.Digits(8).load()

    def view(self, images, ids, step, uniform):
        tops, lefts = (3 * uniform("crop", 2)).long().T
        crops = [image[:, i : i + 6, j : j + 6] for image, i, j in zip(images, tops, lefts, strict=True)]
        return torch.stack(crops), {"top": tops, "age": torch.full_like(tops, step)}


class Notes(bootlight.Stage):
    """Writes a line."""

    def is_done(self, generation):
        return not generation.writes or (generation.folder.path / "note.txt").exists()

    def run(self, generation):
        if generation.writes:
            (generation.folder.path / "note.txt").write_text(
                f"{generation.number} {len(list(generation.folder.samples.glob('*/*')))}"
            )


class LogsMuch(Lazy):
    """Uses its logger and its trainer."""

    def training_step(self, batch, batch_idx):
        self.logger.log_metrics({"step": self.global_step})
        self.log("share", self.global_step / self.trainer.estimated_stepping_batches)
        return super().training_step(batch, batch_idx)


class Counts(Lazy):
    """Keeps a number in checkpoints by hand."""

    def __init__(self, image_size, channels):
        super().__init__(image_size=image_size, channels=channels)
        self.steps = 0

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return super().training_step(batch, batch_idx) / self.steps

    def on_save_checkpoint(self, checkpoint):
        checkpoint["steps"] = self.steps

    def on_load_checkpoint(self, checkpoint):
        self.steps = checkpoint["steps"]


class ByClass(bootlight.Curator):
    """The brightest image of each class."""

    def rows(self, rows, images, generation):
        bright = torch.cat([batch.float().mean((1, 2, 3)) for batch in images.batches(5)]).tolist()
        classes = sorted({row.label for row in rows}, key=int)
        best = {max((i for i, row in enumerate(rows) if row.label == label), key=bright.__getitem__) for label in classes}
        return [row._replace(keep=i in best) for i, row in enumerate(rows)]


class OwnSchedule(bootlight.TimestepSampler):
    """Does without what the base keeps."""

    def setup(self, schedule):
        self.levels = schedule

    def draw(self, u, position):
        return self.levels.drawn(u[position]), None


class ByAnotherName(nn.Module):
    """A network that calls its sizes otherwise."""

    def __init__(self, what: bootlight.Sizes, width=4):
        super().__init__()
        self.first = nn.Conv2d(what.shape[0], width, 1)
        self.last = nn.Conv2d(width, what.outputs, 1)

    def forward(self, x, t, labels=None):
        return self.last(torch.tanh(self.first(x) + torch.cos(t / 1000).view(-1, 1, 1, 1)))


class PureNoise(bootlight.GeneratorModule):
    """Nothing to learn: a law that is known."""

    def draw(self, noise, labels):
        return noise.normal(*self.image_shape) / 2

    def training_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        pass


class BesideAnother(Lazy):
    """Refers to another model, a frozen one that is not in its state, and draws half of what that draws."""

    references = {"base": "@-1/model"}  # noqa: RUF012

    def attach(self, parts):
        self.parts = [parts["base"].shortened()[0]]

    def draw(self, noise, labels):
        base = self.parts[0].draw(noise, labels)
        return (super().draw(noise, labels) + base) / 2


class OfTheJudge(BesideAnother):
    """Refers to a model of another kind than there is here."""

    def draw(self, noise, labels):
        return super().draw(noise, labels) * self.parts[0].judged(labels)
