"""What can be said of images without a network: brightness, contrast, saturation, sharpness, and their spectrum."""

from typing import Any

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.score import Score

BANDS = 8
LEAST_EDGE = 2 * BANDS  # pixels: a shorter edge has no such rings
FLOOR = 1e-12  # power of a band that is empty: its logarithm must be finite
NAMES = ("brightness", "contrast", "saturation", "sharpness", *(f"spectrum-{i + 1}of{BANDS}" for i in range(BANDS)))


class PixelStatistics(nn.Module):
    """Twelve numbers of each image, as a feature network.

    Pixels are taken in [0, 1], those of float data as they are; grey is their mean over channels.

    - brightness: mean of grey; contrast: its standard deviation.
    - saturation: mean over pixels of the largest minus the smallest channel.
    - sharpness: mean square of the discrete Laplacian of grey, edges left out.
    - spectrum: log10 of the mean power of grey, its mean taken away, in 8 rings of equal width of spatial frequency, up to
      half a cycle a pixel; corners beyond are left out. The power of white noise of variance v is v in every ring.
    """

    name = "pixel-statistics"
    takes_float = True
    num_features = len(NAMES)

    def forward(self, images: Tensor) -> Tensor:
        """Statistics (B, 12) of images (B, C, H, W), uint8 or float32.

        Raises:
            BootlightError: an edge shorter than 16 pixels, which has no 8 rings.
        """
        if min(images.shape[2:]) < LEAST_EDGE:
            height, width = images.shape[2:]
            raise BootlightError(f"pixel statistics need images of {LEAST_EDGE} pixels or more, not {width} x {height}")
        pixels = images.double() if images.is_floating_point() else images.double() / 255
        grey = pixels.mean(1)
        laplacian = grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] + grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] - 4 * grey[:, 1:-1, 1:-1]
        columns = [
            grey.mean((1, 2)),
            grey.flatten(1).std(1, correction=0),
            (pixels.amax(1) - pixels.amin(1)).mean((1, 2)),
            laplacian.square().mean((1, 2)),
        ]
        return torch.cat([torch.stack(columns, 1), ring_powers(grey).clamp(min=FLOOR).log10()], dim=1).float()


def ring_powers(grey: Tensor) -> Tensor:
    """Mean power (B, 8) of grey images (B, H, W) in rings of spatial frequency."""
    height, width = grey.shape[1:]
    centred = grey - grey.mean((1, 2), keepdim=True)
    power = torch.fft.fft2(centred).abs().square() / (height * width)
    frequency = torch.hypot(*torch.meshgrid(torch.fft.fftfreq(height), torch.fft.fftfreq(width), indexing="ij"))
    ring = ((frequency / 0.5 * BANDS).ceil().long() - 1).to(grey.device)  # -1: the mean, which is no frequency
    return torch.stack([power[:, ring == i].mean(1) for i in range(BANDS)], dim=1)


def pixel_differences(real: Tensor, synthetic: Tensor) -> dict[str, Score]:
    """Difference of each mean pixel statistic (N, 12), (M, 12) from that of the real images, in their standard deviations.

    0 = no difference. `spectrum-8of8` far below 0 means blur, above 0 noise or the traces of upsampling. The standard error is
    over redraws of the synthetic images; the real mean is taken as exact.

    Raises:
        BootlightError: fewer than 2 images on a side.
    """
    if min(len(real), len(synthetic)) < 2:
        raise BootlightError(f"pixel statistics need 2 images on each side, got {len(real)} and {len(synthetic)}")
    real, synthetic = real.double(), synthetic.double()
    unit = real.std(0)
    unit = torch.where(unit > 0, unit, torch.ones_like(unit))  # all real images agree: the difference itself
    differences = (synthetic.mean(0) - real.mean(0)) / unit
    errors = synthetic.std(0) / unit / len(synthetic) ** 0.5
    scores = {}
    for i, name in enumerate(NAMES):
        protocol = {
            "unit": "standard deviations of real images",
            "num_real": len(real),
            "num_synthetic": len(synthetic),
            "real_mean": real[:, i].mean().item(),
            "synthetic_mean": synthetic[:, i].mean().item(),
        }
        scores[name] = Score(differences[i].item(), errors[i].item(), len(synthetic), protocol)
    return scores


class PixelDifference(FeatureMetric):
    """How far one pixel statistic of synthetic images is from that of real ones, under its name; see `pixel_differences`.

    Args:
        statistic: one of `NAMES`.
        settings: as for `FeatureMetric`.

    Raises:
        BootlightError: there is no such statistic.
    """

    higher_is_better = None

    def __init__(self, statistic: str, **settings: Any) -> None:
        super().__init__(features=PixelStatistics(), **settings)
        if statistic not in NAMES:
            raise BootlightError(f"PixelDifference.statistic is {statistic!r}; there are {', '.join(NAMES)}")
        self.name = statistic

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The score under `name`.

        Raises:
            BootlightError: as `pixel_differences`.
        """
        return {self.name: pixel_differences(real, synthetic)[self.name]}
