"""The Fréchet distance of spatial features."""

import hashlib
from pathlib import Path

import pytest
from random_inception import noise
from torch import Tensor, nn

from bootlight.metrics.distances.frechet import FrechetDistance
from bootlight.metrics.distances.sfid import SpatialFrechetDistance
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.features.inception import InceptionFeatures


class Corners(nn.Module):
    """Pooled features that forget the place, and spatial ones that do not."""

    protocol = {"resize": "none"}  # noqa: RUF012

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs(images)["features"]

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        spatial = images.float() / 255
        return {"features": spatial.mean((2, 3)), "spatial": spatial[:, 0].flatten(1)}


def test_it_is_the_distance_of_spatial_features() -> None:
    real, synthetic, network = noise(60, 0, edge=2), noise(50, 1, edge=2) // 2, Corners()
    metric = SpatialFrechetDistance(features=network)
    metric.update(real, real=True)
    metric.update(synthetic, real=False)
    sides = [images[:, 0].reshape(-1, 4) / 255 for images in (real, synthetic)]
    (expected,) = FrechetDistance(features=network).measure(*sides).values()
    protocol = {**expected.protocol, "output": "spatial"}
    assert metric.scores() == {"sfd-corners": expected._replace(protocol=protocol)}
    assert protocol["num_features"] == 4 and protocol["resize"] == "none"


def test_it_sees_what_is_in_the_wrong_place() -> None:
    real = noise(60, 0, edge=2)
    real[:, :, 0] //= 4  # dark above
    sides = {}
    for metric in (SpatialFrechetDistance(features=Corners()), FrechetDistance(features=Corners())):
        metric.update(real, real=True)
        metric.update(real.flip(2), real=False)
        (sides[type(metric)],) = (score.value for score in metric.scores().values())
    # Pooled features are the same ones. The spatial means differ by 3/8 in each of 4 places, 0.56, known to 0.04 / 60^½ each.
    assert sides[FrechetDistance] == pytest.approx(0, abs=1e-9)
    assert sides[SpatialFrechetDistance] > 0.4


@pytest.mark.parametrize(("resize", "name"), [("tf", "sfid"), ("clean", "sfid-clean")])
def test_only_the_original_network_earns_the_name(
    resize: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"original")
    network = InceptionFeatures(str(path), resize=resize)
    assert SpatialFrechetDistance(features=network).name.startswith("sfd-inception-")
    monkeypatch.setattr(InceptionFeatures, "original_sha256", hashlib.sha256(b"original").hexdigest()[:8])
    assert SpatialFrechetDistance(features=network).name == name


def test_names_of_other_networks() -> None:
    assert SpatialFrechetDistance(features=PixelFeatures()).name == "sfd-pixels"
    assert SpatialFrechetDistance(features=PixelFeatures(), name="mine").name == "mine"
