"""The classifier trained once on the real images: what it learns, what it is cached under, what it leaves untouched."""

import json

import numpy as np
import pytest
import torch
from few_digits import FewDigits, digits, equal, never, tensors, weights

from bootlight.errors import BootlightError
from bootlight.evaluation.networks.classifier_features import ClassifierFeatures
from bootlight.evaluation.networks.trained_networks import TrainedOnReal, load_network, real_images, reference_key, save_network
from bootlight.evaluation.sets.real_of_source import real_of_source
from bootlight.evaluation.sets.sources import StoreSource, open_source
from bootlight.io.pictures import encode_png, to_float
from bootlight.metrics.distances.kid import KernelDistance
from bootlight.networks.classifier import Classifier
from bootlight.networks.standardized import Standardized

CPU = torch.device("cpu")


def classifier(data, folder, **options):
    features = ClassifierFeatures("digits", **{"epochs": 0, "num_features": 8, **options})
    features.fit_real(real_images(data), folder, CPU)
    return features


# The key


def test_key_depends_on_the_images_in_use_and_the_settings():
    keys = [
        reference_key(FewDigits(), steps=1),
        reference_key(FewDigits(), steps=2),
        reference_key(FewDigits(subset_seed=1), steps=1),
        reference_key(FewDigits(num_images=90), steps=1),
        reference_key(FewDigits(holdout_fraction=0.2), steps=1),
        reference_key(FewDigits(lambda images, labels: (images // 2, labels)), steps=1),
        reference_key(FewDigits(lambda images, labels: (images, labels[::-1])), steps=1),
    ]
    assert len(set(keys)) == 7
    same = [FewDigits(), FewDigits(real_fraction=0.5), FewDigits(num_steps=99, batch_size=2)]  # all available images count
    assert {reference_key(data, steps=1) for data in same} == {keys[0]}
    assert reference_key(FewDigits(), a=1, b=2) == reference_key(FewDigits(), b=2, a=1)


def test_a_saved_network_is_loaded_in_eval_mode(tmp_path):
    first, second, file = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1), tmp_path / "new" / "weights.safetensors"
    first.weight.data = torch.tensor([[1.0], [2.0]]).T  # a view that is not contiguous
    save_network(first, file, {})
    assert not load_network(second.train(), file).training
    assert equal(second.state_dict(), first.state_dict())


# The classifier


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("references")
    return folder, classifier(digits(), folder, epochs=5, num_features=16)


def test_classifier_learns_the_digits(trained):
    # Measured after 5 epochs: 0.967, 0.969 and 0.953 with seeds 0, 1, 2; the standard error of 0.95 from 359 images is 0.0115.
    # An untrained one is right for a tenth.
    assert trained[1].protocol["classifier_held_out_accuracy"] > 0.9


def test_accuracy_is_that_on_the_held_out_images(trained):
    data, features = digits(), trained[1]
    inputs = to_float(tensors(data.holdout.store.images[data.holdout.indices]))
    with torch.no_grad():
        guesses = [int(features.network(image[None]).argmax()) for image in inputs]  # one by one
    wanted = data.holdout.store.labels[data.holdout.indices]
    share = np.mean([guess == label for guess, label in zip(guesses, wanted, strict=True)])
    assert features.protocol["classifier_held_out_accuracy"] == pytest.approx(share, abs=1e-12)
    assert features.protocol["classifier"] == next(trained[0].glob("*.safetensors")).stem
    assert features.channels == 1


def test_features_separate_the_classes(trained):
    """Nearest class mean, a rule that knows nothing of the classifier's head."""
    data, features = digits(), trained[1]
    with torch.no_grad():
        known = features(tensors(data.real_images(data.real)))
        asked = features(tensors(data.real_images(data.holdout)))
    assert known.shape == (1438, 16)
    labels = torch.from_numpy(data.real.store.labels[data.real.indices])
    means = torch.stack([known[labels == digit].mean(0) for digit in range(10)])
    nearest = torch.cdist(asked, means).argmin(1).numpy()
    assert (nearest == data.holdout.store.labels[data.holdout.indices]).mean() > 0.85  # measured 0.95


def test_second_fit_trains_nothing_and_gives_equal_features(trained, monkeypatch):
    folder, first = trained
    monkeypatch.setattr(ClassifierFeatures, "_train", never)
    torch.manual_seed(77)
    second = classifier(digits(real_fraction=0.3), folder, epochs=5, num_features=16)  # real_fraction does not count
    images = tensors(digits().real.store.images[:50].copy())
    assert torch.equal(first(images), second(images))
    assert second.protocol == first.protocol
    assert not second.network.training
    with pytest.raises(AssertionError, match="nothing is to be trained"):
        classifier(digits(subset_seed=1), folder, epochs=5, num_features=16)


def test_every_setting_has_a_file_of_its_own(tmp_path):
    options = [{}, {"epochs": 1}, {"num_features": 9}, {"learning_rate": 1e-3}, {"seed": 1}]
    folder = tmp_path / "references"
    stems = {classifier(FewDigits(), folder, **option).protocol["classifier"] for option in options}
    assert len(stems) == 5 == len(list(folder.glob("*.safetensors")))


def test_training_is_a_function_of_the_seed_and_the_images_in_use(tmp_path):
    def without_held_out(images, labels):
        held_out = FewDigits().holdout.indices
        images[held_out], labels[held_out] = 0, 0
        return images, labels

    torch.manual_seed(1)
    classifier(FewDigits(), tmp_path / "one", epochs=1)
    torch.manual_seed(2)
    classifier(FewDigits(without_held_out), tmp_path / "two", epochs=1)  # the held-out images are never trained on
    assert equal(weights(tmp_path / "one"), weights(tmp_path / "two"))
    classifier(FewDigits(), tmp_path / "three", epochs=1, seed=1)
    assert not equal(weights(tmp_path / "one"), weights(tmp_path / "three"))


def test_training_on_every_available_image_once_per_epoch_in_an_order_of_its_own(tmp_path, monkeypatch):
    passed, forward = [], Classifier.forward

    def noted(network, images):
        passed.extend(images.double().mul(torch.arange(64).reshape(8, 8)).sum((1, 2, 3)).tolist() if network.training else [])
        return forward(network, images)

    monkeypatch.setattr(Classifier, "forward", noted)
    classifier(FewDigits(real_fraction=0.5), tmp_path, epochs=3)
    epochs = [passed[:90], passed[90:180], passed[180:]]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2]) and len(set(epochs[0])) == 90
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_initial_weights_depend_on_the_seed(tmp_path):
    names = ("one", "same", "other")
    for name, seed in zip(names, (3, 3, 4), strict=True):
        torch.manual_seed(len(name))
        classifier(FewDigits(), tmp_path / name, epochs=0, seed=seed)
    one, same, other = (weights(tmp_path / name) for name in names)
    assert equal(one, same) and not equal(one, other)


def test_classifier_leaves_global_randomness_alone(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    classifier(FewDigits(), tmp_path, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_held_out_images_there_is_no_accuracy(tmp_path):
    features = classifier(FewDigits(holdout_fraction=0), tmp_path)
    assert features.protocol["classifier_held_out_accuracy"] is None


@pytest.mark.parametrize("missing", [1, 100])
def test_unlabelled_images_are_refused(tmp_path, missing):
    def unlabelled(images, labels):
        labels[FewDigits(holdout_fraction=0).real.indices[-missing:]] = -1
        return images, labels

    with pytest.raises(BootlightError, match=r"^evaluation\.features is ClassifierFeatures, but .* no labels; use") as error:
        classifier(FewDigits(unlabelled, holdout_fraction=0), tmp_path)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_use_before_training_is_refused():
    features = ClassifierFeatures("digits")
    assert isinstance(features, TrainedOnReal)
    with pytest.raises(BootlightError, match="must be trained by fit_real"):
        features(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


# Its scale, and other data


def test_features_have_mean_0_and_variance_1_over_the_images_it_was_trained_on(trained):
    data = digits()
    with torch.no_grad():
        features = trained[1](tensors(data.real_images(data.available))).double()
    # Single precision of numbers of order 1, averaged over 1,438 images: far below 1e-5.
    assert features.mean(0).abs().max() < 1e-5
    assert (features.std(0, correction=0) - 1).abs().max() < 1e-5


def test_the_polynomial_kernel_means_something(trained):
    """Of features with variance 1 the kernel (x.y / D + 1)^3 is of order 1 to 10, and so are its distances, at any scale."""
    data = digits()
    metric = KernelDistance(features=trained[1], sync_on_compute=False)
    with torch.no_grad():
        asked = trained[1](tensors(data.real_images(data.holdout)))
        noise = trained[1](torch.randint(256, (200, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)))
    known = trained[1](tensors(data.real_images(data.available))).detach()
    held_out, other = (metric.measure(known, features)["kid"].value for features in (asked, noise))
    # Both are at home near 0: measured 0.011 and 4.7. Features as the classifier has them gave 9e3 and 1e6.
    assert abs(held_out) < 0.05 < other < 100


@pytest.mark.parametrize("constant", [0.0, 5.0, 1e4])
def test_a_constant_feature_is_moved_to_0_and_not_blown_up(constant):
    scale = Standardized(2)
    scale.learn(torch.tensor([[1.0, constant], [3.0, constant]]))
    assert scale(torch.tensor([[3.0, constant], [5.0, constant + 1]])).tolist() == [[1.0, 0.0], [3.0, 1.0]]


def test_one_example_is_at_0():
    scale = Standardized(3)
    scale.learn(torch.tensor([[1.0, -2.0, 7.0]]))
    assert scale(torch.tensor([[1.0, -2.0, 7.0], [2.0, -2.0, 7.0]])).tolist() == [[0, 0, 0], [1, 0, 0]]


# Sets of images that `evaluate` and `compare` are given


def test_a_run_and_a_set_of_the_same_images_share_a_network(tmp_path):
    data = FewDigits(holdout_fraction=0)
    of_run, of_set = real_images(data), real_of_source(StoreSource("digits", data.real.store), tmp_path)
    assert of_run.key == of_set.key and of_run.settings_key(a=1) == of_set.settings_key(a=1) != of_set.settings_key(a=2)
    assert np.array_equal(of_run.images, of_set.images) and np.array_equal(of_run.labels, of_set.labels)


@pytest.fixture
def folders(tmp_path):
    """Pictures in class folders, dark a and bright b, of two sizes."""
    rng = np.random.default_rng(0)
    for name, low in (("a", 0), ("b", 128)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(low, low + 128, (8 + 2 * (i % 2), 10, 3), dtype=np.uint8)
            (tmp_path / "set" / name / f"{i}.png").write_bytes(encode_png(pixels))
    return tmp_path / "set"


def test_pictures_in_class_folders_become_one_size_with_their_labels(folders, tmp_path):
    real = real_of_source(open_source(str(folders), image_size=None, cache=tmp_path / "cache"), tmp_path)
    assert real.images.shape == (12, 8, 8, 3) and real.shape == (3, 8, 8)  # the shortest edge
    assert real.class_names == ("a", "b") and real.labels.tolist() == [0] * 6 + [1] * 6
    assert ((real.images.mean((1, 2, 3)) > 128) == real.labels).all()


def test_keys_follow_the_content(folders, tmp_path):
    def key():
        return real_of_source(open_source(str(folders), image_size=None, cache=tmp_path / "cache"), tmp_path).key

    first = key()
    moved = folders.rename(tmp_path / "elsewhere")
    assert real_of_source(open_source(str(moved), image_size=None, cache=tmp_path / "cache"), tmp_path).key == first
    moved.rename(folders)
    (folders / "a" / "0.png").rename(folders / "b" / "zero.png")  # another label
    assert key() != first


def test_evaluate_trains_on_class_folders_once(bootlight, folders, tmp_path, capsys, monkeypatch):
    network = ["--features=bootlight.ClassifierFeatures", "--features.name=ab", "--features.epochs=1"]
    sets = [f"--real={folders}", f"--synthetic={folders}", f"--cache={tmp_path / 'cache'}"]
    command = ["evaluate", *sets, *network, "--features.num_features=2", "--metrics=fd", "--json"]
    bootlight(*command)
    score = json.loads(capsys.readouterr().out)["scores"]["fd-ab"]
    assert score["value"] == pytest.approx(0, abs=1e-6) and score["protocol"]["classifier"].startswith("classifier-")
    monkeypatch.setattr(ClassifierFeatures, "_train", never)
    bootlight(*command)
    assert json.loads(capsys.readouterr().out)["scores"]["fd-ab"]["protocol"] == score["protocol"]
    with pytest.raises(BootlightError, match="have no labels"):
        bootlight(*command, f"--real={folders / 'a'}")
    with pytest.raises(BootlightError, match="--reference-stats has no images"):
        bootlight("evaluate", f"--synthetic={folders}", *network, "--reference-stats=x.npz")
