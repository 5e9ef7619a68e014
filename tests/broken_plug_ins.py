"""Plug-ins as users write them, each with one usual mistake; `Sound` is what the generators would be without it."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from sound_plug_ins import Crops, LossSecondMoment
from torch import nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

import bootlight
from bootlight.data.store import store_from_arrays
from bootlight.diffusion.denoiser import Denoiser
from bootlight.diffusion.grid import Level
from bootlight.diffusion.prediction import Estimate


class Sound(bootlight.GeneratorModule):
    """A linear map of noise, trained towards the mean of the images."""

    def __init__(self, image_size, channels=1):
        super().__init__(image_size, channels)
        self.latent = nn.Linear(6, math.prod(self.image_shape))

    def draw(self, noise, labels):
        return torch.tanh(self.latent(noise.normal(6))).unflatten(1, self.image_shape)

    def training_step(self, batch, batch_idx):
        wanted = batch.images.mean(0).flatten()
        return ((self.latent(batch.normal("latent", 6)) - wanted) ** 2).mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


class GlobalNoise(Sound):
    def draw(self, noise, labels):
        count = len(noise.normal(1))
        return torch.tanh(self.latent(torch.randn(count, 6))).unflatten(1, self.image_shape)


class BatchNormTrains(Sound):
    def __init__(self, image_size, channels=1):
        super().__init__(image_size, channels)
        self.norm = nn.BatchNorm1d(6)

    def draw(self, noise, labels):
        self.norm.train()
        return torch.tanh(self.latent(self.norm(noise.normal(6)))).unflatten(1, self.image_shape)


class StateInAttribute(Sound):
    def __init__(self, image_size, channels=1):
        super().__init__(image_size, channels)
        self.seen = 0

    def training_step(self, batch, batch_idx):
        self.seen += len(batch.images)
        return super().training_step(batch, batch_idx) / (1 + self.seen)


class ZeroToOne(Sound):
    def draw(self, noise, labels):
        return torch.sigmoid(self.latent(noise.normal(6))).unflatten(1, self.image_shape)


class ZeroTo255(Sound):
    def draw(self, noise, labels):
        return (super().draw(noise, labels) + 1) * 127.5


class KeepsGradients(Sound):
    def draw(self, noise, labels):
        with torch.enable_grad():
            return super().draw(noise, labels)


class LooksAround(Sound):
    def draw(self, noise, labels):
        images = super().draw(noise, labels)
        return images - images.mean(0)


class NumpyTraining(Sound):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * np.random.random()


class Diverges(Sound):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) / 0


class OtherShape(Sound):
    def draw(self, noise, labels):
        return super().draw(noise, labels)[:, :, 1:]


class Crashes(Sound):
    def training_step(self, batch, batch_idx):
        return batch.pictures.mean()  # there is no such thing


class NoSecondImage(bootlight.DDIM):
    """Adds the same noise to all images."""

    def walk(self, grid, ask, x, noise, record):
        images = super().walk(grid, ask, x, noise, record)
        return images + 0.1 * torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(len(x)))


class OtherTransition(bootlight.Ancestral):
    """Tells a deviation that it does not draw with."""

    def transition(self, denoiser, x_t, grid, i, labels=None, **cond):
        mean, deviation = super().transition(denoiser, x_t, grid, i, labels, **cond)
        return mean, deviation * 1.5


class Shortfall(bootlight.DDIM):
    """Stops one step early."""

    def walk(self, grid, ask, x, noise, record):
        for i in range(grid.num_steps - 1):
            mean, deviation = self.step(grid, i, x, ask(x, i))
            if record is not None:
                record(i, x, mean, deviation)
            x = mean
        return x


class LowLevels(bootlight.TimestepSampler):
    """Prefers low levels, without weights."""

    def draw(self, u, position):
        return self.schedule.drawn(u[position] ** 1.1), None


class ForgetfulTimesteps(bootlight.TimestepSampler):
    """Keeps what it learns in an attribute."""

    observes = True
    mean = 0.0

    def draw(self, u, position):
        return self.schedule.drawn((u[position] + self.mean) % 1), None

    def observe(self, t, loss):
        self.mean = float(0.5 * self.mean + 0.5 * loss.mean())


class OwnCounters(bootlight.TimestepSampler):
    """Numbers by the place in the share of a process instead of that in the step."""

    def draw(self, u, position):
        return self.schedule.drawn(u[: len(position)]), None


class WrongSign(bootlight.V):
    """The target of v with its parts the wrong way round."""

    def target(self, x0, noise, level):
        return level.noise * x0 - level.signal * noise


class WrongScale(bootlight.Epsilon):
    def scale(self, level):
        return level.signal / level.noise


class TooFewOutputs(bootlight.LearnedVariance):
    def __init__(self):
        super().__init__(bootlight.Epsilon())

    def num_outputs(self, channels):
        return channels

    def split(self, output, x):
        return output[:, :1], output[:, 2:]


class Falling(bootlight.SigmaSchedule):
    """Has its levels the wrong way round."""

    def level(self, t):
        sigma = (self.sigma_min * self.sigma_max / t).view(-1, 1, 1, 1)
        return Level(torch.ones_like(sigma), sigma)


class Negative(bootlight.Weighting):
    def __call__(self, level):
        return torch.log(level.signal / level.noise)


class OverTheBatch(bootlight.DSM):
    """Divides by the mean over the batch."""

    def forward(self, denoiser, batch, t):
        loss, parts = super().forward(denoiser, batch, t)
        return loss / loss.mean(), parts


class OwnNoise(bootlight.DSM):
    """Noise that is not the batch's."""

    def forward(self, denoiser, batch, t):
        level = denoiser.schedule.level(t)
        noise = torch.randn_like(batch.images)
        output = denoiser.output(level.signal * batch.images + level.noise * noise, t, batch.labels)
        loss = denoiser.prediction.error(output, batch.images, noise, level)
        return loss, {"mse": loss}


class Detached(bootlight.DSM):
    def forward(self, denoiser, batch, t):
        with torch.no_grad():
            return super().forward(denoiser, batch, t)


class NotQuiteNothing(bootlight.Extrapolate):
    """Extrapolates a little more than it says."""

    identity = {"w": 0.0}  # noqa: RUF012

    def __init__(self):
        super().__init__("@-1/model", 0.5)

    def __call__(self, denoiser):
        composed = super().__call__(denoiser)
        composed.w += 0.1
        return composed


class NoiseByPlace(bootlight.GaussianNoise):
    """Noise that belongs to a place in the batch and not to an image."""

    def __init__(self):
        super().__init__(0.3)

    def __call__(self, x, ids, seed):
        return x + self.tau * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


class InPlace(bootlight.Corruption):
    level = 0.5

    def __call__(self, x, ids, seed):
        x[:, :, :4] = 0
        return x


class SaysNothing(bootlight.Clean):
    """Has no level, but changes images."""

    def __call__(self, x, ids, seed):
        return x / 2


class NotAdjoint(bootlight.Whole):
    def adjoint(self, y):
        return 2 * y


class Affine(bootlight.Whole):
    def project(self, x):
        return x + 1


class BetterThanOthers(bootlight.Reward):
    """Compares images with those that happen to be in the batch."""

    def forward(self, images, labels=None):
        bright = images.double().mean((1, 2, 3))
        return bright - bright.mean()


class OneForAll(bootlight.Reward):
    def forward(self, images, labels=None):
        return images.double().mean()


class Moody(bootlight.Reward):
    def forward(self, images, labels=None):
        return torch.rand(len(images))


class Learns(bootlight.Reward):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images, labels=None):
        self.seen += len(images)
        return images.double().mean((1, 2, 3))


class DropsRows(bootlight.Curator):
    def rows(self, rows, images, generation):
        return [row for i, row in enumerate(rows) if i % 2]


class Sorts(bootlight.Curator):
    def rows(self, rows, images, generation):
        bright = torch.cat([batch.float().mean((1, 2, 3)) for batch in images.batches(5)])
        return [rows[i] for i in bright.argsort(descending=True)]


class KeepsNothing(bootlight.Curator):
    def rows(self, rows, images, generation):
        return [row._replace(keep=False) for row in rows]


class NegativeWeights(bootlight.Curator):
    def rows(self, rows, images, generation):
        return [row._replace(weight=float(i - 3)) for i, row in enumerate(rows)]


class KeepsByChance(bootlight.Curator):
    def rows(self, rows, images, generation):
        return [row._replace(keep=np.random.random() < 0.5) for row in rows]


class Remembers(bootlight.Curator):
    """Judges the second generation otherwise than one that was interrupted before it."""

    calls = 0

    def rows(self, rows, images, generation):
        self.calls += 1
        return [row._replace(keep=self.calls < 3 or i > 0) for i, row in enumerate(rows)]


class OneSeed(bootlight.Draw):
    def requests(self, generator, data, context, count, into="samples"):
        return [bootlight.Request(i, context.seed) for i in range(count)]


class SameSeedsAgain(bootlight.Draw):
    def requests(self, generator, data, context, count, into="samples"):
        return [bootlight.Request(i, i) for i in range(count)]


class Shakes(bootlight.Draw):
    def draw(self, generator, requests, parents, done):
        for images in super().draw(generator, requests, parents, done):
            yield images + 0.1 * torch.randn_like(images)


class Levels(bootlight.Draw):
    """Brings all images of a batch to one brightness."""

    def draw(self, generator, requests, parents, done):
        for images in super().draw(generator, requests, parents, done):
            yield images - images.mean()


class StopsEarly(bootlight.Draw):
    length = 3


class Unrounded(bootlight.Draw):
    """Goes on from a frame as it was drawn; after an interruption from what is on the disk."""

    length = 3

    def draw(self, generator, requests, parents, done):
        frame = next(super().draw(generator, requests, parents, done))
        for k in range(self.length):
            if done is not None and k < done.shape[1]:
                frame = done[:, k]
            elif k:
                frame = (20 * frame).sin()
            yield frame


class OutOfRange(bootlight.OnlyReal):
    """Counts from 1."""

    def sources(self, generation, archive):
        count = len(archive.real.store.images)
        return [replace(archive.real, indices=np.arange(1, count + 1))]


class TakesHeldOut(bootlight.OnlyReal):
    """All images of the store, those that were held out among them."""

    def sources(self, generation, archive):
        return [replace(archive.real, indices=np.arange(len(archive.real.store.images)))]


class TakesDropped(bootlight.Replace):
    """Drawn images that a curator has left out."""

    def sources(self, generation, archive):
        found = super().sources(generation, archive)
        return [replace(s, indices=s.indices if s.role == "real" else np.arange(len(s))) for s in found]


class Gambles(bootlight.OnlyReal):
    def sources(self, generation, archive):
        return [archive.real.take(np.random.permutation(len(archive.real))[:20])]


class LooksAhead(bootlight.Accumulate):
    def synthetic_generations(self, generation):
        return range(generation + 1)


class NoStart(bootlight.MixingPolicy):
    """Forgets that before generation 0 nothing was drawn."""

    def sources(self, generation, archive):
        return [archive.real, archive.drawn(generation - 1)]


class NothingReal(bootlight.MixingPolicy):
    def sources(self, generation, archive):
        return [archive.drawn(number) for number in range(generation)]


class CountsTheFolder(bootlight.Replace):
    """As many real images as there are files, which the plan does not know."""

    def sources(self, generation, archive):
        real, *drawn = super().sources(generation, archive)
        return [real.take(np.arange(len(drawn[0].store.images) // 2)) if drawn else real, *drawn]


class FixedNumber(bootlight.OnlyReal):
    """So many images, also of a trial that has fewer."""

    def sources(self, generation, archive):
        if len(archive.real) < 50:
            raise bootlight.BootlightError("data.mixing: there are fewer than 50 real images")
        return [archive.real.take(np.arange(50))]


class OtherImages(bootlight.GaussianImages):
    """Says another shape than its images have."""

    def __init__(self):
        super().__init__(8, 3)
        self.shape = (1, 8, 8)

    def load(self):
        return bootlight.GaussianImages(8, 3).load()


class NeverTheSame(bootlight.Origin):
    def __init__(self, image_size, channels):
        self.shape = (channels, image_size, image_size)

    def load(self):
        channels, height, width = self.shape
        return store_from_arrays(np.random.randint(0, 256, (20, height, width, channels)).astype(np.uint8)), None


class Nameless(bootlight.Digits):
    """Tells other classes than its images have."""

    def class_names(self):
        return ()


class Standardized(nn.Module):
    """Normalizes over the batch also in eval mode; has a weight that nothing uses, and no row for "no label"."""

    def __init__(self, sizes):
        super().__init__()
        self.mix = nn.Conv2d(sizes.shape[0], sizes.outputs, 3, padding=1)
        self.unused = nn.Linear(3, 3)
        self.label = nn.Embedding(sizes.num_classes + 1, sizes.outputs)

    def forward(self, x, time, labels=None):
        out = self.mix((x - x.mean(0)) / (1 + x.std(0, correction=0)))
        return out if labels is None else out + self.label(labels)[:, :, None, None]


class RankNoise(Sound):
    """Another image on each process."""

    def draw(self, noise, labels):
        return super().draw(noise, labels) * (1 + self.global_rank) / 2


class HalfTones(bootlight.PixelGaussian):
    """Draws in [0, 1], nearly."""

    def draw(self, noise, labels):
        return (super().draw(noise, labels) + 1) / 2


class CountsSteps(Sound):
    """A counter that will matter after a thousand steps."""

    def __init__(self, image_size, channels=1):
        super().__init__(image_size, channels)
        self.steps = 0

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return super().training_step(batch, batch_idx) * (0.1 if self.steps > 1000 else 1)


class OwnGenerator(Sound):
    """A random generator of its own, which no checkpoint has."""

    def __init__(self, image_size, channels=1):
        super().__init__(image_size, channels)
        self.rng = torch.Generator().manual_seed(3)

    def training_step(self, batch, batch_idx):
        noise = torch.randn(len(batch.images), 6, generator=self.rng)
        return ((self.latent(noise) - batch.images.flatten(1)) ** 2).mean()


class OneNoiseForAll(bootlight.GaussianNoise):
    """The same noise on every image."""

    def __init__(self):
        super().__init__(0.3)

    def __call__(self, x, ids, seed):
        return x + self.tau * torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(seed))


class Unweighted(LossSecondMoment):
    """Prefers timesteps with large losses, without weights."""

    def draw(self, u, position):
        return super().draw(u, position)[0], None


class Unsaved(LossSecondMoment):
    """Buffers that are not part of a state."""

    def setup(self, schedule):
        super().setup(schedule)
        self.register_buffer("losses", self.losses, persistent=False)


class Unpublished(Sound):
    """What decides the images is published under a name that is for resuming alone."""

    unpublished = ("latent.",)

    def load_published(self, state):
        pass


class Unwritable(Sound):
    def protocol(self):
        return {"sampler": self.latent}


class OneStepMore(bootlight.DDIM):
    """Visits one level more than it says."""

    def grid(self, schedule, start=None):
        return schedule.grid(self.num_steps + 1, spacing=self.spacing, start=start)


class WithGradient(bootlight.DDIM):
    def __call__(self, denoiser, x, noise, labels=None, *, grid=None, record=None, **cond):
        grid = grid or self.grid(denoiser.schedule)
        return self.walk(grid, self.asking(denoiser, grid, labels, cond), x, noise, record)


class Untold(bootlight.DDIM):
    def protocol(self):
        return {"sampler": type(self).__name__, "num_steps": torch.tensor(self.num_steps)}


class Beyond(bootlight.TimestepSampler):
    """Levels that the schedule does not have."""

    biased = True

    def draw(self, u, position):
        return self.schedule.drawn(u[position]).double() * 1.5, None


class Relative(bootlight.Weighting):
    """Weights with a mean of 1 over the batch."""

    def __call__(self, level):
        ratio = (level.signal / level.noise) ** 2
        return ratio / ratio.mean()


class OneChannel(bootlight.Epsilon):
    """Says that the network has one channel, whatever the images have."""

    def num_outputs(self, channels):
        return 1


class TimeLost(bootlight.Epsilon):
    def inputs(self, x_t, level, seen):
        return x_t, seen.mean()


class Flat(bootlight.SigmaSchedule):
    """Levels of another shape."""

    def level(self, t):
        return Level(torch.ones_like(t), t)


class SaysItKeeps(bootlight.SigmaSchedule):
    keeps_variance = True


class Alike(bootlight.SigmaSchedule):
    """Tells networks nothing."""

    def seen(self, t):
        return torch.ones_like(t)


class DrawsBeyond(bootlight.SigmaSchedule):
    def drawn(self, u):
        return 2 * super().drawn(u)


class Averages(bootlight.DSM):
    """One loss of the batch."""

    def forward(self, denoiser, batch, t):
        loss, parts = super().forward(denoiser, batch, t)
        return loss.mean(), parts


class WeighsTwice(bootlight.DSM):
    def forward(self, denoiser, batch, t):
        loss, parts = super().forward(denoiser, batch, t)
        return loss if batch.weights is None else loss * batch.weights, parts


class WrongName(bootlight.Extrapolate):
    """Looks for a model under another name than it has asked for."""

    def __init__(self):
        super().__init__("@-1/model", 0.5)

    def attach(self, parts):
        self._auxiliary = parts["worse"]


class HalfEstimate(Denoiser):
    """Changes the image and leaves the noise as it was."""

    def __init__(self, schedule):
        super().__init__(schedule)

    def forward(self, x_t, t, labels=None, **cond):
        return Estimate(0 * x_t, 0 * x_t)


class BatchMean(Denoiser):
    """Takes the mean of the batch for the image."""

    def __init__(self, schedule):
        super().__init__(schedule)

    def forward(self, x_t, t, labels=None, **cond):
        level = self.schedule.level(t)
        x0 = x_t.mean(0, keepdim=True).expand_as(x_t)
        return Estimate(x0, (x_t - level.signal * x0) / level.noise)


class Forgets(bootlight.Alone):
    """Draws with a denoiser of its own, and not with that which it is given."""

    def __call__(self, denoiser):
        return HalfEstimate(denoiser.schedule)


class AveragesToo(bootlight.Alone):
    """Keeps the denoiser, and answers the mean of the batch."""

    def __call__(self, denoiser):
        composed = BatchMean(denoiser.schedule)
        composed.own = denoiser
        return composed


class UntoldComposition(bootlight.Alone):
    def protocol(self):
        return {"weight": torch.ones(2)}


class Chance(bootlight.Whole):
    """Not a view: it depends on names."""

    level = 0.5

    def __call__(self, x, ids, seed):
        return x + (ids % 7).view(-1, 1, 1, 1)


class Length0(bootlight.Draw):
    length = 0


class UntoldDraw(bootlight.Draw):
    def protocol(self, generator):
        return {"factor": np.float32(2)}


class Shapeless(bootlight.Digits):
    def __init__(self):
        super().__init__()
        self.shape = (8, 8)


class FlatAnswer(Standardized):
    def forward(self, x, time, labels=None):
        return super().forward(x, time, labels).flatten(1)


class DarkensInPlace(bootlight.Digits):
    def view(self, images, ids, step, uniform):
        return images.div_(2, rounding_mode="floor"), {}


class CropsByChance(Crops):
    """Another crop at each call."""

    def view(self, images, ids, step, uniform):
        return super().view(images, ids, step, lambda name, *shape: torch.rand(len(images), *shape))


class DoneInAttribute(bootlight.Stage):
    finished = False

    def is_done(self, generation):
        return self.finished

    def run(self, generation):
        self.finished = True


class AlwaysDone(bootlight.Stage):
    """Is done as soon as there is a folder."""

    def is_done(self, generation):
        return generation.folder.path.exists()

    def run(self, generation):
        pass


class SomeGenerations(bootlight.Stage):
    generations = "even"

    def is_done(self, generation):
        return (generation.folder.path / "done.txt").exists()

    def run(self, generation):
        (generation.folder.path / "done.txt").touch()


class NearlySimple(bootlight.P2):
    """Calls a setting the identity that is none."""

    identity = {"gamma": 1.0}  # noqa: RUF012


class NearlyClean(bootlight.GaussianNoise):
    identity = {"level": 0.0}  # noqa: RUF012  (which nothing reads)

    def __init__(self):
        super().__init__(0.3)


class NearlyAll(bootlight.ByReward):
    identity = {"share": 0.9}  # noqa: RUF012

    def __init__(self):
        super().__init__(bootlight.Brightness())


class Forgot(Sound):
    """Returns no loss."""

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)


class LogOfSignal(bootlight.DSM):
    """Is infinite at the lowest level."""

    def forward(self, denoiser, batch, t):
        loss, parts = super().forward(denoiser, batch, t)
        return loss / (t > 0), parts


class RandomFeatures(Sound):
    """A random matrix that is no buffer: another one wherever the model is loaded."""

    def __init__(self, image_size, channels=1):
        super().__init__(image_size, channels)
        self.features = torch.randn(6, 6)

    def draw(self, noise, labels):
        return torch.tanh(self.latent(noise.normal(6) @ self.features)).unflatten(1, self.image_shape)


class OwnAverage(Sound):
    """An average of the weights that no state has."""

    def __init__(self, image_size, channels=1):
        super().__init__(image_size, channels)
        self.averaged = [deepcopy(self.latent)]

    def on_train_batch_end(self, *args):
        with torch.no_grad():
            for mine, theirs in zip(self.averaged[0].parameters(), self.latent.parameters(), strict=True):
                mine.lerp_(theirs, 0.5)

    def draw(self, noise, labels):
        return torch.tanh(self.averaged[0](noise.normal(6))).unflatten(1, self.image_shape)


class Untrained(bootlight.Reward):
    """Judges by a network with the weights of the moment."""

    def __init__(self):
        super().__init__()
        self.score = nn.Conv2d(1, 1, 3)

    def forward(self, images, labels=None):
        return self.score(images.float().mean(1, keepdim=True)).mean((1, 2, 3))


class ShuffledOnce(bootlight.Digits):
    """In an order that is another one in each process."""

    def __init__(self):
        super().__init__()
        self.order = np.random.permutation(1797)

    def load(self):
        store, _ = super().load()
        return store_from_arrays(store.images[self.order], store.labels[self.order], store.class_names), None


class EachImage(Metric):
    """Answers with a number for each image."""

    def __init__(self):
        super().__init__()
        self.add_state("means", [], dist_reduce_fx="cat")

    def update(self, images):
        self.means.append(images.double().mean((1, 2, 3)))

    def compute(self):
        return dim_zero_cat(self.means)


class MeanOfSome(EachImage):
    """Takes other images each time."""

    def compute(self):
        means = dim_zero_cat(self.means)
        return means[torch.randperm(len(means))[:5]].mean()


class LastBatch(EachImage):
    """Knows the last batch alone."""

    def update(self, images):
        self.means = [images.double().mean((1, 2, 3))]

    def compute(self):
        return dim_zero_cat(self.means).mean()


class NeverForgets(EachImage):
    """Keeps its sums beside the states."""

    def __init__(self):
        super().__init__()
        self.total = self.count = 0

    def update(self, images):
        self.total += images.double().mean((1, 2, 3)).sum()
        self.count += len(images)

    def compute(self):
        return torch.as_tensor(self.total / self.count)


class LocalSum(Metric):
    """Says nothing of how states of processes become one."""

    def __init__(self):
        super().__init__()
        self.add_state("count", torch.zeros(()))

    def update(self, images):
        self.count += len(images)

    def compute(self):
        return self.count if self.count.ndim == 0 else self.count[0]


class HoldsALambda(LocalSum):
    """Cannot be sent to another process."""

    def __init__(self):
        super().__init__()
        self._reductions["count"] = torch.sum
        self.scale = lambda value: value


class TooFewHeads(bootlight.HeadWeights):
    def forward(self, answer, log_sigma, log_scale):
        return log_scale[:, :2]


class HeadsOfAll(bootlight.HeadWeights):
    """Weighs by what is usual in the batch."""

    def forward(self, answer, log_sigma, log_scale):
        return log_scale - log_scale.nan_to_num(neginf=0).mean(0)


class LoudHeads(bootlight.HeadWeights):
    """Listens to heads that can say nothing."""

    def forward(self, answer, log_sigma, log_scale):
        return torch.zeros_like(log_scale)


class LastHeads(bootlight.HeadWeights):
    """Remembers the last image of a step."""

    observes = True

    def setup(self, heads):
        self.register_buffer("errors", torch.ones(heads))

    def forward(self, answer, log_sigma, log_scale):
        return log_scale - self.errors.log()

    def observe(self, log_sigma, errors):
        self.errors = errors[-1].float()


class ForgetfulHeads(LastHeads):
    """Remembers in an attribute."""

    def setup(self, heads):
        self.errors = torch.ones(heads)

    def observe(self, log_sigma, errors):
        self.errors = errors.mean(0).float()


class OfTheBatch(bootlight.StartNoise):
    """Measures the deviation over the batch."""

    def at_start(self, x, noise):
        return x + self.sigma * x.std() * noise.normal(*x.shape[1:])


class NoNoise(bootlight.ImageNoise):
    def at_end(self, x, noise):
        return x


class AlwaysSome(bootlight.LevelNoise):
    identity = {"sigma": 0.0}  # noqa: RUF012

    def at_level(self, x, noise):
        return x + (self.sigma + 0.1) * noise.normal(*x.shape[1:])


class UntoldNoise(bootlight.StartNoise):
    def protocol(self):
        return {"sigma": torch.tensor(self.sigma)}
