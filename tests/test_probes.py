"""Noise and blurred images: how they are made, and which networks put them before real ones."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bootlight.data.store import store_from_arrays
from bootlight.evaluation.floors.floors import place
from bootlight.evaluation.floors.probes import COUNT, blurred, noise, probe_remarks, probes_of, with_probes
from bootlight.evaluation.floors.run_floors import RunFloors
from bootlight.evaluation.floors.set_floors import doubted
from bootlight.evaluation.sets.sources import StoreSource
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.score import NO_COMPARISON, Score
from bootlight.report.remarks import importance

RNG = np.random.default_rng(0)


class Constant(nn.Module):
    """Sees nothing but the mean of an image: blur does not change it."""

    name = "mean"

    def forward(self, images):
        return images.float().mean((2, 3)) / 255


class Edges(nn.Module):
    """Sees mean, contrast and differences of neighbours, of which noise has too many and blurred images too few."""

    name = "edges"

    def forward(self, images):
        x = images.float() / 255
        return torch.cat([x.mean((2, 3)), x.std((2, 3)), (x[..., 1:] - x[..., :-1]).abs().mean((2, 3))], 1)


def pictures(n: int, edge: int = 16, channels: int = 3) -> np.ndarray:
    """Patches of a few colours with sharp edges."""
    coarse = RNG.integers(0, 256, (n, edge // 4, edge // 4, channels), dtype=np.uint8)
    return np.roll(coarse.repeat(4, 1).repeat(4, 2), RNG.integers(0, 4), 1)


def sources(n: int = 300, m: int = 150, **how: int) -> dict[str, StoreSource]:
    return {
        name: StoreSource(name, store_from_arrays(pictures(count, **how))) for name, count in (("train", n), ("holdout", m))
    }


def remarks(network: nn.Module, sets: dict[str, StoreSource]) -> dict[str, str]:
    ask = lambda source: torch.cat([network(batch) for batch in source.batches(64)])  # noqa: E731
    answers = {name: {"features": ask(source)} for name, source in sets.items()}
    held = place(answers["train"], answers.get("holdout"), n=COUNT, who="")
    made = probes_of(sets["train" if held.own_reference else "holdout"], held.rows.tolist())
    return probe_remarks(
        network, reference=held.reference["features"], real=held.images["features"],
        probes={kind: ask(source) for kind, source in made.items()},
    )  # fmt: skip


def test_blur_is_the_mean_of_cells_enlarged():
    image = pictures(1, edge=32)[0]
    found = blurred(image, 0)
    cells = image.reshape(8, 4, 8, 4, 3).mean((1, 3))
    assert found.shape == image.shape and found.dtype == np.uint8
    expected = F.interpolate(torch.from_numpy(cells).permute(2, 0, 1)[None], (32, 32), mode="bilinear")[0].permute(1, 2, 0)
    assert np.abs(found.astype(float) - expected.numpy()).max() <= 0.5 + 1e-3  # rounding, and float32
    flat = np.full((9, 5, 1), 77, np.uint8)  # of any shape
    assert (blurred(flat, 3) == 77).all()


def test_noise_is_uniform_and_the_same_each_time():
    image = np.zeros((40, 50, 3), np.uint8)
    found = noise(image, 0)
    assert (noise(image, 0) == found).all() and (noise(image, 1) != found).any()
    # Mean of 6,000 uniform numbers of deviation 73.9, five standard errors.
    assert abs(found.mean() - 127.5) < 5 * 73.9 / 6000**0.5 and found.min() == 0 and found.max() == 255


def test_a_network_that_sees_edges_has_no_remark():
    assert remarks(Edges(), sources()) == {}


@pytest.mark.parametrize("held_out", [True, False])
def test_one_that_sees_no_edges_does_not_tell_blurred_images(held_out):
    sets = sources()
    found = remarks(Constant(), sets if held_out else {"train": sets["train"]})
    assert "blurred images" in found["kid"] and NO_COMPARISON in found["kid"] and "mean features" in found["kid"]
    assert all(importance(text) == 0 for text in found.values())


def test_noise_before_real_images_is_told():
    """Held-out images of another brightness lie farther off than noise does."""
    bright = sources(m=40)
    images = np.clip(pictures(40).astype(int) // 3 + 170, 0, 255).astype(np.uint8)
    found = remarks(Constant(), {"train": bright["train"], "holdout": StoreSource("h", store_from_arrays(images))})
    assert "put noise (" in found["kid"] and "before other real images" in found["kid"] and "noise" in found["fd"]


def test_numbers_and_tiny_images_have_no_probes_of_what_they_may_be():
    floats = StoreSource("f", store_from_arrays(RNG.normal(size=(30, 8, 8, 1)).astype(np.float32)))
    assert probes_of(floats, range(20)) == {}
    tiny = StoreSource("t", store_from_arrays(RNG.integers(0, 256, (30, 2, 8, 3), dtype=np.uint8)))
    assert list(probes_of(tiny, range(20))) == ["noise"]


def test_keys_are_of_the_content():
    sets = sources(n=40)
    first, again, other = (probes_of(sets["train"], rows) for rows in (range(20), range(20), range(1, 21)))
    assert {kind: made.key for kind, made in first.items()} == {kind: made.key for kind, made in again.items()}
    assert first["blur"].key != other["blur"].key and first["blur"].key != first["noise"].key
    assert first["noise"].key == other["noise"].key  # of its sizes alone
    assert len(first["blur"].names) == 20 and first["blur"].sizes == {(16, 16): 20}


def test_remarks_lead_those_of_their_scores():
    plain = Score(1.0, 0.1, 9, {}, None, ("few",))
    found = with_probes(
        dict.fromkeys(("kid/train", "fd-x/holdout", "precision-k3/train"), plain), {"kid": "a", "fd": "b"}, "fd-x"
    )
    assert [score.remarks for score in found.values()] == [("a", "few"), ("b", "few"), ("few",)]


def test_a_run_looks_at_them_once_and_notes_why_it_cannot():
    sets = sources(n=60, m=40)
    answers = {name: {"features": Constant()(torch.cat(list(one.batches(64))))} for name, one in sets.items()}
    calls = []

    def probe(which, rows):
        calls.append((which, len(rows)))
        if len(calls) > 1:
            raise ValueError("not again")
        return {kind: Constant()(torch.cat(list(made.batches(64)))) for kind, made in probes_of(sets[which], rows).items()}

    floors, failed = RunFloors(), {}
    found = [floors.doubts(Constant(), {"train": "a", "holdout": "b"}, answers, probe, failed) for _ in range(2)]
    assert calls == [("holdout", 40)] and found[0] == found[1] and failed == {}
    assert floors.doubts(Constant(), {"train": "c", "holdout": "b"}, answers, probe, failed) == {}
    assert "not again" in failed["noise and blur"]


def test_evaluate_says_it_of_sets(tmp_path):
    sets = sources()
    sets = {"real": sets["train"], "held-out": sets["holdout"]}
    network = PixelFeatures(1)
    ask = lambda source: {"features": torch.cat([network(batch) for batch in source.batches(64)])}  # noqa: E731
    answers = {name: ask(source) for name, source in sets.items()}
    scores = {"kid": Score(1.0, 0.1, 9, {})}
    failed: dict[str, str] = {}
    found = doubted(scores, SimpleNamespace(network=network, ask=ask), sets, answers, failed)
    assert NO_COMPARISON in found["kid"].remarks[0] and failed == {}
