"""Pixel features, and how networks and their scores are called."""

import pytest
import torch
from torch import nn

from bootlight.errors import BootlightError
from bootlight.metrics.distances.frechet import FrechetDistance
from bootlight.metrics.features.features import PixelFeatures, feature_name, score_name, weights_remark


def test_pixels_are_means_of_cells_between_0_and_1() -> None:
    image = torch.zeros(1, 2, 4, 6, dtype=torch.uint8)
    image[0, 1, :2, 3:] = torch.tensor([[0, 51, 102], [153, 204, 255]])
    # Upper right cell of the second channel: the mean of 0 to 5 fifths; exact up to float32.
    expected = [0, 0, 0, 0, 0, 0.5, 0, 0]
    assert PixelFeatures(2, channels=2)(image)[0].tolist() == pytest.approx(expected, abs=1e-7)


def test_pixels_of_another_number_of_channels_are_refused() -> None:
    with pytest.raises(BootlightError, match="images have 4 channels"):
        PixelFeatures()(torch.zeros(1, 4, 8, 8, dtype=torch.uint8))


def test_names_of_networks_and_scores() -> None:
    class MobileNet(nn.Module):
        pass

    imposter = MobileNet()
    assert (feature_name(imposter), score_name(imposter)) == ("mobilenet", "fd-mobilenet")
    imposter.name = 3
    assert feature_name(imposter) == "mobilenet"
    imposter.name = "fid"
    assert score_name(imposter) == "fd-fid"  # only the original weights earn the bare name
    assert score_name(PixelFeatures()) == "fd-pixels"


def test_other_weights_than_the_published_ones_are_remarked_on() -> None:
    class Other(PixelFeatures):
        def __init__(self, original: bool) -> None:
            super().__init__()
            self.protocol = {"original_weights": original}

    assert weights_remark(PixelFeatures()) == weights_remark(Other(True)) == ()
    (remark,) = weights_remark(Other(False))
    assert remark.startswith("pixels has other weights than the published ones")
    metric = FrechetDistance(features=Other(False))
    for real in (True, False):
        metric.update(torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8), real=real)
    (score,) = metric.scores().values()
    assert score.remarks[0] == remark
