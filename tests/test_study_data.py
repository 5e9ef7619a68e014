"""Teachers, copies, fresh real images and ratios: which images a generation trains on, by their pixels."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from few_digits import Drawn, FewDigits
from oracle import tiny_ddpm

from bootlight import Batch
from bootlight.bootstrap.checks import check_labels
from bootlight.data.around import WithCopies, WithTeacher
from bootlight.data.batches import gather
from bootlight.data.datamodule import BootstrapData
from bootlight.data.digits import Digits
from bootlight.data.mixing import Accumulate, AccumulateSubsample, FreshReal, Replace, Source
from bootlight.data.origin import StoreOrigin
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
        data = FewDigits(mixing=WithTeacher(text))
        real, taught = data.sources
        assert real is data.real and taught.role == "teacher" and taught.generation is None
        assert brightness(taught) == list(range(40))
        assert taught.store.labels[taught.indices].tolist() == [i % 10 for i in range(40)]
        assert (data.num_real, data.num_synthetic) == (90, 40)  # a tenth of the hundred is held out
        assert data.train_size(0, 7) == 130 and data.train_size(2, 7) == 144
    data.attach(GenerationContext(RunFolder(tmp_path / "teacher"), 2, 0))  # its own drawn images join as well
    data.mixing = WithTeacher(text, mixing=Replace())
    data.setup()
    assert [len(source) for source in data.sources] == [90, 40, 40]


def test_a_number_or_a_share_of_all_real_images_whatever_share_is_in_use(run, tmp_path):
    teacher = f"{tmp_path}/teacher@1"
    some = FewDigits(mixing=WithTeacher(teacher, fraction=0.3), real_fraction=0.7)
    assert (some.num_real, some.num_synthetic) == (63, 27)  # of 90
    fewer, other = (FewDigits(mixing=WithTeacher(teacher, number=10), subset_seed=seed) for seed in (0, 1))
    assert len(fewer.sources[1]) == 10
    assert set(brightness(fewer.sources[1])) < set(brightness(some.sources[1])) < set(range(40))
    assert brightness(fewer.sources[1]) != brightness(other.sources[1])
    assert len(FewDigits(mixing=WithTeacher(teacher, fraction=0)).sources) == 1
    assert FewDigits(num_real=5).num_real == 5 and len(FewDigits(num_real=5).available) == 90


def test_images_without_labels_teach_a_class_conditional_model_that_can_use_them(tmp_path):
    (tmp_path / "unlabelled").mkdir()
    for i in range(3):
        (tmp_path / "unlabelled" / f"{i}.png").write_bytes(encode_png(np.full((8, 8, 1), i, np.uint8)))
    data, model = FewDigits(mixing=WithTeacher(f"{tmp_path}/unlabelled")), tiny_ddpm(num_classes=10)
    check_labels(model, data)
    labels = gather(data.sources, np.arange(88, 93))[1]
    assert (labels[:2] >= 0).all() and labels[2:].tolist() == [-1, -1, -1]
    model.accepts_unlabelled = False
    with pytest.raises(BootlightError, match=r"num_classes is 10, but data\.mixing takes images of role teacher"):
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
    data = FewDigits(real_fraction=0.5, mixing=WithCopies(fraction=0.4))
    real, copies = data.sources
    assert (len(real), len(copies), copies.role) == (45, 36, "copy")
    assert set(copies.indices) <= set(real.indices) and len(set(copies.indices)) == 36
    assert copies.store is real.store
    assert len(FewDigits(mixing=WithCopies(fraction=0.0)).sources) == 1


def test_copies_are_of_the_real_images_of_the_generation():
    policy, parts = WithCopies(number=30, mixing=FreshReal(num_parts=3)), []
    for generation in range(3):
        sources = policy.sources(generation, Drawn(90, 10))
        assert set(sources[-1].indices) == set(sources[0].indices) and len(sources[-1]) == 30  # all thirty of the part
        parts.append(sources[0].indices.tolist())
    assert parts[0] != parts[1] != parts[2]


@pytest.mark.parametrize("mixing", [AccumulateSubsample(), Replace(keep_real=False)])
def test_copies_of_real_images_that_a_later_generation_lacks_are_refused_before(mixing):
    data = FewDigits(mixing=WithCopies(number=70, mixing=mixing))
    assert data.train_size(0, 100) == 160
    with pytest.raises(BootlightError, match=r"^data\.mixing\.number is 70: 70 copies, but only \d+ real images are in use;"):
        data.train_size(1, 100)
    assert FewDigits(mixing=mixing).train_size(1, 100) in (90, 100)  # without copies


def test_the_judge_sees_real_images_only(run, tmp_path):
    mixing = WithTeacher(f"{tmp_path}/teacher@1", mixing=WithCopies(fraction=0.1))
    data = FewDigits(mixing=mixing, num_real=10).for_judge(3, 4)
    data.setup()
    assert [source is data.real for source in data.sources] == [True] and len(data.real) == 90


@pytest.mark.parametrize(
    ("mixing", "options", "message"),
    [
        (("teacher@1", {"number": 41}), {}, r"data\.mixing\.number is 41: 41 images of .*teacher@1, which has 40; draw"),
        (("teacher@1", {"fraction": 0.5}), {}, r"data\.mixing\.fraction is 0\.5: 45 images of .*teacher@1, which has 40"),
        (("teacher@3", {}), {}, r"data\.mixing\.root: .*teacher@3: no generation 3 with images; .*teacher has 1"),
        (("nothing", {}), {}, r"data\.mixing\.root: .*nothing"),
        ((" ", {}), {}, r"data\.mixing\.root is empty"),
        (("x", {"number": 3, "fraction": 0.1}), {}, r"data\.mixing: WithTeacher takes either number or fraction"),
        (("x", {"number": -3}), {}, r"data\.mixing\.number is -3"),
        ((None, {}), {}, r"data\.mixing: WithCopies needs number or fraction"),
        ((None, {"fraction": -0.1}), {}, r"data\.mixing\.fraction is -0\.1"),
        ((None, {"fraction": 0.3}), {"real_fraction": 0.2}, r"data\.mixing\.fraction is 0\.3: 27 copies, but only 18"),
        (None, {"num_real": 91}, r"data\.num_real is 91, but digits has 90 to train on"),
    ],
)
def test_what_cannot_be_had_is_told(run, tmp_path, mixing, options, message):
    def policy():
        root, given = mixing
        return WithCopies(**given) if root is None else WithTeacher(f"{tmp_path}/{root}" if root.strip() else root, **given)

    with pytest.raises(BootlightError, match=f"^{message}"):
        FewDigits(**options, mixing=None if mixing is None else policy())


def test_of_images_that_will_be_drawn_the_number_alone_is_known(run, tmp_path):
    """What is planned for a teacher and for generations is what will be chosen, as far as numbers go."""
    teacher = f"{tmp_path}/teacher@1"
    policies = [
        WithTeacher(teacher, fraction=0.3, mixing=Replace(synthetic_ratio=0.2)),
        WithTeacher(teacher, mixing=AccumulateSubsample(20, synthetic_ratio=0.4)),
        WithCopies(number=9, mixing=Accumulate(keep_real=True)),
    ]
    for policy in policies:
        data = FewDigits(mixing=policy)
        there = [[len(source) for source in data.planned(generation, 40)] for generation in range(3)]
        later = BootstrapData(origin=data.origin, num_steps=1, mixing=policy)
        later.expected[teacher] = 40
        shutil.move(tmp_path / "teacher", tmp_path / "away")
        later.setup()
        assert [[len(source) for source in later.planned(generation, 40)] for generation in range(3)] == there
        shutil.move(tmp_path / "away", tmp_path / "teacher")
        data.attach(GenerationContext(RunFolder(tmp_path / "teacher"), 2, 0))
        if isinstance(policy.mixing, Replace):
            data.setup()
            assert [len(source) for source in data.sources] == there[2]
    huge = FewDigits().planned(1, 2**22)[1]
    assert len(huge) == 2**22 and huge.store.images.nbytes >= 2**28 > 64 * huge.store.images.base.nbytes  # takes no memory


def test_classes_of_a_teacher_that_is_a_folder_are_known_by_their_names(tmp_path):
    for name, grey in (("3", 30), ("7", 70), ("cat", 99)):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "a.png").write_bytes(encode_png(np.full((8, 8, 1), grey, np.uint8)))
    taught = FewDigits(mixing=WithTeacher(str(tmp_path / "set"))).sources[1]
    labels = taught.store.labels[taught.indices].tolist()
    assert dict(zip(brightness(taught), labels, strict=True)) == {30: 3, 70: 7, 99: -1}


def test_classes_of_a_teacher_that_is_a_run_are_known_by_their_names_where_it_noted_them(run, tmp_path):
    def labels():
        taught = FewDigits(mixing=WithTeacher(f"{tmp_path}/teacher@1")).sources[1]
        return taught.store.labels[taught.indices].tolist()

    write_json(run.model_config, {"class_names": list("9876543210")})
    assert labels() == [9 - i % 10 for i in range(40)]
    write_json(run.model_config, {"class_names": [*"012345678", "cat"]})
    with pytest.raises(BootlightError, match=r"^data\.mixing\.root: .*teacher@1 has images of class 'cat', which the real"):
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
    taught = FewDigits(mixing=WithTeacher(f"{tmp_path}/teacher@1/probe")).sources[1]
    assert brightness(taught) == list(range(30))
    assert taught.store.labels[taught.indices].tolist() == [9 - i % 10 for i in range(30)]


def test_unlabelled_data_take_a_labelled_teacher(run, tmp_path):
    origin, mixing = StoreOrigin(store_from_arrays(Digits().load()[0].images[:9])), WithTeacher(f"{tmp_path}/teacher@1")
    data = BootstrapData(origin=origin, num_steps=1, mixing=mixing)
    data.setup()
    taught = data.sources[1]
    assert len(taught) == 40 and set(taught.store.labels.tolist()) == {-1}


def test_fresh_real_images_are_in_one_generation_only():
    policy = FreshReal(num_parts=4)
    parts = []
    for generation in range(4):
        sources = policy.sources(generation, Drawn(18, 6, seed=1))
        assert [(source.role, source.generation) for source in sources[1:]] == [("synthetic", generation - 1)] * (
            generation > 0
        )
        parts.append(sources[0].indices.tolist())
    assert [len(part) for part in parts] == [4] * 4 and len({index for part in parts for index in part}) == 16
    assert policy.sources(0, Drawn(18, 6, seed=2))[0].indices.tolist() != parts[0]
    with pytest.raises(BootlightError, match=r"^data\.mixing\.num_parts is 4, which is too few for generation 4; set it"):
        policy.sources(4, Drawn(18, 6, seed=1))
    with pytest.raises(BootlightError, match=r"too many for 3 real images"):
        policy.sources(0, Drawn(3, 6))


def test_a_ratio_takes_the_same_images_of_a_generation_ever_after():
    policy = Accumulate(synthetic_ratio=0.25)
    mixed = {generation: policy.sources(generation, Drawn(20, 12)) for generation in range(1, 4)}
    for generation, sources in mixed.items():
        assert [len(source) for source in sources] == [20] + [5] * generation
    assert all(mixed[g][1].indices.tolist() == mixed[3][1].indices.tolist() for g in (1, 2))
    assert mixed[3][1].indices.tolist() != mixed[3][2].indices.tolist()
    with pytest.raises(BootlightError, match=r"synthetic_ratio is 0\.7: 14 images of each generation, which draws 12; raise"):
        Replace(synthetic_ratio=0.7).sources(1, Drawn(20, 12))
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
    taught = FewDigits(mixing=WithTeacher(str(folder.samples))).sources[1]
    assert sorted(taught.store.labels[taught.indices].tolist()) == [7, 8]
