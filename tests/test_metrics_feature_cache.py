"""Features computed once: what the key depends on, and files that are torn or written by several processes."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bootlight.data.store import store_from_arrays
from bootlight.metrics.features import feature_cache
from bootlight.metrics.features.feature_cache import cached_features, feature_key
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.features.inception import InceptionFeatures

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)


def content_key(images: NDArray[np.uint8]) -> str:
    return store_from_arrays(images).key


class Network(nn.Module):
    """Linear, with a buffer, and settings that only its protocol tells."""

    def __init__(self, resize: str = "none", name: str = "network") -> None:
        super().__init__()
        self.name = name
        self.protocol = {"resize": resize}
        self.weight = nn.Parameter(torch.arange(6.0).view(2, 3))
        self.register_buffer("offset", torch.tensor(1.0, dtype=torch.bfloat16))


class Other(Network):
    pass


def changed(weight: float = 0.0, offset: float = 1.0, shape: tuple[int, ...] = (2, 3)) -> Network:
    network = Network()
    network.weight = nn.Parameter(network.weight.detach().reshape(shape))
    network.weight.data.view(-1)[5] += weight
    network.offset.fill_(offset)
    return network


def test_equal_networks_and_images_have_one_key() -> None:
    key = feature_key(content_key(IMAGES), Network())
    assert len(key) == 64 and set(key) <= set("0123456789abcdef")
    assert feature_key(content_key(IMAGES.copy()), Network().eval()) == key
    strided = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    assert not strided.flags.c_contiguous
    assert feature_key(content_key(strided), Network()) == key


def test_whatever_changes_features_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    content = content_key(IMAGES)
    pixel = IMAGES.copy()
    pixel[3, 5, 4, 2] ^= 1
    keys = [
        feature_key(content, Network()),
        feature_key(content, changed(weight=1e-6)),
        feature_key(content, changed(offset=2.0)),
        feature_key(content, changed(shape=(3, 2))),
        feature_key(content, Network().double()),
        feature_key(content, Network(resize="bicubic")),
        feature_key(content, Network(name="another")),
        feature_key(content, Other()),
        feature_key(content, PixelFeatures(8, channels=1)),
        feature_key(content, PixelFeatures(8, channels=3)),
        feature_key(content_key(pixel), Network()),
        feature_key(content_key(IMAGES[::-1]), Network()),  # the same images in another order
        feature_key(content_key(IMAGES[:3]), Network()),
        feature_key(content_key(IMAGES.reshape(4, 5, 6, 3)), Network()),  # the same bytes
    ]
    monkeypatch.setattr(feature_cache, "FORMAT", feature_cache.FORMAT + 1)
    keys.append(feature_key(content, Network()))
    assert len(set(keys)) == len(keys)


def test_a_network_from_a_file_is_known_by_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"a")
    (tmp_path / "b.pth").write_bytes(b"b")
    (tmp_path / "copy.pth").write_bytes(b"a")

    def key(name: str, resize: str = "tf") -> str:
        return feature_key("content", InceptionFeatures(str(tmp_path / name), allow_other_weights=True, resize=resize))

    assert key("copy.pth") == key("a.pth")
    assert len({key("a.pth"), key("b.pth"), key("a.pth", "clean"), key("a.pth", "pytorch")}) == 4


def test_the_key_of_a_network_from_a_file_stays_when_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({}, tmp_path / "a.pth")
    monkeypatch.setattr(InceptionFeatures, "build", lambda self, tensors: nn.Linear(2, 2))
    network = InceptionFeatures(str(tmp_path / "a.pth"), allow_other_weights=True)
    before = feature_key("content", network)
    network.load()
    assert feature_key("content", network) == before


def features(scale: float = 1.0) -> dict[str, Tensor]:
    """Outputs that share memory, the last one turned over; safetensors refuses both."""
    table = torch.arange(6.0).view(3, 2) * scale
    return {"features": table[:2], "logits": table[1:], "spatial": table.T}


def never() -> dict[str, Tensor]:
    raise AssertionError("computed again")


def test_features_are_computed_once(tmp_path: Path) -> None:
    computed, read = cached_features("key", features, tmp_path), cached_features("key", never, tmp_path)
    for answer in (computed, read):
        assert {name: values.tolist() for name, values in answer.items()} == {
            "features": [[0, 1], [2, 3]],
            "logits": [[2, 3], [4, 5]],
            "spatial": [[0, 2, 4], [1, 3, 5]],
        }
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")] == ["features/key.safetensors"]
    assert cached_features("other", lambda: features(2.0), tmp_path)["features"][1, 1] == 6
    assert cached_features("key", never, tmp_path)["features"][1, 1] == 3


def test_features_with_gradients_are_kept_without(tmp_path: Path) -> None:
    weight = torch.ones(2, 2, requires_grad=True)
    answer = cached_features("key", lambda: {"features": weight * 3}, tmp_path)["features"]
    assert not answer.requires_grad and answer.tolist() == [[3, 3], [3, 3]]


@pytest.mark.parametrize("length", [0, 5, -1])
def test_a_torn_file_is_computed_again(tmp_path: Path, length: int) -> None:
    cached_features("key", features, tmp_path)
    path = tmp_path / "features" / "key.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    with pytest.warns(UserWarning, match=r"key\.safetensors is damaged .* computed again") as caught:
        again = cached_features("key", lambda: features(2.0), tmp_path)
    assert len(caught) == 1
    assert again["features"][1, 1] == 6
    assert cached_features("key", never, tmp_path)["features"][1, 1] == 6


def test_an_interrupted_computation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupted)  # after all bytes are written, before the file has its name
        cached_features("key", features, tmp_path)
    assert list((tmp_path / "features").iterdir()) == []
    with pytest.raises(KeyboardInterrupt):
        cached_features("key", interrupted, tmp_path)  # type: ignore[arg-type]
    assert cached_features("key", features, tmp_path)["features"][1, 1] == 3


def test_a_folder_that_cannot_be_used_costs_a_warning_and_no_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "features" / "key.safetensors").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "file" / "cache", tmp_path / "taken"):
        with pytest.warns(UserWarning, match=f"{folder} cannot be used.*data.cache") as told:
            for _ in range(2):
                assert cached_features("key", features, folder)["features"][1, 1] == 3
        assert len(told) == 1  # of two attempts

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left"):
        assert cached_features("key", features, tmp_path / "full")["features"][1, 1] == 3
    assert list((tmp_path / "full" / "features").iterdir()) == []


def ask(rank: int, folder: Path, barrier: "multiprocessing.synchronize.Barrier", results: multiprocessing.Queue) -> None:
    def compute() -> dict[str, Tensor]:
        barrier.wait(30)  # all have looked for the file and found none
        return {"features": torch.full((1000, 500), float(rank))}

    results.put((rank, cached_features("key", compute, folder)["features"].unique().tolist()))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the children only compute, and end
def test_processes_that_ask_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()
    workers = [context.Process(target=ask, args=(rank, tmp_path, barrier, results)) for rank in range(3)]
    for worker in workers:
        worker.start()
    found = dict(results.get(timeout=30) for _ in workers)
    for worker in workers:
        worker.join(timeout=30)
        assert worker.exitcode == 0
    assert found == {0: [0.0], 1: [1.0], 2: [2.0]}  # each has what it computed
    assert [path.name for path in (tmp_path / "features").iterdir()] == ["key.safetensors"]
    (kept,) = cached_features("key", never, tmp_path)["features"].unique().tolist()
    assert kept in (0, 1, 2)  # one of theirs, and whole


def test_what_is_read_lies_in_memory_as_what_is_computed(tmp_path):
    """Matrix products round by where their operands begin: torch's tensors at multiples of 64 bytes, mapped files anywhere."""
    for columns in (1, 3, 7):  # headers of several lengths
        answer = {name: torch.ones(5, columns) for name in ("a", "features", "logits")[: columns % 3 + 1]}
        cached_features(f"key{columns}", lambda answer=answer: answer, tmp_path)
        read = cached_features(f"key{columns}", pytest.fail, tmp_path)
        assert [values.data_ptr() % 64 for values in read.values()] == [0] * len(answer)
