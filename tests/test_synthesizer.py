"""Synthesizers: requests as columns, parents in one batch, clips that go on where they were, labels that are asked for."""

import os
from itertools import pairwise

import numpy as np
import pytest
import torch
from gaussian import Gaussian
from hypothesis import given, settings
from hypothesis import strategies as st

from bootlight.data.generation_images import GenerationImages
from bootlight.data.mixing import Source
from bootlight.data.store import store_from_arrays
from bootlight.diffusion.compose import Composition
from bootlight.distributed.stopping import stop_request
from bootlight.errors import BootlightError
from bootlight.io.pictures import decode, to_float, to_uint8
from bootlight.rng import derive_seed
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder
from bootlight.runs.manifest import read_metadata
from bootlight.synthesis.asking import check_needs, check_protocol, drawing_of, previews
from bootlight.synthesis.batches import Share, in_batches
from bootlight.synthesis.complete import complete
from bootlight.synthesis.drawing import draw_missing
from bootlight.synthesis.folder import as_stored, preview_seeds, shared_labels
from bootlight.synthesis.requests import Request, Requests, as_requests
from bootlight.synthesis.synthesizer import Draw, Synthesizer, variants
from bootlight.synthesis.written import Written


def generator(num_classes=None, dtype="uint8"):
    """Normal pixels of mean 0.2 and deviation 0.1."""
    module = Gaussian(4, 3)
    module.image_dtype = dtype
    module.num_classes = num_classes
    module.count.fill_(1.0)
    module.sums[0], module.sums[1] = 0.2, 0.2**2 + 0.1**2
    return module


@pytest.fixture
def context(tmp_path):
    return GenerationContext(RunFolder(tmp_path / "run"), 1, 7)


REAL = store_from_arrays(
    np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8),
    np.array([0, 1, 0, 1, 0, 0]),
    ("cat", "dog"),
    [f"pets/{i}.png" for i in range(6)],
)
IMAGES = GenerationImages(REAL.labels[[4, 1, 3]], REAL.class_names, Source("real", REAL, np.array([4, 1, 3])))


# Requests


COLUMNS = Requests(
    [5, 6, 7, 8], torch.tensor([0, 1, 0, 1]), [("a",), ("b", "c"), ("a",), ("d",)], [1, 2, 1, None], [2, 0, 3, 1]
)


def test_columns_and_rows_are_the_same_requests():
    rows = list(COLUMNS)
    assert rows[1] == Request(0, 6, 1, ("b", "c"), 2) and len(COLUMNS) == 4
    for requests in (as_requests(rows, 4, "X"), as_requests(COLUMNS, 4, "X")):
        assert list(requests) == rows and list(requests[1:3]) == rows[1:3]
        assert [row.index for row in requests.in_order()] == [0, 1, 2, 3]
        assert requests.in_order()[3] == rows[2]
        assert [row.parents for row in requests.by_parents()] == [("a",), ("a",), ("b", "c"), ("d",)]
        assert requests.parent_names == ["a", "b", "c", "a", "d"]
    plain = Requests(range(10**9))  # nothing is made for each
    assert plain[10**8 :][5:7][1] == Request(10**8 + 6, 10**8 + 6)


@pytest.mark.parametrize(
    "rows", [[Request(0, 1)], [Request(0, 1), Request(0, 2)], [Request(1, 1), Request(2, 2)], [Request(0, 1, 1), Request(1, 2)]]
)
def test_requests_that_cannot_be_meant(rows):
    with pytest.raises(BootlightError, match="Mine"):
        as_requests(rows, 2, "Mine")


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30), st.integers(1, 9))
def test_those_of_a_parent_are_in_one_batch(names, batch_size):
    requests = Requests(range(len(names)), parents=[(name,) for name in names]).by_parents()
    batches = in_batches(requests, batch_size)
    assert [i for batch in batches for i in range(batch.start, batch.stop)] == list(range(len(names)))
    of = [{requests.parents[i] for i in range(batch.start, batch.stop)} for batch in batches]
    assert sum(map(len, of)) == len(set(names))  # no parent is in two
    for batch, inside in zip(batches, of, strict=True):
        assert batch.stop - batch.start <= batch_size or len(inside) == 1
    for one, two in pairwise(batches):  # as full as can be: those of the next parent do not fit
        group = sum(names == requests.parents[two.start] for names in requests.parents)
        assert one.stop - one.start + group > batch_size


# Parents


def test_images_by_name_are_the_real_ones_in_use():
    assert IMAGES.real_names == ["real/pets/4.png", "real/pets/1.png", "real/pets/3.png"]
    found = IMAGES.parents(["real/pets/3.png", "real/pets/4.png", "real/pets/3.png"])
    expected = torch.from_numpy(REAL.images[[3, 4, 3]]).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.equal(found, expected)
    assert IMAGES.labels_of(IMAGES.real_names).tolist() == [0, 1, 1]
    for name in ("real/pets/0.png", "pets/4.png", "probe/00000/000000.png", "real"):  # not in use; nowhere
        with pytest.raises(BootlightError):
            IMAGES.parents([name])


def test_variants_divide_their_parents_evenly(context):
    requests = variants(IMAGES, context, IMAGES.real_names, 8)
    assert [name for (name,) in requests.parents] == [IMAGES.real_names[i] for i in (0, 0, 0, 1, 1, 1, 2, 2)]
    assert requests.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert len(set(requests.seeds)) == 8 and len(set(requests.parent_seeds)) == 3
    later = variants(IMAGES, GenerationContext(context.run, 2, 7), IMAGES.real_names[:1], 1, "probe")
    assert later.parent_seeds[0] == requests.parent_seeds[0] and later.seeds[0] != requests.seeds[0]
    assert [name for (name,) in variants(IMAGES, context, IMAGES.real_names, 2).parents] == IMAGES.real_names[:2]
    with pytest.raises(BootlightError):
        variants(IMAGES, context, [], 2)


class Halfway(Synthesizer):
    """Means of parents and images; asks for them in an order of its own."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def requests(self, generator, data, context, count, into="samples"):
        rows = list(variants(data, context, data.real_names, count, into))
        return rows[1::2] + rows[::2]

    def draw(self, generator, requests, parents, done):
        self.seen.append(requests.parent_names)
        yield (parents + generator.sample(requests.seeds)) / 2


def drawn(drawing, folder, batch_size=3, **how):
    digests = draw_missing(drawing, folder, batch_size, **how)
    return {str(path.relative_to(folder.samples)): path.read_bytes() for path in sorted(folder.samples.rglob("*/*.*"))}, digests


def pixels(data):
    return decode(data, "x", image_size=4, channels=3).transpose(2, 0, 1)


def test_images_are_made_of_their_parents(context):
    synthesizer, module = Halfway(), generator()
    drawing = drawing_of(module, synthesizer, IMAGES, context, 8)
    files, digests = drawn(drawing, context.folder)
    assert sorted(map(len, synthesizer.seen)) == [2, 3, 3] and all(len(set(names)) == 1 for names in synthesizer.seen)
    complete(drawing, context.folder, generation=1, batch_size=3, digests=digests)
    asked = variants(IMAGES, context, IMAGES.real_names, 8)
    for i, row in enumerate(read_metadata(context.folder)):
        assert (row["parent"], row["seed"], row["label"]) == (asked[i].parents[0], asked[i].seed, asked[i].label)
        expected = to_uint8((IMAGES.parents(asked[i].parents) + module.sample([asked[i].seed])) / 2)[0]
        assert np.array_equal(pixels(files[row["file_name"]]), expected.numpy())
    context.folder.sample_file(4).unlink()
    again, _ = drawn(drawing, context.folder)
    assert again == files and len(synthesizer.seen) == 4 and len(synthesizer.seen[3]) == 3


def test_many_images_of_a_parent_are_told(context, capsys):
    one = GenerationImages(REAL.labels[[2]], REAL.class_names, Source("real", REAL, np.array([2])))
    synthesizer = Halfway()
    drawn(drawing_of(generator(), synthesizer, one, context, 5), context.folder, 3)
    assert len(synthesizer.seen) == 1 and "5 in a network call, over 3" in capsys.readouterr().out
    drawn(drawing_of(generator(), Halfway(), IMAGES, context, 6), context.folder.of_images("others"), 3)
    assert capsys.readouterr().out == ""


def test_previews_are_those_of_the_synthesizer_in_the_order_of_their_numbers(context):
    module = generator()
    found = previews(module, Halfway(), IMAGES, context, 3)
    expected = (IMAGES.parents(IMAGES.real_names) + module.sample(preview_seeds(context, 3))) / 2
    assert torch.equal(found, expected)
    plain = previews(module, Draw(), IMAGES, context, 5)
    assert torch.equal(plain, module.sample(preview_seeds(context, 5)))


def test_floats_may_have_parents_and_be_parents(context):
    store = store_from_arrays(np.random.default_rng(0).normal(0, 3, (4, 4, 4, 3)).astype(np.float32), names=list("abcd"))
    images = GenerationImages(store.labels, real=Source("real", store, np.arange(4)))
    module = generator(dtype="float32")
    drawing = drawing_of(module, Halfway(), images, context, 8)
    drawn(drawing, context.folder)
    for i, request in enumerate(variants(images, context, images.real_names, 8)):
        parent = torch.from_numpy(store.images[[i // 2]]).permute(0, 3, 1, 2)  # as it is: no range, nothing rounded
        expected = (parent + module.sample([request.seed])) / 2
        assert torch.equal(Written.by(module, context.folder).read([i]), expected)


# Clips


class Walk(Draw):
    """Each frame is half of the one before, as it was stored, and half a new image; notes what it draws."""

    length = 4

    def __init__(self, use_done=True) -> None:
        super().__init__()
        self.use_done = use_done
        self.steps = 0

    def draw(self, generator, requests, parents, done):
        frame = None
        for k in range(self.length):
            if self.use_done and done is not None and k < done.shape[1]:
                frame = done[:, k]
            else:
                self.steps += 1
                new = generator.sample([derive_seed(seed, k) for seed in requests.seeds])
                frame = as_stored(new if frame is None else (frame + new) / 2, generator.image_dtype)
            yield frame


def calm_clips(context, tmp_path):
    other = GenerationContext(RunFolder(tmp_path / "calm"), context.generation, context.seed)
    return drawn(drawing_of(generator(), Walk(), IMAGES, other, 20), other.folder, 2)[0]


def test_frame_k_of_request_i_is_image_i_times_length_and_k(context, tmp_path):
    module, walk = generator(), Walk()
    drawing = drawing_of(module, walk, IMAGES, context, 20)
    files, digests = drawn(drawing, context.folder, 2)
    assert walk.steps == 3 * 4 and len(files) == 20
    seeds = drawing.requests.seeds
    assert seeds == Draw().requests(module, IMAGES, context, 5).seeds
    for i, seed in enumerate(seeds):
        frame = None
        for k in range(4):
            new = module.sample([derive_seed(seed, k)])
            frame = to_float(to_uint8(new if frame is None else (frame + new) / 2))
            assert np.array_equal(pixels(context.folder.sample_file(4 * i + k).read_bytes()), to_uint8(frame)[0].numpy())
    complete(drawing, context.folder, generation=1, batch_size=2, digests=digests)
    rows = list(read_metadata(context.folder))
    assert [(row["seed"], row["frame"]) for row in rows] == [(seed, k) for seed in seeds for k in range(4)]
    shown = previews(module, Walk(), IMAGES, context, 6)  # the first clip, and half of the second
    assert torch.equal(shown[4], as_stored(module.sample([derive_seed(preview_seeds(context, 2)[1], 0)]))[0])


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 19), min_size=1), st.booleans(), st.sampled_from([1, 2]), st.sampled_from(["uint8", "float32"]))
def test_whatever_is_missing_of_a_clip_is_drawn_again_as_it_was(clips, missing, use_done, world_size, dtype):
    context, calm = clips[dtype]
    if dtype == "float32":  # a file has the same frame of two clips
        missing = {j for i in missing for j in (i, i ^ 4) if j < 20}
    for path in {file_of(context, i, dtype) for i in missing}:
        path.unlink()
    walks = []
    for rank in range(world_size):
        walks.append(Walk(use_done))
        drawing = drawing_of(generator(dtype=dtype), walks[-1], IMAGES, context, 20)
        found, _ = drawn(drawing, context.folder, 2, share=Share(rank, world_size))
    assert found == calm
    # A batch is two clips, the last one is alone. Of each, all frames from the first to the last that is missing are drawn.
    frames = {batch: sorted(i % 4 for i in missing if i // 8 == batch) for batch in range(3)}
    expected = sum(k[-1] - (k[0] if use_done else 0) + 1 for k in frames.values() if k)
    assert sum(walk.steps for walk in walks) == expected


def file_of(context, i, dtype):
    """Where an image lies; batches are of two clips of four frames."""
    if dtype == "uint8":
        return context.folder.sample_file(i)
    first = i - i % 8 + i % 4
    name = f"{first:06d}-{first:06d}" if first >= 16 else f"{first:06d}-{first + 4:06d}x4"
    return context.folder.samples / "00000" / f"{name}.npy"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder of calm clips, and its files, by the type of its numbers."""
    found = {}
    for dtype in ("uint8", "float32"):
        context = GenerationContext(RunFolder(tmp_path_factory.mktemp("clips") / "run"), 1, 7)
        drawing = drawing_of(generator(dtype=dtype), Walk(), IMAGES, context, 20)
        found[dtype] = context, drawn(drawing, context.folder, 2)[0]
    return found


def test_killed_before_any_file_a_clip_ends_the_same(context, tmp_path, monkeypatch):
    calm = calm_clips(context, tmp_path)
    real_replace = os.replace
    for kill in range(0, 20, 3):
        count = 0

        def killed(source, target, kill=kill):
            nonlocal count
            count += 1
            if count > kill:
                raise OSError(28, "killed")
            real_replace(source, target)

        for path in context.folder.samples.rglob("*.png"):
            path.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", killed)
            with pytest.raises(BootlightError):
                drawn(drawing_of(generator(), Walk(), IMAGES, context, 20), context.folder, 2)
        assert drawn(drawing_of(generator(), Walk(), IMAGES, context, 20), context.folder, 2)[0] == calm


def test_a_clip_stops_between_frames(context, tmp_path):
    class Asked(Walk):
        def draw(self, generator, requests, parents, done):
            for frame in super().draw(generator, requests, parents, done):
                stop_request.reason = "a test"
                yield frame

    calm = calm_clips(context, tmp_path)
    jobs = 0
    while len(list(context.folder.samples.rglob("*.png"))) < 20:
        with stop_request.listening():
            found, _ = drawn(drawing_of(generator(), Asked(), IMAGES, context, 20), context.folder, 2)
        jobs += 1
    assert found == calm and jobs == 12  # three batches of four frames


@pytest.mark.parametrize("answer", [[], [torch.zeros(2, 3, 4, 5)], [torch.zeros(1, 3, 4, 4)], [None], [3]])
def test_an_answer_of_another_shape_is_told(context, answer):
    class Wrong(Draw):
        def draw(self, generator, requests, parents, done):
            yield from answer

    with pytest.raises(BootlightError, match="Wrong"):
        drawn(drawing_of(generator(), Wrong(), IMAGES, context, 2), context.folder)
    assert not list(context.folder.samples.rglob("*.png"))


def test_what_a_synthesizer_needs_is_looked_at():
    class Narrow(Draw):
        needs = torch.nn.Linear

    with pytest.raises(BootlightError, match="Narrow draws with a Linear"):
        check_needs(Narrow(), generator(), 1)
    with pytest.raises(BootlightError, match="Walk"):
        check_needs(Walk(), generator(), 6)
    for length in (0, True, 1.5):
        walk = Walk()
        walk.length = length
        with pytest.raises(BootlightError, match="length"):
            check_needs(walk, generator(), 4)
    check_needs(Draw(), generator(), 1)


# Labels


@given(st.lists(st.floats(0, 5), min_size=1, max_size=6).filter(lambda weights: sum(weights) > 0.1), st.integers(1, 200))
def test_labels_are_within_one_of_the_share_that_was_asked_for(weights, count):
    found = np.bincount(shared_labels(weights, count, 3), minlength=len(weights))
    # Class i has the midpoints (j + 1/2) / n between two sums: their number is within 1 of n times the share; float64 rounds.
    assert found.sum() == count and (abs(found - count * np.array(weights) / sum(weights)) <= 1 + 1e-9).all()


def test_labels_by_weight(context):
    module = generator(2)
    plain = Draw().requests(module, IMAGES, context, 90).labels
    assert plain.bincount().tolist() == [30, 60]
    asked = Draw({"dog": 1.0, "cat": 3.0}).requests(module, IMAGES, context, 90)
    assert asked.labels.bincount().tolist() == [68, 22] or asked.labels.bincount().tolist() == [67, 23]
    assert asked.seeds == Draw().requests(module, IMAGES, context, 90).seeds
    assert Draw({"dog": 2}).requests(module, IMAGES, context, 4).labels.tolist() == [1] * 4
    for weights in ({}, {"cat": -1.0}, {"cat": 0.0}, {"cat": float("nan")}, {"cat": float("inf")}):
        with pytest.raises(BootlightError):
            Draw(weights)
    with pytest.raises(BootlightError, match="bird"):
        Draw({"bird": 1.0}).requests(module, IMAGES, context, 4)
    with pytest.raises(BootlightError, match="num_classes"):
        Draw({"dog": 1.0}).requests(generator(), IMAGES, context, 4)


def test_a_protocol_that_cannot_be_written_is_told_before_anything_is_drawn():
    class Untold(Draw):
        def protocol(self, generator):
            return super().protocol(generator) | {"factor": np.float32(2)}

    class Other(Composition):
        def __init__(self):
            self.references, self.share, self.other = {"other": "@0"}, 0.5, None

        def attach(self, parts):
            self.other = parts["other"]  # a network is no setting

        def __call__(self, denoiser):
            return denoiser

    other = Other()
    other.attach({"other": torch.nn.Linear(1, 1)})
    assert other.protocol() == {"class": "Other", "share": 0.5, "other": "@0"}
    check_protocol(Draw(), Gaussian(2), other)
    with pytest.raises(BootlightError, match="Untold, Gaussian"):
        check_protocol(Untold(), Gaussian(2), None)
    other.protocol = lambda: {"other": other.other}
    with pytest.raises(BootlightError, match="Other"):
        check_protocol(Draw(), Gaussian(2), other)
