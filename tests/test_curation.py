"""What a curator says of images: on the disk, as weights and noise of a source, in what a generation learns; rewards."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bootlight.batch import Batch
from bootlight.bootstrap.curate import Curate
from bootlight.data.extra import open_curated
from bootlight.data.store import build_store
from bootlight.errors import BootlightError
from bootlight.generators.ddpm import DDPM
from bootlight.generators.gaussian import PixelGaussian
from bootlight.metrics.reward import Brightness, ConstantReward, JpegSize, Reward, rewards
from bootlight.runs.curation import Row, noise_of, read_curation, weights_of, write_curation
from bootlight.runs.folder import RunFolder
from bootlight.synthesis.curator import ByReward, KeepAll
from bootlight.synthesis.folder import write_image, write_manifest

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path).generation(0)
    for i, image in enumerate(PIXELS):
        write_image(folder.sample_file(i), image)
    write_manifest(folder, range(5), torch.tensor([0, 1, 0, 1, 0]), generation=0, protocol={})
    return folder


def opened(folder, tmp_path):
    def build(root, reading):
        return build_store(root, image_size=4, channels=3, cache=tmp_path / "cache", reading=reading)

    return open_curated(folder, ("a", "b"), build)


def rows(folder, *changes):
    names = [f"00000/00000{i}.png" for i in range(5)]
    return [Row(name)._replace(**change) for name, change in zip(names, changes, strict=True)]


# On the disk


def test_what_is_said_is_read_again(folder, tmp_path):
    said = rows(
        folder,
        {"label": 1, "weight": 3.0, "noise": (0.5, math.inf)},
        {"keep": False, "weight": 9.0},
        {"weight": np.float32(0.0), "why": "dull"},
        {"keep": np.True_, "label": np.int64(0)},
        {"noise": (0, 2.0)},
    )
    write_curation(folder, said, 2)
    assert list(read_curation(folder).values()) == said
    lines = folder.curation.read_text().splitlines()
    assert lines[3] == '{"file_name": "00000/000003.png", "keep": true, "label": 0, "why": ""}'  # as before there were weights
    assert '"noise": [0.5, null]' in lines[0]
    source = opened(folder, tmp_path)
    assert source.indices.tolist() == [0, 2, 3, 4] and source.store.labels[source.indices].tolist() == [1, -1, 0, -1]
    # Mean 1 over what is kept: 3, 0, 1, 1 have the mean 5 / 4. Rounded to float32.
    assert source.weights.tolist() == np.float32([2.4, 0, 0.8, 0.8]).tolist()
    assert source.noise.tolist() == [[0.5, math.inf], [0, math.inf], [0, math.inf], [0, 2]]


def test_equal_weights_are_none(folder, tmp_path):
    write_curation(folder, rows(folder, *[{"weight": 7.0}] * 4, {"keep": False}), 2)
    source = opened(folder, tmp_path)
    assert source.weights is None and source.noise is None and len(source) == 4
    folder.curation.unlink()
    assert opened(folder, tmp_path).weights is None and len(opened(folder, tmp_path)) == 5


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=9).filter(any))
def test_weights_have_the_mean_one(weights):
    found = weights_of([Row("x", weight=weight) for weight in weights])
    if found is not None:
        exact = np.array(weights) / max(weights)
        assert np.allclose(found, exact / exact.mean(), rtol=1e-6)  # float32 rounds to 6e-8
    assert noise_of([Row("x")] * 3) is None


WRONG = [-1.0, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    "changes",
    [
        *[[{"weight": weight}] for weight in WRONG],
        *[[{"noise": noise}] for noise in ((2.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (0.0, math.nan))],
        [{"weight": 0.0}] * 4 + [{"keep": False}],
        [{"keep": False}] * 5,
        [{"label": 2}],
        [{"label": -1}],
    ],
)
def test_what_cannot_be_meant_is_refused(folder, changes):
    with pytest.raises(BootlightError):
        write_curation(folder, rows(folder, *changes, *[{}] * (5 - len(changes))), 2)
    assert not folder.curation.exists()


# A weight of 2 is the image twice


def fitted(images, weights):
    module = PixelGaussian(4, 3)
    module.log = lambda *_, **__: None
    batch = Batch(images, None, 0, 0, len(images), weights=weights)
    module.training_step(batch, 0)
    return module.fitted()


def test_a_weight_of_two_is_the_image_twice(folder, tmp_path):
    write_curation(folder, rows(folder, {"weight": 2.0}, {}, {"keep": False}, {}, {"weight": 0.0}), 2)
    source = opened(folder, tmp_path)
    images = torch.from_numpy(source.store.images[source.indices]).permute(0, 3, 1, 2).float()
    mean, variance = fitted(images, torch.from_numpy(source.weights))
    twice = PIXELS[[0, 0, 1, 3]].astype(np.float64).transpose(0, 3, 1, 2)
    # Weights are float32, to 6e-8; squares of pixels up to 255^2.
    assert np.allclose(mean, twice.mean(0), rtol=1e-6) and np.allclose(variance, twice.var(0), atol=255**2 * 1e-6)


class SameNoise(Batch):
    """A batch whose noise goes with the images, so that one that is there twice is twice the same."""

    __slots__ = ()

    def normal(self, stream, *shape):
        return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in self.ids.tolist()])


def test_a_step_of_ddpm_with_a_weight_of_two_is_that_with_the_image_twice():
    module = DDPM(8, 3, width=8, channel_multipliers=[1], num_res_blocks=1, attention_resolutions=[], num_heads=1)
    module.log = lambda *_, **__: None
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    levels = torch.tensor([3, 500, 900])
    with torch.no_grad():
        for parameter in module.parameters():  # the last layer begins at 0
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))

    def gradient(which, weights):
        module.zero_grad()
        batch = SameNoise(images[which], None, 0, 0, len(which), ids=torch.tensor(which), t=levels[which], weights=weights)
        loss = module.training_step(batch, 0)
        loss.backward()
        return loss.detach(), torch.cat([p.grad.flatten() for p in module.network.parameters()])

    weights = torch.from_numpy(weights_of([Row("a", weight=2.0), Row("b"), Row("c")]))
    weighted, twice, once = gradient([0, 1, 2], weights), gradient([0, 0, 1, 2], None), gradient([0, 1, 2], None)
    # Sums in another order, in float32: some 1e-6 of the largest.
    assert torch.allclose(weighted[0], twice[0], rtol=1e-5)
    largest = twice[1].abs().max()
    assert (weighted[1] - twice[1]).abs().max() < 1e-5 * largest
    assert (once[1] - twice[1]).abs().max() > 1e-2 * largest


# Curators and rewards


class Pictures:
    """Images in memory."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def batches(self, size):
        yield from self.images.split(size)


class Here:
    device = CPU


def curated(curator, images, labels=None):
    labels = [None] * len(images) if labels is None else labels
    return curator.rows([Row(str(i), label=label) for i, label in enumerate(labels)], Pictures(images), Here())


GREY = torch.tensor([10, 200, 100, 250, 100], dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_the_identity_keeps_everything():
    rows = [Row(str(i)) for i in range(5)]
    assert curated(KeepAll(), GREY) == rows
    assert [row._replace(why="") for row in curated(ByReward(ConstantReward(), share=1.0), GREY)] == rows


def test_the_best_are_kept():
    found = curated(ByReward(Brightness(100.0), share=0.6), GREY)
    assert [row.keep for row in found] == [True, False, True, False, True]  # 90, 100, 0, 150, 0 away
    assert found[1].why == "reward -100" and all(row.weight == 1 for row in found)
    assert [row.keep for row in curated(ByReward(Brightness(100.0), share=0.2), GREY)] == [False, False, True, False, False]
    assert sum(row.keep for row in curated(ByReward(Brightness(), share=0.01), GREY)) == 1
    for settings in ({"share": 0.4}, {"share": 1.0, "beta": 1.0}):
        with pytest.raises(BootlightError, match="ConstantReward"):  # which prefers none
            curated(ByReward(ConstantReward(), **settings), GREY)
    for share in (0, -1, 1.1, math.nan):
        with pytest.raises(BootlightError, match="share"):
            ByReward(ConstantReward(), share)
    for beta in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(BootlightError, match="beta"):
            ByReward(ConstantReward(), beta=beta)


def test_weights_by_reward_move_the_mean_of_a_gaussian_and_not_its_variance():
    """N(m, v) times exp(c x / beta) is N(m + v c / beta, v) but for a factor."""
    count, beta, v = 30_000, 0.5, 0.4**2
    x = torch.from_numpy(np.random.default_rng(1).normal(0.3, 0.4, count)).float().reshape(-1, 1, 1, 1)
    rows = curated(ByReward(Brightness(1e3), share=1.0, beta=beta), x)  # all below the target: the reward is x - 1000
    weights = weights_of(rows).astype(np.float64)
    values = x.flatten().double().numpy()
    mean = (weights * values).mean()
    # With s = v / beta^2, normalized weights have the errors e^s v (1 + s) / n and e^s v^2 (s^2 + 4 s + 2) / n; four of each.
    s = v / beta**2
    assert abs(mean - (0.3 + v / beta)) < 4 * math.sqrt(math.exp(s) * v * (1 + s) / count)
    spread = (weights * (values - mean) ** 2).mean()
    assert abs(spread - v) < 4 * math.sqrt(math.exp(s) * v**2 * (s**2 + 4 * s + 2) / count)


def test_rewards_are_those_of_their_definition():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 8, 8), generator=generator, dtype=torch.uint8)
    found = rewards(Brightness(128), [images[:3], images[3:]], [None] * 4, CPU)
    assert np.allclose(found, -abs(images.numpy().reshape(4, -1).mean(1) - 128), rtol=1e-12)
    sizes = []
    for image in images.numpy():
        file = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(file, format="JPEG", quality=95)
        sizes.append(file.tell() / 1000)
    assert np.allclose(rewards(JpegSize(), [images], [None] * 4, CPU), -np.array(sizes), rtol=1e-6)  # float32
    assert np.allclose(
        rewards(JpegSize(small=False), [images[:, :1]], [None] * 4, CPU), sizes, rtol=0.7
    )  # grey ones are smaller
    plain = torch.full((1, 1, 8, 8), 7, dtype=torch.uint8)
    assert rewards(JpegSize(), [plain], [0], CPU)[0] > max(rewards(JpegSize(), [images[:, :1]], [0] * 4, CPU))
    with pytest.raises(BootlightError, match="JpegSize"):
        rewards(JpegSize(), [images.float()], [None] * 4, CPU)
    with pytest.raises(BootlightError, match="quality"):
        JpegSize(quality=0)


class Wrong(Reward):
    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images, labels=None):
        return self.answer(images, labels)


@pytest.mark.parametrize("answer", [lambda x, y: x, lambda x, y: x[:, 0, 0, 0] * math.nan, lambda x, y: x[:, 0, 0, 0] / 0])
def test_an_answer_that_is_no_reward_is_told(answer):
    with pytest.raises(BootlightError, match="Wrong"):
        rewards(Wrong(answer), [GREY.float()], [None] * 5, CPU)


def test_a_reward_sees_the_labels_of_its_images():
    seen = []
    labels = [0, 1, 2, 0, 1]

    def note(images, labels):
        seen.append(labels)
        return images[:, 0, 0, 0].float()

    rewards(Wrong(note), [GREY[:3], GREY[3:]], labels, CPU)
    assert torch.cat(seen).tolist() == labels and len(seen) == 2
    rewards(Wrong(note), [GREY], [*labels[:4], None], CPU)
    assert seen[-1] is None


@pytest.mark.parametrize(
    "answer", [lambda rows: [row._asdict() for row in rows], lambda rows: rows[1:], lambda rows: rows[::-1]]
)
def test_answers_that_are_no_rows_of_the_images_are_told(folder, answer):
    class Odd(KeepAll):
        def rows(self, rows, images, generation):
            return answer(rows)

    data = SimpleNamespace(image_shape=(3, 4, 4))
    generation = SimpleNamespace(open_data=lambda: data, drawn=lambda of: folder, writes=True, is_rank_0=True, number=0)
    with pytest.raises(BootlightError, match=r"^Odd\.rows"):
        Curate(Odd()).run(generation)
    assert not folder.curation.exists()
