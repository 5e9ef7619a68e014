"""What is computed once: how often, under which key, and that nothing depends on it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bootlight.metrics import once as once_module
from bootlight.metrics.distances import frechet, statistics
from bootlight.metrics.distances.fd_infinity import FrechetInfinity
from bootlight.metrics.distances.frechet import FrechetDistance
from bootlight.metrics.distances.statistics import Statistics, feature_statistics, reference_statistics
from bootlight.metrics.features.feature_cache import KeptIn
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.neighbours import neighbours
from bootlight.metrics.neighbours.authenticity import Authenticity
from bootlight.metrics.neighbours.density_coverage import Coverage, Density
from bootlight.metrics.neighbours.neighbours import nearest, own_nearest
from bootlight.metrics.neighbours.precision_recall import Precision, Recall
from bootlight.metrics.once import kept, once, shared


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, Tensor]:
        self.calls += 1
        return {"answer": torch.tensor([self.calls])}


def counted(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[None]:
    """A list that grows with each call."""
    calls: list[None] = []
    real = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **settings: (calls.append(None), real(*args, **settings))[1])
    return calls


def test_outside_everything_is_computed_again() -> None:
    counter, x = Counter(), normal(3, 2, seed=1)
    assert [kept("a", x, counter)["answer"].item() for _ in range(2)] == [1, 2]
    assert shared("a", [x], lambda: 5) == 5


def test_a_set_is_hashed_once_until_it_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    sets, calls = [normal(3, 2, seed=seed) for seed in range(2)], counted(monkeypatch, once_module, "_key")
    with once():
        for what in ("a", "b"):
            assert shared(what, sets, lambda what=what: what) == what  # type: ignore[misc]
        assert len(calls) == 2
        sets[0][1, 1] += 1
        assert shared("a", sets, lambda: "another") == "another" and shared("a", [sets[0].detach(), sets[1]], lambda: 0) != 0
        assert len(calls) == 3
        with torch.inference_mode():
            unseen = torch.zeros(2, 2)
            assert shared("c", [unseen], lambda: 1) == 1
            unseen += 1
            assert shared("c", [unseen], lambda: 2) == 2
        for seed in range(20):  # their places in memory are taken again and again
            assert shared("d", [normal(3, 2, seed=seed)], lambda seed=seed: seed) == seed  # type: ignore[misc]


def test_inside_nothing_is_computed_twice_and_nothing_is_confused() -> None:
    counter, x = Counter(), normal(3, 2, seed=1)
    with once():
        answers = [kept("a", x, counter), kept("a", x.clone(), counter)]
        with once():
            answers.append(kept("a", x, counter))
        assert [answer["answer"].item() for answer in answers] == [1, 1, 1]
        others = [x.view(2, 3), x.double(), x + 1]
        assert [kept("a", other, counter)["answer"].item() for other in others] == [2, 3, 4]
        assert kept("b", x, counter)["answer"].item() == 5
        assert shared("c", [x, x + 1], lambda: 1) == 1
        assert shared("c", [x + 1, x], lambda: 2) == 2  # the order of the sets counts
    with once():
        assert kept("a", x, counter)["answer"].item() == 6


def test_a_folder_keeps_it_for_the_next_process(tmp_path: Path) -> None:
    counter, x = Counter(), normal(3, 2, seed=1)
    for _ in range(2):
        with once(KeptIn(tmp_path)):
            assert kept("a", x, counter)["answer"].item() == 1
            assert shared("a", [x], lambda: {"answer": torch.tensor([1])})["answer"].item() == 1
    assert [path.parent.name for path in tmp_path.rglob("*.safetensors")] == ["features"]
    with once(), once(KeptIn(tmp_path / "other")):  # an inner folder is not forgotten for an outer block without one
        kept("a", x, counter)
    assert len(list((tmp_path / "other").rglob("*.safetensors"))) == 1


def test_statistics_of_a_reference_are_the_same_when_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal(40, 6, seed=2)
    calls = counted(monkeypatch, statistics, "feature_statistics")
    expected = feature_statistics(x)
    for _ in range(2):
        with once(KeptIn(tmp_path)):
            found = reference_statistics(x)
        assert (found.n, len(calls)) == (40, 1)
        assert torch.equal(found.mean, expected.mean) and torch.equal(found.cov, expected.cov)
        assert torch.equal(found.factor, expected.factor) and torch.equal(found.variances, expected.variances)


def test_factor_and_variances_with_and_without_full_rank() -> None:
    x = normal(50, 6, seed=3).double()
    x[:, 2] = 7.0  # a dead feature: no Cholesky factor, though there are more images than features
    for features, rank in ((x, 5), (normal(50, 6, seed=3), 6), (normal(4, 6, seed=3), 3)):
        found = feature_statistics(features)
        assert found.factor.shape == (6, rank)
        # Rounding of 6 products of size 1.
        assert (found.factor @ found.factor.T - found.cov).abs().max() < 1e-14 * 6
        values = torch.linalg.eigvalsh(found.cov)
        assert int((found.variances == 0).sum()) == 6 - rank
        assert (found.variances - values).abs().max() < 1e-14


def test_an_indefinite_matrix_has_the_factor_of_its_positive_part() -> None:
    found = Statistics(torch.zeros(2).double(), torch.tensor([[4.0, 0], [0, -1e-20]]).double(), 10)
    assert torch.equal(found.factor.abs(), torch.tensor([[2.0], [0.0]]).double())
    assert found.variances.tolist() == [0.0, 4.0]


@pytest.mark.parametrize("k", [1, 4, 5, 6])
def test_own_neighbours_are_the_nearest_others(k: int) -> None:
    x = normal(30, 3, seed=4)
    for found, expected in zip(own_nearest(x, k), nearest(x, x, k, same=True), strict=True):
        assert torch.equal(found, expected)


def test_neighbours_of_a_reference_are_searched_once_for_all_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    real, synthetic, network = normal(60, 4, seed=5), normal(50, 4, seed=6), nn.Identity()
    metrics: list[FeatureMetric] = [
        *(kind(features=network, k=k) for k in (3, 5) for kind in (Precision, Recall)),
        *(Density(features=network), Coverage(features=network), Authenticity(features=network)),
    ]  # fmt: skip
    apart = [metric.measure(real, synthetic) for metric in metrics]
    calls = counted(monkeypatch, neighbours, "nearest")
    with once():
        together = [metric.measure(real, synthetic) for metric in metrics]
    assert together == apart
    assert len(calls) == 1  # in this module: only `own_nearest` looks for it there


def test_both_frechet_distances_share_what_they_have_in_common(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real, synthetic, network = normal(60, 4, seed=5), normal(50, 4, seed=6), nn.Identity()
    metrics = [FrechetDistance(features=network), FrechetInfinity(features=network)]
    apart = [metric.measure(real, synthetic) for metric in metrics]
    calls = counted(monkeypatch, frechet, "frechet_jackknife")
    with once(KeptIn(tmp_path)):
        assert [metric.measure(real, synthetic) for metric in metrics] == apart
    assert len(calls) == 1  # its halves are asked for elsewhere
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1  # the reference is kept, the synthetic images are not
