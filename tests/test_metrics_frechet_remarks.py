"""What Fréchet distances say of too few images and of collapsed features."""

import pytest
import torch
from torch import Tensor, nn

from bootlight.metrics.distances.fd_infinity import FrechetInfinity
from bootlight.metrics.distances.frechet import FrechetDistance, frechet_distance, frechet_jackknife
from bootlight.metrics.distances.frechet_remarks import collapse_remarks, count_remark, effective_rank, real_bias
from bootlight.metrics.distances.statistics import Statistics, feature_statistics
from bootlight.metrics.features.features import PixelFeatures


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def known(variances: list[float], n: int = 10**9) -> Statistics:
    return Statistics(torch.zeros(len(variances)).double(), torch.tensor(variances).double().diag(), n)


def remarks(real: Tensor, synthetic: Tensor, features: nn.Module | None = None) -> tuple[str, ...]:
    (score,) = FrechetDistance(features=features or PixelFeatures()).measure(real, synthetic).values()
    return score.remarks


def test_enough_images_need_no_remark() -> None:
    assert remarks(normal(80, 8), normal(80, 8, seed=1)) == ()


@pytest.mark.parametrize(
    ("count", "fault"), [(79, "are fewer than 10 for each of 8"), (9, "are fewer than 10"), (8, "have a cov")]
)
def test_few_synthetic_images_are_told_with_their_bias(count: int, fault: str) -> None:
    real, synthetic = normal(80, 8), normal(count, 8, seed=1)
    (remark,) = remarks(real, synthetic)
    bias = frechet_jackknife(real=feature_statistics(real), synthetic_features=synthetic).bias
    assert remark.startswith(f"{count} synthetic images {fault}")
    assert f"about {bias:.2g} of the distance" in remark and remark.endswith("or compare by kid.")


def test_two_images_are_told_without_a_figure() -> None:
    (remark,) = remarks(normal(80, 8), normal(2, 8, seed=1))
    assert "2 synthetic images have a covariance without full rank in 8 features: much of" in remark


def test_few_real_images_are_told_with_their_bias() -> None:
    (remark,) = remarks(normal(40, 8), 2 * normal(400, 8, seed=1))
    assert remark.startswith("40 real images are fewer than 10 for each of 8 features: about ")
    # Flat normal features, s = 2: (tr C_r + (8 * 8 * 1 + 8 * 1) / 2) / 40 = 1.1, known to 10 % from 40 images.
    assert float(remark.split("about ")[1].split()[0]) == pytest.approx(1.1, rel=0.25)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_bias_of_the_reference_from_that_of_the_synthetic_images(scale: float) -> None:
    real, root = known([1.0, 1.0, 0.5, 0.25]), torch.tensor([1.0, 0.3, 2.0, 0.5]).double() * scale
    synthetic, count = known(root.square().tolist()), 200
    # The excess of the distance when the reference is drawn, against what the bias of synthetic images lets expect.
    draws = [feature_statistics(draw * real.cov.diagonal().sqrt()) for draw in normal(400, count, 4, seed=2)]
    values = torch.tensor([frechet_distance(real=draw, synthetic=synthetic) for draw in draws])
    truth = frechet_distance(real=real, synthetic=synthetic)
    mirrored = [frechet_jackknife(real=real, synthetic_features=draw * root) for draw in normal(20, count, 4, seed=3)]
    expected = sum(real_bias(real, found.synthetic, found.bias) * real.n for found in mirrored) / 20 / count
    # Three standard errors of the mean of 400 draws; the expectation itself is known to 2 %.
    assert values.mean().item() - truth == pytest.approx(expected, abs=3 * values.std().item() / 20 + 0.02 * expected)
    assert real_bias(real, synthetic, None) is None


def test_no_bias_below_zero_is_told() -> None:
    (remark,) = count_remark("real", known([1.0] * 4, n=39), -1e-13)
    assert "about 0 of the distance" in remark
    assert count_remark("real", known([1.0] * 4, n=40), 1.0) == ()


def test_effective_rank() -> None:
    assert effective_rank(torch.tensor([2.0] * 5 + [0.0] * 3)) == pytest.approx(5, rel=1e-6)
    # Shares 3/4 and 1/4: e^H = (4/3)^(3/4) 4^(1/4).
    assert effective_rank(torch.tensor([3.0, 1.0]).double()) == pytest.approx((4 / 3) ** 0.75 * 4**0.25, rel=1e-14)
    assert effective_rank(torch.zeros(3)) == effective_rank(torch.zeros(0)) == 1


def sides(real: list[float], synthetic: list[float], num_real: int = 1000, num_synthetic: int = 1000) -> list[str]:
    variances = {"real_variances": torch.tensor(real), "synthetic_variances": torch.tensor(synthetic)}
    found = collapse_remarks(**variances, num_real=num_real, num_synthetic=num_synthetic)
    return [remark.split()[1] for remark in found if "collapsed" in remark]


@pytest.mark.parametrize(
    ("real", "synthetic", "expected"),
    [
        ([1.0] * 8, [0.00999] * 8, ["synthetic"]),  # 1 % of the variance
        ([1.0] * 8, [0.0101] * 8, []),
        ([0.00999] * 8, [1.0] * 8, ["real"]),
        ([1.0] * 39, [1.0] * 7 + [0.0] * 32, ["synthetic"]),  # a fifth of the rank
        ([1.0] * 39, [1.0] * 8 + [0.0] * 31, []),
        ([1.0] * 7 + [0.0] * 32, [1.0] * 39, []),  # real images beside noise
        ([10.0, 1.0] + [0.0] * 37, [1.0] * 39, ["real"]),  # nearly a line
        ([0.0] * 3, [0.0] * 3, ["synthetic", "real"]),
    ],
)
def test_who_collapsed(real: list[float], synthetic: list[float], expected: list[str]) -> None:
    assert sides(real, synthetic) == expected


def test_few_images_cannot_have_a_high_rank() -> None:
    real, line = [1.0] * 64, [1.0] + [0.0] * 63
    assert sides(real, line, num_synthetic=6) == ["synthetic"]  # 1 of the 5 that they could have
    assert sides(real, line, num_synthetic=5) == []
    assert sides(line, real, num_real=6) == ["real"] and sides(line, real, num_real=5) == []


@pytest.mark.parametrize("metric", [FrechetDistance, FrechetInfinity])
@pytest.mark.parametrize("which", ["synthetic", "real", "both"])
def test_collapsed_features_have_a_finite_correct_distance(metric: type, which: str) -> None:
    healthy, same = normal(100, 8), torch.full((100, 8), 0.1)
    real, synthetic = {"synthetic": (healthy, same), "real": (same, healthy), "both": (same, same + 1)}[which]
    (score,) = metric(features=PixelFeatures()).measure(real, synthetic).values()
    shift = (real.double().mean(0) - synthetic.double().mean(0)).square().sum()
    # Nothing is transported; the only bias is that of the synthetic mean, tr C / n.
    variance = 0.0 if which == "both" else healthy.var(0).sum().item()
    bias = variance / 100 if metric is FrechetInfinity and which == "real" else 0.0
    assert score.value == pytest.approx(shift.item() + variance - bias, rel=1e-3 if bias else 1e-13)
    told = [remark.split()[1] for remark in score.remarks if "collapsed" in remark]
    assert told == (["synthetic", "real"] if which == "both" else [which])


def test_features_of_one_direction_collapsed() -> None:
    line = normal(100, 1) * normal(1, 8, seed=5)
    real = normal(200, 8, seed=6)  # all alike, so of an effective rank just below 8
    (remark,) = [remark for remark in remarks(real, line) if "collapsed" in remark]
    assert remark.endswith("effective rank 1.0 where 7.9 is to be expected.")


@pytest.mark.parametrize(("count", "expected"), [(5, []), (6, ["real"])])
def test_a_line_of_few_real_images_is_no_collapse(count: int, expected: list[str]) -> None:
    line = normal(count, 1) * normal(1, 8, seed=5)
    told = [remark.split()[1] for remark in remarks(line, normal(200, 8, seed=6)) if "collapsed" in remark]
    assert told == expected  # of 4, and of 5, that so many could have


def test_a_few_images_over_and_over_collapsed() -> None:
    (remark,) = [remark for remark in remarks(normal(300, 30), normal(5, 30, seed=1).repeat(60, 1)) if "collapsed" in remark]
    assert remark.startswith("The synthetic features collapsed: ")
