"""Origins: which one is meant, further ones by name, and that they give what they say."""

import numpy as np
import pytest
import torch
from few_digits import FewDigits
from jsonargparse import ArgumentParser

from bootlight import (
    BootstrapData,
    Digits,
    GaussianImages,
    ImageFiles,
    MixingPolicy,
    OnlyReal,
    Origin,
    StoreOrigin,
    store_from_arrays,
)
from bootlight.bootstrap.check_features import check_features
from bootlight.bootstrap.parser import image_channels, image_size
from bootlight.data.batches import StepDataset
from bootlight.errors import BootlightError
from bootlight.evaluation.generation import Evaluation
from bootlight.evaluation.sets.real_images import check_same_images, describe_images
from bootlight.io.atomic import write_json
from bootlight.io.pictures import encode_png
from bootlight.metrics.features.features import PixelFeatures
from bootlight.rng import numpy_rng
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder


class Two(Origin):
    """Two images, of what shape and type one likes."""

    def __init__(self, array, shape=None, dtype=None):
        self.array = array
        self.shape = shape or (array.shape[3], *array.shape[1:3])
        self.dtype = dtype or array.dtype.name

    def load(self):
        return store_from_arrays(self.array), None


class Also(MixingPolicy):
    """Real images and those of another origin."""

    def __init__(self, name):
        self.name = name

    def sources(self, generation, archive):
        return [archive.real, archive.origin(self.name)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"data\.root is missing"),
        ({"root": "x", "image_size": 8, "origin": Digits()}, r"data\.root and data\.origin are both given"),
        ({"root": "x"}, r"data\.image_size is missing"),
        ({"root": [], "image_size": 8}, r"data\.root is an empty list"),
        ({"root": "x", "image_size": 0}, r"data\.image_size is 0"),
        ({"root": "x", "image_size": 8, "channels": 0}, r"data\.channels is 0"),
        *(
            ({"origin": Digits(), key: value}, rf"data\.{key} is {value}, but it belongs to data\.root; .* data\.origin\.{key}")
            for key, value in {"image_size": 8, "channels": 1, "label_column": "x", "max_bad": 3}.items()
        ),
    ],
)
def test_which_origin_is_meant(options, message):
    with pytest.raises(BootlightError, match=f"^{message}"):
        BootstrapData(**options, num_steps=1)


@pytest.mark.parametrize("make", [Digits, GaussianImages])
@pytest.mark.parametrize(("size", "channels"), [(8, 1), ([6, 5], 2), (9, 3)])
def test_shapes_are_what_is_loaded(make, size, channels):
    origin = make(size, channels)
    images = origin.load()[0].images
    height, width = (size, size) if isinstance(size, int) else size
    assert images.shape[1:] == (height, width, channels) and origin.shape == (channels, height, width)
    data = BootstrapData(origin=origin, num_steps=1)
    assert (data.image_size, data.channels, data.image_shape) == (size, channels, origin.shape)


def test_normal_pixels_are_those_of_their_seed():
    images = GaussianImages([3, 4], 2, count=50, deviation=0.1, image_seed=7).load()[0].images
    expected = numpy_rng(7, "gaussian images").normal(0, 0.1, (50, 3, 4, 2))
    # A grey level is 2 / 255 of the range; rounding is off by half of one at most.
    np.testing.assert_allclose(images / 127.5 - 1, expected, atol=0.5001 / 127.5)


@pytest.mark.parametrize(
    ("shape", "dtype", "array"),
    [
        ((1, 2, 3), "uint8", np.zeros((2, 3, 2, 1), np.uint8)),
        ((3, 2, 2), "uint8", np.zeros((2, 2, 2, 1), np.uint8)),
        ((1, 2, 2), "float32", np.zeros((2, 2, 2, 1), np.uint8)),
        ((1, 2, 2), "uint8", np.zeros((2, 2, 2, 1), np.float32)),
        ((1, 2, 2), "uint8", np.zeros((0, 2, 2, 1), np.uint8)),
    ],
)
def test_other_images_than_stated_are_refused(shape, dtype, array):
    with pytest.raises(BootlightError, match="Two"):
        BootstrapData(origin=Two(array, shape, dtype), num_steps=1).setup()


def test_floats_and_points_are_batches_as_they_are():
    points = np.arange(6, dtype=np.float32).reshape(3, 1, 1, 2) - 2.5
    data = BootstrapData(origin=StoreOrigin(store_from_arrays(points)), num_steps=1, batch_size=3, holdout_fraction=0)
    data.setup()
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert data.image_shape == (2, 1, 1) and sorted(batch.images.flatten().tolist()) == points.flatten().tolist()


def test_a_split_of_its_own_is_held_out_of_an_origin_too():
    train, test = (store_from_arrays(np.full((n, 2, 2, 1), n, np.uint8)) for n in (5, 3))
    data = BootstrapData(origin=StoreOrigin(train, test), num_steps=1)
    data.setup()
    assert (len(data.available), len(data.holdout), data.holdout.store is test) == (5, 3, True)


def test_further_origins_by_name(tmp_path):
    """Their name is their role where there is such a role; labels are known by the names of classes."""
    for name, grey in (("7", 70), ("cat", 99)):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "a.png").write_bytes(encode_png(np.full((8, 8, 1), grey, np.uint8)))
    further = {"noisy": ImageFiles(str(tmp_path / "set"), 8, 1), "others": Digits()}
    data = FewDigits(origins=further, mixing=Also("noisy"))
    noisy = data.sources[1]
    pixels = noisy.store.images[noisy.indices, 0, 0, 0].tolist()
    assert noisy.role == "noisy" and dict(zip(pixels, noisy.store.labels.tolist(), strict=True)) == {70: 7, 99: -1}
    assert (data.num_real, data.num_synthetic, data.num_steps) == (90, 0, 1) and data.train_size(4, 10) == 92
    assert list(data.archive.opened) == ["data.origins.noisy"]
    assert (FewDigits(origins=further, mixing=Also("others")).num_real, Digits().name) == (90 + 1797, "scikit-learn's digits")
    with pytest.raises(BootlightError, match=r"^data\.origins has no 'typo'; it has noisy, others"):
        FewDigits(origins=further, mixing=Also("typo"))
    with pytest.raises(BootlightError, match=r"^data\.mixing: a source of role noisy has images .* \(1, 9, 9\)"):
        FewDigits(origins={"noisy": Digits(9)}, mixing=Also("noisy"))


def test_a_mixture_with_too_few_weights_is_refused():
    class Short(MixingPolicy):
        def sources(self, generation, archive):
            whole = archive.real.weighted(2.0)
            return [whole.__class__("real", whole.store, whole.indices[:-1], weights=whole.weights)]

    with pytest.raises(BootlightError, match=r"role real has 90 weights for 89 images"):
        FewDigits(mixing=Short())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"root": "x", "image_size": 64}, (64, 3)),
        ({"root": "x", "image_size": [4, 6], "channels": 1}, ([4, 6], 1)),
        ({"origin": {"class_path": "bootlight.Digits", "init_args": {"image_size": [8, 9]}}}, ([8, 9], 1)),
        ({"origin": {"class_path": "bootlight.GaussianImages", "init_args": {"channels": 5}}}, (8, 5)),
    ],
)
def test_a_model_is_told_of_the_shape(given, told):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BootstrapData, "data")
    settings = {"class_path": "bootlight.BootstrapData", "init_args": given | {"num_steps": 1}}
    data = parser.parse_object({"data": settings}).data
    assert (image_size(data), image_channels(data)) == told


class Frames(Origin):
    """Pairs of frames, three by three pixels, of which a step sees a crop of two by two of the second, given the first."""

    def __init__(self, count=40):
        self.shape = (1, 2, 2)
        self.count = count

    @property
    def stored_shape(self):
        return (2, 3, 3)

    def load(self):
        frames = np.arange(self.count)[:, None, None, None] + 50 * np.arange(2) + np.arange(0, 54, 6).reshape(3, 3, 1)
        return store_from_arrays(frames.astype(np.uint8)), None

    def view(self, images, ids, step, uniform):
        corners = (2 * uniform("crop", 2)).long()
        crops = [image[:, y : y + 2, x : x + 2] for image, (y, x) in zip(images, corners.tolist(), strict=True)]
        pairs = torch.stack(crops)
        return pairs[:, 1:], {"before": pairs[:, :1], "corner": corners, "step": torch.full((len(images),), step)}


def seen(world_size=1, rank=0, workers=0, **options):
    data = BootstrapData(origin=Frames(), num_steps=3, batch_size=8, num_workers=workers, holdout_fraction=0, **options)
    data.setup()
    origin = data.train_dataloader().dataset.origin
    dataset = StepDataset(data.sources, 7, 3, 8, rank=rank, world_size=world_size, origin=origin)
    return data, [dataset[step] for step in range(3)]


def test_views_cannot_be_measured_against_what_is_stored(capsys):
    data, _ = seen()
    asked = Evaluation(features=lambda: PixelFeatures(2, 1), metrics=["kid"])
    with pytest.raises(BootlightError, match=r"evaluation\.features: .* 2 x 2 .* 3 x 3"):
        check_features(asked, data, 100)
    assert check_features(Evaluation(), data, 100) is None
    said = capsys.readouterr().out
    assert "only the judge is asked" in said and "2 x 2" in said  # nobody has asked for the network
    assert check_features(Evaluation(metrics=[]), data, 100) is None and capsys.readouterr().out == ""


def test_a_view_gives_crops_and_pairs_from_counters():
    data, batches = seen()
    shares = [seen(2, rank)[1] for rank in range(2)]
    corners = []
    for step, batch in enumerate(batches):
        halves = [share[step] for share in shares]
        assert torch.equal(torch.cat([half.images for half in halves]), batch.images)  # whatever the number of ranks
        assert all(torch.equal(torch.cat([half.cond[name] for half in halves]), batch.cond[name]) for name in batch.cond)
        assert batch.images.shape == (8, 1, 2, 2) and batch.cond["step"].tolist() == [step] * 8
        assert torch.equal(batch.images.int() - batch.cond["before"].int(), torch.full((8, 1, 2, 2), 50))
        y, x = batch.cond["corner"].T
        first = batch.cond["before"][:, 0, 0, 0].int() - 6 * (3 * y + x)  # the number of the pair
        assert sorted(first.tolist()) == sorted(set(first.tolist())) and 0 <= first.min() <= first.max() < 40
        corners.append(batch.cond["corner"].tolist())
    assert corners[0] != corners[1] != corners[2]
    moved = data.on_after_batch_transfer(batches[0], 0)
    # Both in [-1, 1], fifty grey levels apart; three roundings of float32, each below 2^-24.
    torch.testing.assert_close(moved.images - moved.cond["before"], torch.full((8, 1, 2, 2), 100 / 255), rtol=0, atol=2e-7)
    assert moved.cond["corner"].dtype == torch.int64
    assert FewDigits().train_dataloader().dataset.origin is None  # not called where it says nothing
    assert (data.image_shape, data.image_size) == ((1, 2, 2), 2)  # what a model is told


def test_a_view_that_gives_another_shape_is_told(monkeypatch):
    monkeypatch.setattr(Frames, "view", lambda self, images, *_: (images[:, :1], {}))
    with pytest.raises(BootlightError, match=r"^data\.origin: Frames\.view gives \(8, 1, 3, 3\) for 8 images; correct it"):
        seen()


def test_drawn_images_that_a_view_cannot_look_at_are_told_before_a_training():
    data, _ = seen()
    assert len(data.planned(0, 30)) == 1
    with pytest.raises(BootlightError, match=r"^data\.mixing: .* \(1, 2, 2\)"):  # Accumulate takes what generation 0 draws
        data.planned(1, 30)
    assert len(seen(mixing=OnlyReal())[0].planned(1, 30)) == 1


class Later(Also):
    """Those of the other origin from generation 1 on."""

    def sources(self, generation, archive):
        return super().sources(generation, archive)[: 1 + (generation > 0)]


def test_a_run_knows_what_its_mixtures_take_from_elsewhere(tmp_path):
    def data(further, mixing, part="model"):
        found = FewDigits(origins={"noisy": further}, mixing=mixing)
        found.attach(GenerationContext(run, 0, 0, part=part))
        found.train_size(1, 5)
        return found

    run = RunFolder(tmp_path)
    run.generation(0).samples.mkdir(parents=True)
    same, other = (StoreOrigin(store_from_arrays(np.full((3, 8, 8, 1), grey, np.uint8))) for grey in (1, 2))
    for mixing in (Also("noisy"), Later("noisy")):
        run.real_images.unlink(missing_ok=True)
        write_json(run.real_images, describe_images(data(same, mixing)))
        check_same_images(run, data(same, mixing))
        with pytest.raises(BootlightError, match=r"^data\.origins\.noisy does not hold the images that"):
            check_same_images(run, data(other, mixing))
        check_same_images(run, data(same, OnlyReal(), part="auxiliary"))  # which has a mixture of its own
    check_same_images(run, data(same, Also("noisy"), part="auxiliary"))
