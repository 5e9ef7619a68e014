"""Teachers, copies, fresh real images and ratios: which images a generation trains on, by their pixels."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from few_digits import FewDigits
from oracle import tiny_ddpm

from bootlight import Batch
from bootlight.bootstrap.checks import check_labels
from bootlight.data.batches import gather
from bootlight.data.mixing import Accumulate, AccumulateSubsample, FreshReal, Replace, Source
from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError
from bootlight.generators.gaussian import PixelGaussian
from bootlight.io.atomic import write_json
from bootlight.io.pictures import encode_png
from bootlight.rng import NoiseStreams
from bootlight.runs.context import GenerationContext
from bootlight.runs.curation import Row, write_curation
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.runs.manifest import write_metadata


@pytest.fixture
def run(tmp_path):
    """A run whose generation 1 has drawn 40 grey pictures, picture i of brightness i and label i % 10."""
    folder = RunFolder(tmp_path / "teacher").generation(1)
    (folder.samples / "00000").mkdir(parents=True)
    folder.path.with_name("gen_000").mkdir()
    rows = []
    for i in range(40):
        folder.sample_file(i).write_bytes(encode_png(np.full((8, 8, 1), i, np.uint8)))
        rows.append({"file_name": f"00000/{i:06d}.png", "label": i % 10})
    write_metadata(folder, rows)
    return folder


def brightness(source: Source) -> list[int]:
    return [int(value) for value in source.store.images[source.indices, 0, 0, 0]]


def test_images_of_a_teacher_join_every_generation(run, tmp_path):
    for text in (f"{tmp_path}/teacher@1", f"{tmp_path}/teacher"):
        data = FewDigits(teacher=text)
        real, taught = data.sources
        assert real is data.real and taught.role == "teacher" and taught.generation is None
        assert brightness(taught) == list(range(40))
        assert taught.store.labels[taught.indices].tolist() == [i % 10 for i in range(40)]
        assert (data.num_real, data.num_synthetic) == (90, 40)  # a tenth of the hundred is held out
        assert data.train_size(0, 7) == 130 and data.train_size(2, 7) == 144
    data.attach(GenerationContext(RunFolder(tmp_path / "teacher"), 2, 0))  # its own drawn images join as well
    data.mixing = Replace()
    data.setup()
    assert [len(source) for source in data.sources] == [90, 40, 40]


def test_a_number_or_a_share_of_all_real_images_whatever_share_is_in_use(run, tmp_path):
    teacher = {"teacher": f"{tmp_path}/teacher@1"}
    some = FewDigits(teacher_fraction=0.3, real_fraction=0.7, **teacher)
    assert (some.num_real, some.num_synthetic) == (63, 27)  # of 90
    fewer, other = FewDigits(num_teacher=10, **teacher), FewDigits(num_teacher=10, subset_seed=1, **teacher)
    assert len(fewer.sources[1]) == 10
    assert set(brightness(fewer.sources[1])) < set(brightness(some.sources[1])) < set(range(40))
    assert brightness(fewer.sources[1]) != brightness(other.sources[1])
    assert len(FewDigits(teacher_fraction=0, **teacher).sources) == 1
    assert FewDigits(num_real=5).num_real == 5 and len(FewDigits(num_real=5).available) == 90


def test_images_without_labels_teach_a_class_conditional_model_that_can_use_them(tmp_path):
    (tmp_path / "unlabelled").mkdir()
    for i in range(3):
        (tmp_path / "unlabelled" / f"{i}.png").write_bytes(encode_png(np.full((8, 8, 1), i, np.uint8)))
    data, model = FewDigits(teacher=f"{tmp_path}/unlabelled", num_steps=1), tiny_ddpm(num_classes=10)
    check_labels(model, data)
    labels = gather(data.sources, np.arange(88, 93))[1]
    assert (labels[:2] >= 0).all() and labels[2:].tolist() == [-1, -1, -1]
    model.accepts_unlabelled = False
    with pytest.raises(BootlightError, match=r"num_classes is 10, but images of data\.teacher have no label"):
        check_labels(model, data)


@pytest.mark.parametrize("missing", [1, 90])
def test_real_images_without_a_label_are_counted(missing):
    data = FewDigits()
    data.real.store.labels[data.real.indices[:missing]] = -1
    with pytest.raises(
        BootlightError, match=rf"^model\.num_classes is 10, but {missing} of the 90 images in use of digits have"
    ):
        check_labels(tiny_ddpm(num_classes=10), data)


def test_copies_are_of_the_real_images_in_use(tmp_path):
    data = FewDigits(real_fraction=0.5, duplicate_fraction=0.4)
    real, copies = data.sources
    assert (len(real), len(copies), copies.role) == (45, 36, "copy")
    assert set(copies.indices) <= set(real.indices) and len(set(copies.indices)) == 36
    assert copies.store is real.store
    assert len(FewDigits(duplicate_fraction=0.0).sources) == 1


def test_copies_are_of_the_real_images_of_the_generation(tmp_path):
    data = FewDigits(num_duplicates=30, mixing=FreshReal(num_parts=3), num_steps=1)
    data.synthetic = lambda generation: replace(data.holdout, role="synthetic", generation=generation)
    parts = []
    for generation in range(3):
        data.attach(GenerationContext(RunFolder(tmp_path), generation, 0))
        data.setup()
        assert set(data.sources[-1].indices) == set(data.sources[0].indices)  # all thirty of the part
        assert data.train_size(generation, 10) == sum(map(len, data.sources))
        parts.append(data.sources[0].indices.tolist())
    assert parts[0] != parts[1] != parts[2]


@pytest.mark.parametrize("mixing", [AccumulateSubsample(), Replace(keep_real=False)])
def test_copies_of_real_images_that_a_later_generation_may_lack_are_refused(mixing):
    data = FewDigits(num_duplicates=30, mixing=mixing)
    assert data.train_size(0, 100) == 120
    with pytest.raises(BootlightError, match=r"^data\.num_duplicates: later generations of data\.mixing may have fewer real"):
        data.train_size(1, 100)
    assert FewDigits(mixing=mixing).train_size(1, 100) in (90, 100)  # without copies


def test_the_judge_sees_real_images_only(run, tmp_path):
    data = FewDigits(teacher=f"{tmp_path}/teacher@1", duplicate_fraction=0.1, num_real=10).for_judge(3, 4)
    data.setup()
    assert [source is data.real for source in data.sources] == [True] and len(data.real) == 90


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": "{}/teacher@1", "num_teacher": 41}, r"data\.num_teacher asks for 41 images, but .*teacher@1 has 40"),
        ({"teacher": "{}/teacher@1", "teacher_fraction": 0.5}, r"data\.teacher_fraction is 0\.5: it asks for 45 images"),
        ({"teacher": "{}/teacher@3"}, r"data\.teacher: .*teacher@3: no generation 3 with images; .*teacher has 1"),
        ({"teacher": "{}/nothing"}, r"data\.teacher: .*nothing"),
        ({"num_teacher": 3}, r"data\.teacher is missing"),
        ({"teacher": "x", "num_teacher": 3, "teacher_fraction": 0.1}, r"set either data\.num_teacher or "),
        ({"duplicate_fraction": -0.1}, r"data\.duplicate_fraction is -0\.1"),
        ({"real_fraction": 0.2, "duplicate_fraction": 0.3}, r"data\.duplicate_fraction is 0\.3: 27 copies, but only 18"),
        ({"num_real": 91}, r"data\.num_real is 91, but digits has 90 to train on"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_told(run, tmp_path, options, message):
    options = {key: value.format(tmp_path) if isinstance(value, str) else value for key, value in options.items()}
    with pytest.raises(BootlightError, match=f"^{message}"):
        FewDigits(**options)


def test_classes_of_a_teacher_that_is_a_folder_are_known_by_their_names(tmp_path):
    for name, grey in (("3", 30), ("7", 70), ("cat", 99)):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "a.png").write_bytes(encode_png(np.full((8, 8, 1), grey, np.uint8)))
    taught = FewDigits(teacher=str(tmp_path / "set")).sources[1]
    labels = taught.store.labels[taught.indices].tolist()
    assert dict(zip(brightness(taught), labels, strict=True)) == {30: 3, 70: 7, 99: -1}


def test_classes_of_a_teacher_that_is_a_run_are_known_by_their_names_where_it_noted_them(run, tmp_path):
    def labels():
        taught = FewDigits(teacher=f"{tmp_path}/teacher@1").sources[1]
        return taught.store.labels[taught.indices].tolist()

    write_json(run.model_config, {"class_names": list("9876543210")})
    assert labels() == [9 - i % 10 for i in range(40)]
    write_json(run.model_config, {"class_names": [*"012345678", "cat"]})
    with pytest.raises(BootlightError, match=r"^data\.teacher: .*teacher@1 has images of class 'cat', which the real"):
        labels()
    write_json(run.model_config, {"class_names": [*"0123456789", "cat"]})  # of which it has drawn none
    assert labels() == [i % 10 for i in range(40)]
    write_json(run.model_config, {"class_names": ["0", "1"]})
    with pytest.raises(BootlightError, match=r"has labels beyond the 2 classes"):
        labels()
    write_json(run.model_config, {})  # an older run
    assert labels() == [i % 10 for i in range(40)]


def test_another_folder_of_a_run_teaches_as_its_samples_do(run, tmp_path):
    """By the classes that the run noted, and without what its curator left out."""
    probe = run.of_images("probe")
    run.samples.rename(probe.samples)
    run.drawn.rename(probe.drawn)
    write_json(run.model_config, {"class_names": list("9876543210")})
    rows = [Row(f"00000/{i:06d}.png", i < 30, i % 10) for i in range(40)]
    write_curation(probe, rows, 10)
    taught = FewDigits(teacher=f"{tmp_path}/teacher@1/probe").sources[1]
    assert brightness(taught) == list(range(30))
    assert taught.store.labels[taught.indices].tolist() == [9 - i % 10 for i in range(30)]


def test_unlabelled_data_take_a_labelled_teacher(run, tmp_path):
    class Unlabelled(FewDigits):
        def load_real(self):
            return store_from_arrays(super().load_real()[0].images), None

    taught = Unlabelled(teacher=f"{tmp_path}/teacher@1").sources[1]
    assert len(taught) == 40 and set(taught.store.labels.tolist()) == {-1}


def grey(count: int, generation: int | None = None) -> Source:
    store = store_from_arrays(np.zeros((count, 1, 1, 1), np.uint8))
    return Source("real" if generation is None else "synthetic", store, np.arange(count), generation)


def test_fresh_real_images_are_in_one_generation_only():
    policy, real = FreshReal(num_parts=4), grey(18)
    parts = []
    for generation in range(4):
        sources = policy.sources(generation, real=real, synthetic=lambda g: grey(6, g), seed=1)
        assert [(source.role, source.generation) for source in sources[1:]] == [("synthetic", generation - 1)] * (
            generation > 0
        )
        assert policy.size(generation, num_real=18, num_synthetic=6) == sum(map(len, sources))
        parts.append(sources[0].indices.tolist())
    assert [len(part) for part in parts] == [4] * 4 and len({index for part in parts for index in part}) == 16
    assert policy.sources(0, real=real, synthetic=grey, seed=2)[0].indices.tolist() != parts[0]
    with pytest.raises(BootlightError, match=r"^data\.mixing\.num_parts is 4, which is too few for generation 4; set it"):
        policy.sources(4, real=real, synthetic=lambda g: grey(6, g), seed=1)
    with pytest.raises(BootlightError, match=r"too many for 3 real images"):
        policy.size(0, num_real=3, num_synthetic=6)


def test_a_ratio_takes_the_same_images_of_a_generation_ever_after():
    policy, real = Accumulate(synthetic_ratio=0.25), grey(20)
    mixed = {g: policy.sources(g, real=real, synthetic=lambda k: grey(12, k), seed=3) for g in range(1, 4)}
    for generation, sources in mixed.items():
        assert [len(source) for source in sources] == [20] + [5] * generation
        assert policy.size(generation, num_real=20, num_synthetic=12) == 20 + 5 * generation
    assert all(mixed[g][1].indices.tolist() == mixed[3][1].indices.tolist() for g in (1, 2))
    assert mixed[3][1].indices.tolist() != mixed[3][2].indices.tolist()
    with pytest.raises(BootlightError, match=r"synthetic_ratio is 0\.7: 14 images of each generation, which draws 12; raise"):
        Replace(synthetic_ratio=0.7).sources(1, real=real, synthetic=lambda k: grey(12, k), seed=3)
    with pytest.raises(BootlightError, match=r"data\.mixing\.synthetic_ratio is -1"):
        Replace(synthetic_ratio=-1)


def test_the_pixel_gaussian_draws_what_it_has_fitted_times_its_bias():
    model = PixelGaussian(2, 1, sampling_bias=0.25)
    # Two images: mean 0.5 and variance 0.0625 in every pixel.
    model.count += 2
    model.sums[0] += 2 * 0.5
    model.sums[1] += 2 * (0.25 + 0.0625)
    mean, variance = model.fitted()
    assert mean.unique().tolist() == [0.5] and variance.unique().tolist() == [0.0625]
    seeds = list(range(500))
    noise = NoiseStreams(seeds).normal(1, 2, 2)
    drawn = model.sample(seeds)
    np.testing.assert_allclose(drawn, 0.5 + 0.125 * noise, atol=1e-6)  # float32; 0.125² = 0.25 · 0.0625
    assert model.protocol() == {"sampler": "PixelGaussian", "num_steps": 1, "sampling_bias": 0.25}
    with pytest.raises(BootlightError, match=r"model\.sampling_bias is -1"):
        PixelGaussian(2, 1, sampling_bias=-1)


def test_weights_reach_the_moments_of_the_pixel_gaussian():
    """As numpy's weighted averages; two batches add up, and whole weights are images that are there so often."""
    logged = {}
    images = torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([2.0, 0, 1, 3, 0.5, 1.5])

    def fitted(images, weights):
        model = PixelGaussian(2, 1)
        model.log = lambda name, value: logged.update({name: float(value)})
        for part in (slice(0, 4), slice(4, None)):
            model.training_step(Batch(images[part], None, 0, 0, 6, weights=None if weights is None else weights[part]), 0)
        return model.fitted()

    mean, variance = fitted(images, weights)
    pixels = images.double().numpy()
    expected = np.average(pixels, axis=0, weights=weights)
    # float64 sums of six numbers: 1e-15 of them.
    np.testing.assert_allclose(mean, expected, atol=1e-14)
    np.testing.assert_allclose(variance, np.average((pixels - expected) ** 2, axis=0, weights=weights), atol=1e-14)
    assert logged["train/loss"] == pytest.approx((0.5 * images[4].square().mean() + 1.5 * images[5].square().mean()).item() / 2)
    repeated = fitted(images[[0, 0, 2, 3, 3, 3]], None)
    for ours, theirs in zip(fitted(images[:4], weights[:4]), repeated, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-14)
    for ours, plain in zip(fitted(images, torch.ones(6)), fitted(images, None), strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-15)


def test_the_pixel_gaussian_refuses_several_processes(monkeypatch):
    for world_size in (1, 2):
        monkeypatch.setattr(PixelGaussian, "trainer", SimpleNamespace(world_size=world_size))
        model = PixelGaussian(2, 1)
        if world_size == 1:
            model.setup("fit")
        else:
            with pytest.raises(BootlightError, match="PixelGaussian trains in one process; set trainer"):
                model.setup("fit")


def test_the_folder_of_a_generation_is_told_from_one_that_is_called_samples(tmp_path):
    """Labels in a folder of that name are names of classes, unless a generation has written them."""
    folder = GenerationFolder(tmp_path / "x")
    (folder.samples / "7").mkdir(parents=True)
    (folder.samples / "8").mkdir()
    for name in "78":
        (folder.samples / name / "a.png").write_bytes(encode_png(np.zeros((8, 8, 1), np.uint8)))
    taught = FewDigits(teacher=str(folder.samples)).sources[1]
    assert sorted(taught.store.labels[taught.indices].tolist()) == [7, 8]
