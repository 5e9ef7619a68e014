"""Clips: pairs and triples of frames, gaps that widen with the steps, frames one after the other and their correction."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from test_closed_forms import named
from test_sinfusion_image import config, drawn
from tiny_runs import write_plain_pages

import bootlight
from bootlight.diffusion.prediction import Estimate
from bootlight.errors import BootlightError
from bootlight.rng import NoiseStreams
from bootlight.synthesis.requests import Requests


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


class Numbered(bootlight.StoreOrigin):
    """Frames whose pixels are 10 times their number, plus their column."""

    def __init__(self, count=9, height=4, width=6):
        frames = np.empty((count, height, width, 1), np.uint8)
        frames[:] = 10 * np.arange(count)[:, None, None, None] + np.arange(width)[None, None, :, None]
        super().__init__(bootlight.store_from_arrays(frames))


def seen(origin, batch_size=512, num_steps=1, first=0):
    data = bootlight.BootstrapData(origin=origin, holdout_fraction=0, batch_size=batch_size, num_steps=num_steps + first)
    data.setup()
    return list(data.train_dataloader())[first:]


def numbers(images):
    """Of the frames, and the columns where their windows begin."""
    corner = images[:, 0, 0, 0].int()
    return corner // 10, corner % 10


def test_pairs_are_of_one_place_and_every_gap_within_the_clip_is_equally_likely():
    count, gaps, n = 9, 3, 20_000
    (batch,) = seen(bootlight.FramePairs(Numbered(count), 2, gaps), n)
    (after, place), (before, other) = numbers(batch.images), numbers(batch.cond["before"])
    gap = batch.cond["gap"]
    assert torch.equal(after - before, gap.int()) and torch.equal(place, other)
    assert gap.abs().min() == 1 and gap.abs().max() == gaps
    for number in range(count):
        inside = [k for k in (-3, -2, -1, 1, 2, 3) if 0 <= number - k < count]
        own = gap[after == number]
        counts = np.array([int((own == k).sum()) for k in inside])
        assert counts.sum() == len(own) > n / count / 2
        # Six deviations of a binomial share.
        share = 1 / len(inside)
        assert np.abs(counts / len(own) - share).max() < 6 * (share * (1 - share) / len(own)) ** 0.5


def test_gaps_widen_with_the_steps_of_the_trainer():
    """Not with what a worker of the loader has seen, which begins anew with it: the fault of the published script."""
    pairs = bootlight.FramePairs(Numbered(), 2, gaps=3, widen_every=2)
    assert [pairs.most(step) for step in range(8)] == [1, 1, 2, 2, 3, 3, 3, 3]
    found = [int(batch.cond["gap"].abs().max()) for batch in seen(pairs, num_steps=6)]
    assert found == [1, 1, 2, 2, 3, 3]
    later = seen(pairs, num_steps=2, first=4)  # as resumed after step 4
    assert [int(batch.cond["gap"].abs().max()) for batch in later] == [3, 3]


def test_triples_are_neighbors():
    (batch,) = seen(bootlight.FrameTriples(Numbered(5), 2))
    (middle, place), (before, first), (after, last) = map(numbers, (batch.images, batch.cond["before"], batch.cond["after"]))
    assert torch.equal(before, middle - 1) and torch.equal(after, middle + 1) and set(middle.tolist()) == {1, 2, 3}
    assert torch.equal(place, first) and torch.equal(place, last)


def test_frames_are_no_mirror_images_and_two_are_no_film():
    with pytest.raises(BootlightError, match=r"data\.flip"):
        bootlight.BootstrapData(origin=bootlight.Crops(bootlight.MovingDots(8), 4), batch_size=1, num_steps=1, flip=True)
    with pytest.raises(BootlightError, match="2 frames"):
        bootlight.FramePairs(Numbered(2), 2).load()


# Clips from files


def test_a_folder_and_an_animation_are_the_same_clip(tmp_path):
    frames = bootlight.MovingDots([12, 20], 5).frames
    (tmp_path / "frames").mkdir()
    pictures = [Image.fromarray(frame) for frame in frames]
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / "frames" / f"{i}.png")
    options = {"save_all": True, "append_images": pictures[1:], "duration": 40}
    pictures[0].save(tmp_path / "a.webp", lossless=True, **options)
    pictures[0].save(tmp_path / "a.png", **options)
    for path in ("frames", "a.webp", "a.png"):
        assert np.array_equal(bootlight.Clip(str(tmp_path / path)).frames, frames)
    few = bootlight.Clip(str(tmp_path / "frames"), longest=10, every=2, most=2)
    assert few.frames.shape == (2, 6, 10, 3)
    kept = bootlight.Clip(str(tmp_path / "frames"), held_out=2)
    real, held_out = kept.load()
    assert np.array_equal(real.images, frames[:3]) and np.array_equal(held_out.images, frames[3:])


@pytest.mark.parametrize(
    ("sizes", "settings", "said"),
    [
        ([(8, 8)], {}, "frames"),
        ([(8, 8), (8, 9)], {}, "one size"),
        ([], {}, "no frames"),
        ([(8, 8)] * 3, {"held_out": 2}, "held out"),
    ],
)
def test_clips_that_are_none(tmp_path, sizes, settings, said):
    for i, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{i}.png")
    with pytest.raises(BootlightError, match=said):
        bootlight.Clip(str(tmp_path), **settings).load()
    with pytest.raises(BootlightError, match="nowhere"):
        bootlight.Clip(str(tmp_path / "nowhere")).load()


# Frames one after the other

WIDTH = 12


class Faded(bootlight.Denoiser):
    """Knows the frame after: that before, moved by the gap, a little darker."""

    def __init__(self, schedule, fade):
        super().__init__(schedule)
        self.fade = fade

    def forward(self, x_t, t, labels=None, *, before, gap):
        level = self.schedule.level(t)
        x0 = torch.stack([frame.roll(int(k), 2) for frame, k in zip(before, gap, strict=True)])
        x0 = (x0 + 1) * self.fade - 1
        return Estimate(x0, (x_t - level.signal * x0) / level.noise)


class Nearest(bootlight.Denoiser):
    """E[x0 | x_t] where the frames of a clip are all there is."""

    def __init__(self, schedule, frames):
        super().__init__(schedule)
        self.frames = frames

    def forward(self, x_t, t, labels=None):
        level = self.schedule.level(t)
        off = (x_t[:, None] - level.signal[:, None] * self.frames).square().flatten(2).sum(2)
        weight = torch.softmax(-off / (2 * level.noise.flatten()[:, None] ** 2), 1)
        x0 = torch.einsum("bn,nchw->bchw", weight, self.frames)
        return Estimate(x0, (x_t - level.signal * x0) / level.noise)


class Knows(bootlight.generators.denoising.DenoisingModule):
    image_dtype = "float32"

    def __init__(self, denoiser):
        super().__init__([8, WIDTH], 3, schedule=denoiser.schedule, sampler=bootlight.DDIM(10))
        self.known = denoiser

    def own_denoiser(self, ema=True):
        return self.known

    def training_step(self, batch, batch_idx): ...

    def configure_optimizers(self): ...


def rolled(gap=1, correction=0.1, fade=1.0, length=20, first=3, done=0):
    clip = torch.from_numpy(bootlight.MovingDots([8, WIDTH], WIDTH, dots=1).frames).permute(0, 3, 1, 2) / 127.5 - 1
    schedule = bootlight.CosineSchedule(50)
    rollout = bootlight.Rollout([8, WIDTH], length, gap=gap, correction=correction, first=first)
    rollout.attach({"predictor": Knows(Faded(schedule, fade))})
    projector = Knows(Nearest(schedule, clip))
    parents = None if first is None else clip[first][None]
    requests = Requests([5])

    def frames(known):
        with torch.no_grad():
            return torch.cat(list(rollout.draw(projector, requests, parents, known)))

    whole = frames(None)
    return clip, whole, frames(whole[None, :done]) if done else whole


@pytest.mark.parametrize("gap", [1, -1, 2])
def test_a_dot_moves_by_the_gap(gap):
    clip, frames, _ = rolled(gap, correction=0)
    for k, frame in enumerate(frames):
        torch.testing.assert_close(frame, clip[(3 + gap * (k + 1)) % WIDTH], atol=1e-4, rtol=0)  # DDIM in float32


def test_correction_keeps_twenty_frames_where_the_clip_is():
    """The dot fades by 5 % a frame, to 0.95^20 = 0.36 of its light; corrected it stays what is left after one frame."""
    clip, drifted, _ = rolled(fade=0.95, correction=0)
    _, corrected, _ = rolled(fade=0.95)

    def off(frame, k):
        return float((frame - clip[(4 + k) % WIDTH]).abs().max() / (clip + 1).max())

    assert off(drifted[-1], 19) == pytest.approx(1 - 0.95**20, abs=0.01)
    assert max(off(frame, k) for k, frame in enumerate(corrected)) < 0.05


def test_a_clip_goes_on_from_the_frames_that_are_there():
    _, whole, continued = rolled(fade=0.95, done=7)
    assert torch.equal(whole, continued)


def test_a_clip_may_begin_with_a_frame_of_its_own():
    clip, frames, _ = rolled(first=None, length=4, correction=0)
    near = [float((frames[0] - frame).abs().max()) for frame in clip]
    start = int(np.argmin(near))
    assert near[start] < 0.05  # ten steps of DDIM come so near to one of the frames
    torch.testing.assert_close(frames[3], frames[0].roll(3, 2), atol=1e-3, rtol=0)


def test_three_parts_of_a_generation_draw_a_clip(tmp_path):
    clip = named("MovingDots", size=12, count=6)
    pairs = {
        "model.network.beside": ["before"],
        "model.network.numbers": ["gap"],
        "data.origin": named("FramePairs", origin=clip, size=8, gaps=2),
    }
    stages = [
        named("Train", part="predictor", settings=pairs),
        named("Synthesize", n=4, synthesizer=named("Rollout", size=12, length=4)),
        named("Synthesize", into="back", n=2, synthesizer=named("Rollout", size=12, length=2, gap=-1, first=0)),
        named("Evaluate", of=["samples", "back"]),
    ]
    made = config(tmp_path / "run", clip, 8, [], holdout_fraction=0)
    made["bootstrap"]["stages"] = [named("Train"), *stages]
    bootlight.run(made)
    assert drawn(tmp_path / "run").shape == (4, 12, 12, 3) and drawn(tmp_path / "run", "back").shape == (2, 12, 12, 3)
    rows = [json.loads(line) for line in (tmp_path / "run/gen_000/back/metadata.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in rows] == [0, 1]
    assert "real/frame 000000" in json.dumps(rows[0])
    protocol = json.loads((tmp_path / "run/gen_000/samples/protocol.json").read_text())
    assert protocol["references"]["predictor"]["reference"] == "predictor" and protocol["gap"] == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"first": 99}, "first"), ({"size": 10, "first": 0}, "size"), ({"predictor": "nobody"}, "nobody")],
)
def test_one_line_before_any_training(tmp_path, settings, said):
    made = config(tmp_path / "run", named("MovingDots", size=12, count=6), 8, [], holdout_fraction=0)
    rollout = named("Rollout", **({"size": 12, "length": 4, "predictor": "model"} | settings))
    made["bootstrap"]["stages"] = [named("Train"), named("Synthesize", synthesizer=rollout)]
    with pytest.raises(BootlightError) as told:
        bootlight.run(made)
    assert said in str(told.value) and "\n" not in str(told.value)
    assert not list((tmp_path / "run").glob("gen_*/*"))


@pytest.mark.parametrize("settings", [{"gap": 0}, {"length": 1}, {"correction": -1.0}, {"first": -1}, {"size": 0}])
def test_numbers_that_cannot_be_meant(settings):
    with pytest.raises(BootlightError, match=next(iter(settings))):
        bootlight.Rollout(**({"size": 8} | settings))


def test_frames_have_noise_of_their_own():
    assert not torch.equal(NoiseStreams([1]).normal(3), NoiseStreams([2]).normal(3))
