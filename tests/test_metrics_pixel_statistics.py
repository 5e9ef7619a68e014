"""Statistics that need no network, on pictures of which they are known."""

import math

import numpy as np
import pytest
import torch

from bootlight.errors import BootlightError
from bootlight.metrics.pixel_statistics import BANDS, NAMES, PixelDifference, PixelStatistics, pixel_differences, ring_powers


def statistics(*images: np.ndarray) -> dict[str, torch.Tensor]:
    answer = PixelStatistics()(torch.from_numpy(np.stack(images)))
    return dict(zip(NAMES, answer.T, strict=True))


def flat(*colour: int) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8)[:, None, None], (3, 16, 16)).copy()


def test_a_flat_colour():
    found = statistics(flat(255, 51, 102))
    assert found["brightness"].item() == pytest.approx((1 + 0.2 + 0.4) / 3, rel=1e-6)
    assert found["saturation"].item() == pytest.approx(0.8, rel=1e-6)
    # Zero up to the rounding of 1/255 in float64, whose square is far below the floor of the spectrum.
    assert found["contrast"].item() == pytest.approx(0, abs=1e-12) and found["sharpness"].item() == pytest.approx(0, abs=1e-24)
    assert found["spectrum-1of8"].item() == pytest.approx(-12)


def test_stripes_have_their_contrast_sharpness_and_ring():
    image = flat(0, 0, 0)
    image[:, :, ::2] = 255
    found = statistics(image)
    assert found["brightness"].item() == 0.5 and found["contrast"].item() == 0.5 and found["saturation"].item() == 0
    # Across a stripe of one pixel the Laplacian is 1 + 1 - 2 = ±2 with neighbours above and below equal: ±(2 - 0) -> 4.
    assert found["sharpness"].item() == pytest.approx(4)
    # Half a cycle a pixel is the end of the last ring; one of its frequencies carries 16² / 4, the others nothing.
    frequency = torch.hypot(*torch.meshgrid(torch.fft.fftfreq(16), torch.fft.fftfreq(16), indexing="ij"))
    count = ((frequency > 7 / 16) & (frequency <= 0.5)).sum().item()
    assert found["spectrum-8of8"].item() == pytest.approx(math.log10(64 / count), rel=1e-6)
    assert all(found[f"spectrum-{i}of8"].item() == pytest.approx(-12) for i in range(1, 8))


@pytest.mark.parametrize(("cycles", "ring"), [(1, 0), (3, 1), (5, 2), (15, 7)])
def test_a_wave_is_in_the_ring_of_its_frequency(cycles, ring):
    size = 32
    wave = torch.cos(2 * math.pi * cycles * torch.arange(size, dtype=torch.float64) / size).expand(1, size, size)
    powers = ring_powers(wave)[0]
    # Two of the frequencies of the ring carry size²/4 each; the ring's mean divides by how many there are: Parseval.
    rings = (
        torch.hypot(*torch.meshgrid(torch.fft.fftfreq(size), torch.fft.fftfreq(size), indexing="ij")) * 2 * BANDS
    ).ceil() - 1
    assert powers[ring].item() == pytest.approx(2 * size**2 / 4 / (rings == ring).sum().item(), rel=1e-9)
    assert powers.sum().item() == pytest.approx(powers[ring].item(), rel=1e-9)


def test_white_noise_is_flat():
    noise = 0.1 * torch.randn(200, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    powers = ring_powers(noise).mean(0)
    # The fewest frequencies are in the first ring, 12 of which half are independent: 200 * 6 exponentials, error 3 %.
    assert powers.tolist() == pytest.approx([0.01] * BANDS, rel=4 * 0.03)


def test_differences_are_in_units_of_the_spread_of_real_images():
    rng = torch.Generator().manual_seed(1)
    real, synthetic = (torch.randn(n, len(NAMES), generator=rng) for n in (50, 40))
    synthetic[:, 0] += 2
    scores = pixel_differences(real, synthetic)
    a, b = real.double().numpy(), synthetic.double().numpy()
    expected = (b.mean(0) - a.mean(0)) / a.std(0, ddof=1)
    assert [score.value for score in scores.values()] == pytest.approx(expected.tolist(), rel=1e-9)
    errors = b.std(0, ddof=1) / a.std(0, ddof=1) / math.sqrt(40)
    assert [score.standard_error for score in scores.values()] == pytest.approx(errors.tolist(), rel=1e-9)
    assert scores["brightness"].protocol["synthetic_mean"] == pytest.approx(b[:, 0].mean())


def test_alone_it_takes_images_and_sees_brightness():
    rng = np.random.default_rng(0)
    dark, light = (torch.from_numpy(rng.integers(0, 100, (20, 3, 16, 16), dtype=np.uint8) + shift) for shift in (0, 30))
    metrics = [PixelDifference(name) for name in ("brightness", "spectrum-4of8")]
    for metric in metrics:
        metric.update(dark, real=True)
        metric.update(light, real=False)
    brightness, spectrum = (metric.compute().item() for metric in metrics)
    expected = pixel_differences(PixelStatistics()(dark), PixelStatistics()(light))
    assert brightness == expected["brightness"].value > 10 and 1 > abs(spectrum) > 0
    assert metrics[1].scores() == {"spectrum-4of8": expected["spectrum-4of8"]}
    metrics[0].reset()
    metrics[0].update(dark, real=False)
    assert metrics[0].compute() == 0
    with pytest.raises(BootlightError, match="statistic is 'hue'; there are brightness"):
        PixelDifference("hue")


def test_small_images_are_refused():
    with pytest.raises(BootlightError, match="16 pixels or more, not 15 x 20"):
        PixelStatistics()(torch.zeros(1, 3, 20, 15, dtype=torch.uint8))
