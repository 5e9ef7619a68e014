"""Features learned from the real images: order, scale, exactness, what they are kept under, what they refuse."""

import json

import numpy as np
import pytest
import torch
from few_digits import FewDigits, digits, equal, never, tensors, weights
from scipy import ndimage

from bootlight.bootstrap.check_features import check_features
from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError
from bootlight.evaluation.generation import Evaluation
from bootlight.evaluation.networks.default_network import default_network
from bootlight.evaluation.networks.learned_features import LearnedFeatures
from bootlight.evaluation.networks.trained_networks import TrainedOnReal, real_images
from bootlight.evaluation.sets.real_of_source import real_of_source
from bootlight.evaluation.sets.sources import StoreSource
from bootlight.io.pictures import encode_png
from bootlight.metrics.distances.frechet import FrechetDistance
from bootlight.metrics.distances.kid import KernelDistance
from bootlight.networks.patches import components, eigen, shrunk, whitened_patches

CPU = torch.device("cpu")


def textures(count, seed, channels=3, edge=16):
    """Smooth random fields over a slope, with edges: a little like photographs."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(count, edge, edge, channels)), (0, 2, 2, 0), mode="wrap")
    fields = (
        60 * fields / fields.std() + 40 * (rng.random((count, 1, 1, 1)) < 0.5) * (np.arange(edge) > edge / 2)[:, None, None]
    )
    return (128 + fields).clip(0, 255).astype(np.uint8)


def learned(images, folder, **options):
    network = LearnedFeatures(**{"num_features": 32, **options})
    network.fit_real(
        real_of_source(StoreSource("real", store_from_arrays(images)), folder / "cache"), folder / "references", CPU
    )
    return network


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("learned")
    return folder, learned(textures(400, 0), folder)


def distances(network, real, images):
    """KID and Fréchet distance."""
    with torch.no_grad():
        features = [network(tensors(each)) for each in (real, images)]
    metrics = (KernelDistance, FrechetDistance)
    return [next(iter(metric(features=network, sync_on_compute=False).measure(*features).values())).value for metric in metrics]


# The order


def test_worse_images_are_farther_away(trained):
    """Held-out ones, then noise and blur, mild and strong, then noise alone: each by a factor over the one before."""
    network, real, fresh = trained[1], textures(400, 0), textures(200, 1)
    rng = np.random.default_rng(2)
    sets = {
        "noise": [np.clip(fresh + rng.normal(0, s, fresh.shape), 0, 255).astype(np.uint8) for s in (6, 20, 60)],
        "blur": [ndimage.gaussian_filter(fresh, (0, s, s, 0)) for s in (0.7, 1.2, 3)],
        "nothing": [rng.integers(0, 256, fresh.shape, dtype=np.uint8)],
    }
    floor = distances(network, real, fresh)
    for series in sets.values():
        values = [floor, *(distances(network, real, images) for images in series)]
        for kid, fd in zip(np.diff([v[0] for v in values]), np.diff([v[1] for v in values]), strict=True):
            assert kid > 0.02 and fd > 0.1
    assert abs(floor[0]) < 0.02


def test_half_of_the_kinds_and_copies_are_farther_than_the_floor(trained):
    network, real, fresh = trained[1], textures(400, 0), textures(200, 3)
    flat = fresh[(fresh[:, :8].mean((1, 2, 3)) - fresh[:, 8:].mean((1, 2, 3))) > -20]  # mostly those without the step
    floor = distances(network, real, fresh[: len(flat)])
    for images in (flat, fresh[np.arange(len(flat)) % 10]):
        assert all(value > 1.5 * abs(lowest) for value, lowest in zip(distances(network, real, images), floor, strict=True))


# The scale


def test_variance_is_1_on_average_and_the_mean_0(trained):
    with torch.no_grad():
        features = trained[1](tensors(textures(400, 0))).double()
    assert features.shape == (400, 32) and features.dtype == torch.float64
    # Single precision of numbers of order 1 to 10, made of some hundred products each.
    assert features.mean(0).abs().max() < 1e-3
    halves = features.var(0).reshape(2, 16).mean(1)
    assert halves.sub(1).abs().max() < 1e-3
    # Components are uncorrelated, and the deviation of each is the root of what it was: descending.
    cov = features[:, :16].T.cov()
    assert (cov - cov.diag().diag()).abs().max() < 1e-3 and (cov.diag().diff() < 1e-6).all()


def test_principal_components_are_those_of_the_covariance_whatever_is_smaller():
    """An independent way: singular values."""
    for shape in ((50, 7), (7, 50)):
        values = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        values = values - values.mean(0)
        variances, directions = eigen(values)
        _, singular, wanted = torch.linalg.svd(values, full_matrices=False)
        count = min(shape) - 1
        assert torch.allclose(variances[:count], singular[:count].square() / (shape[0] - 1))
        assert torch.allclose(
            (directions[:, :count].T @ wanted[:count].T).abs(), torch.eye(count, dtype=torch.float64), atol=1e-7
        )


def test_images_that_were_all_equal_give_finite_features_of_others():
    examples = torch.full((10, 5), 0.3)
    _, axes = components(examples, 3, standardize=False)
    assert axes.isfinite().all() and axes.norm(dim=0).allclose(torch.tensor(1e6))  # one over the smallest deviation that counts


# Exactness and the cache


def test_a_function_of_the_seed_and_the_images_alone(trained, tmp_path):
    torch.manual_seed(77)
    before = torch.get_rng_state()
    images = textures(400, 0)
    learned(images, tmp_path / "same")
    assert equal(weights(trained[0] / "references"), weights(tmp_path / "same" / "references"))
    assert torch.equal(torch.get_rng_state(), before)
    learned(images, tmp_path / "other", seed=1)
    assert not equal(weights(trained[0] / "references"), weights(tmp_path / "other" / "references"))


def test_what_was_learned_once_is_not_learned_again(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(LearnedFeatures, "_learn", never)
    folder, first = trained
    images = textures(400, 0)
    again = learned(images, folder)
    assert again.protocol == first.protocol and torch.equal(again(tensors(images[:9])), first(tensors(images[:9])))
    (folder / "references").rename(folder / "elsewhere")
    learned(images, folder)  # another run: from the cache
    for changed in (images[::-1], images[:-1], images // 2):
        with pytest.raises(AssertionError, match="nothing is to be trained"):
            learned(changed, tmp_path)
    for option in ({"num_features": 31}, {"max_images": 399}, {"seed": 1}):
        with pytest.raises(AssertionError, match="nothing is to be trained"):
            learned(images, folder, **option)


def test_the_protocol_names_what_it_was_learned_from(trained):
    assert trained[1].protocol == {"learned": next(trained[0].glob("*/learned-*.json")).stem, "learned_from": 400}


# All kinds of images


@pytest.mark.parametrize(
    ("count", "shape"),
    [(20, (8, 8, 1)), (2, (5, 3, 3)), (3, (1, 1, 2)), (30, (1, 40, 4)), (12, (33, 7, 3)), (5, (70, 130, 3))],
    ids=str,
)
def test_images_of_any_size_and_channels(tmp_path, count, shape):
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    network = learned(images, tmp_path)
    features = network(tensors(images))
    assert features.isfinite().all() and 1 <= features.shape[1] <= min(32, 2 * (count - 1))
    assert network.channels == shape[2]
    larger = torch.zeros(2, shape[2], shape[0] + 3, shape[1] + 2, dtype=torch.uint8)
    assert network(larger).shape == (2, features.shape[1]) and network(larger).isfinite().all()


def test_pixels_that_never_change_do_no_harm(tmp_path):
    images = textures(30, 0)
    images[:, :, 8:] = 0
    network = learned(images, tmp_path)
    assert network(tensors(textures(5, 1))).abs().max() < 1e4  # what never changed is not blown up without bound


def test_of_many_images_so_many_are_learned_from(tmp_path):
    few = learned(textures(100, 0), tmp_path, max_images=20)
    assert few.protocol["learned_from"] == 20
    assert few(tensors(textures(2, 1))).shape[1] == 32  # 16 components of 20 images, twice


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((7, 8, 8, 3), 3, np.uint8), "all 7 real images are equal"),
        (np.zeros((1, 8, 8, 3), np.uint8), "there is one real image"),
        (np.zeros((9, 2, 2, 1), np.float32), "float32; take bootlight.PixelFeatures"),
    ],
    ids=["equal", "one", "float"],
)
def test_nothing_to_learn_from_is_one_line(tmp_path, images, message):
    with pytest.raises(BootlightError, match=message) as error:
        learned(images, tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "references").exists()


def test_use_before_learning_is_refused():
    assert isinstance(LearnedFeatures(), TrainedOnReal)
    with pytest.raises(BootlightError, match="must learn by fit_real"):
        LearnedFeatures()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


# By default


def test_the_default_is_told(capsys):
    network = check_features(Evaluation(judge_steps=0), digits(), 100)
    assert isinstance(network, LearnedFeatures) and "bootlight.LearnedFeatures" in capsys.readouterr().out
    assert type(default_network(False, 2)).__name__ == "PixelFeatures" and default_network(False, 2).channels == 2


def test_a_default_that_cannot_be_is_no_reason_to_stop(capsys):
    assert check_features(Evaluation(), FewDigits(), 6) is None
    assert "only the judge is asked, there are no distances: bootstrap.num_synthetic is 6" in capsys.readouterr().out
    assert check_features(Evaluation(metrics=[]), FewDigits(), 6) is None
    with pytest.raises(BootlightError, match="num_synthetic is 6"):
        check_features(Evaluation(LearnedFeatures), FewDigits(), 6)


def test_a_run_learns_from_what_is_available_not_from_what_is_held_out(tmp_path):
    def without_held_out(images, labels):
        images[FewDigits().holdout.indices] = 0
        return images, labels

    for name, change in (("one", lambda *both: both), ("two", without_held_out)):
        LearnedFeatures(16).fit_real(real_images(FewDigits(change)), tmp_path / name, CPU)
    assert equal(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_evaluate_learns_where_there_is_no_file_of_inception(bootlight, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bootlight.evaluation.options.default_file", lambda: tmp_path / "absent.pth")
    for name, seed in (("real", 0), ("drawn", 1)):
        (tmp_path / name).mkdir()
        for i, image in enumerate(textures(12, seed)):
            (tmp_path / name / f"{i}.png").write_bytes(encode_png(image))
    bootlight("evaluate", "--real=real", "--synthetic=drawn", "--cache=cache", "--metrics=fd,kid", "--json")
    said = capsys.readouterr()
    scores = json.loads(said.out)["scores"]
    assert {"fd-learned", "kid"} <= set(scores) and scores["fd-learned"]["protocol"]["learned"].startswith("learned-")
    assert scores["told-apart"]["protocol"]["features"] == "pixels"  # it knows the real images by heart
    assert "bootlight.LearnedFeatures" in said.err
    monkeypatch.setattr(LearnedFeatures, "_learn", never)
    bootlight("compare", "drawn", "real", "--real=real", "--cache=cache", "--metrics=fd", "--json")
    assert json.loads(capsys.readouterr().out)["differences"]


def test_large_images_are_learned_from_at_256_pixels():
    images = torch.from_numpy(textures(2, 0, edge=300)).permute(0, 3, 1, 2)[:, :, :, :150]
    small = shrunk(images)
    assert small.shape == (2, 3, 256, 128) and small.dtype == torch.uint8
    assert (small.float().mean((2, 3)) - images.float().mean((2, 3))).abs().max() < 0.5  # what rounding may do, and edges
    assert shrunk(images[:, :, :256]).shape == (2, 3, 256, 150)


def test_patches_come_from_all_places_of_all_images():
    """Each image has one bright pixel of its own: a filter that has seen it is not constant."""
    images = torch.zeros(40, 1, 4, 4)
    images[torch.arange(40), 0, torch.arange(40) % 4, torch.arange(40) // 4 % 4] = 1.0 + torch.arange(40)
    filters, bias = whitened_patches(images, torch.Generator().manual_seed(0))
    assert filters.shape == (48, 1, 2, 2) and bias.shape == (48,)
    answers = torch.nn.functional.conv2d(images, filters, bias)  # (40, 48, 3, 3)
    # Whitened patches have variance about 1 in every direction, whatever the scale of the pixels.
    assert 0.5 < answers.var((0, 2, 3)).mean() < 2
