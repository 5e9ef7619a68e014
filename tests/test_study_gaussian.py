"""The loops of a boundary study with `PixelGaussian` lie on their closed forms, through the command line."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_runs import write_plain_pages

from bootlight.runs.folder import RunFolder
from bootlight.studies.gaussian_loop import Loop, expected_variances

SIZE, REAL, DRAWN, LAST = 16, 100, 100, 3
PIXELS = 3 * SIZE**2
BIAS = 0.5
DEVIATION = 0.2
GREY = (1 / 127.5) ** 2 / 12  # variance that rounding to grey levels adds, at each time that images are saved


@dataclass
class Moments:
    """What is expected of the fit of a generation, averaged over pixels.

    Args:
        variance: of the fit.
        spread: mean square of (mean of the fit - mean of the set with which the next step mixes its images).
    """

    variance: float
    spread: float = 0.0


def mixed(first: float, second: float, share: float, gap: float) -> float:
    """Variance of a mixture of two sets, of which the first has `share` and whose means are √gap apart."""
    return share * first + (1 - share) * second + share * (1 - share) * gap


def replace_all(fits: list[Moments], real: float, drawn: int) -> Moments:
    """Generation after generation from `drawn` images alone: E v' = c v (1 - 1/m)."""
    return Moments((BIAS * fits[-1].variance + GREY) * (1 - 1 / drawn))


def replace_some(fits: list[Moments], real: float, drawn: int) -> Moments:
    """Real images that stay, and `drawn` of the last generation; `spread` is E (mean of the fit - mean of the real)^2."""
    last, share = fits[-1], REAL / (REAL + drawn)
    v = BIAS * last.variance + GREY
    gap = last.spread + v / drawn
    return Moments(mixed(real, v * (1 - 1 / drawn), share, gap), (1 - share) ** 2 * gap)


def accumulate(fits: list[Moments], real: float, drawn: int) -> Moments:
    """The fit of a generation is that of the whole pool, to which its own images are added."""
    pool, v = REAL + (len(fits) - 1) * drawn, BIAS * fits[-1].variance + GREY
    share = pool / (pool + drawn)
    return Moments(mixed(fits[-1].variance, v * (1 - 1 / drawn), share, v / drawn))


def fresh(fits: list[Moments], real: float, drawn: int) -> Moments:
    """Real images of their own for each generation: only what all share, the true mean 0, is known of them."""
    last, share, truth = fits[-1], REAL / (REAL + drawn), DEVIATION**2 + GREY
    v = BIAS * last.variance + GREY
    gap = last.spread + truth / REAL + v / drawn
    variance = mixed(truth * (1 - 1 / REAL), v * (1 - 1 / drawn), share, gap)
    return Moments(variance, share**2 * truth / REAL + (1 - share) ** 2 * (last.spread + v / drawn))


def subsampled(real: float, drawn: int, size: int, last: int, bias: float) -> list[float]:
    """Fits to `size` images drawn without replacement from the pool; the pool itself gets images of those fits."""
    pool, count, fits = real, REAL, [real]
    for generation in range(1, last + 1):
        # Of a fit to the images s of the pool P: E v_s = v_P P/(P-1) (1 - 1/s), E (mean_s - mean_P)^2 = v_P/(P-1) (P-s)/s.
        fit, gap = (pool, 0.0) if generation == 1 else drawn_from(pool, count, size)
        v = bias * fit + GREY
        pool = mixed(pool, v * (1 - 1 / drawn), count / (count + drawn), gap + v / drawn)
        count += drawn
        fits.append(drawn_from(pool, count, size)[0])
    return fits


def drawn_from(pool: float, count: int, size: int) -> tuple[float, float]:
    return pool * count / (count - 1) * (1 - 1 / size), pool / (count - 1) * (count - size) / size


@pytest.fixture(autouse=True)
def _plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


def run(bootlight, tmp_path, *options: str, count: int = REAL, sizes: list[int], bias: float = BIAS) -> list[float]:
    """Variance of the fit of each generation, averaged over pixels; checks the sizes of the training sets."""
    folder = tmp_path / "run"
    bootlight(
        "fit", "--model=bootlight.PixelGaussian", f"--model.sampling_bias={bias}", "--data.origin=bootlight.GaussianImages",
        f"--data.origin.image_size={SIZE}", "--data.origin.channels=3", f"--data.origin.count={count}",
        "--data.holdout_fraction=0", "--data.batch_size=10", "--data.num_epochs=1", f"--data.origin.deviation={DEVIATION}",
        *options, f"--bootstrap.run_dir={folder}", f"--bootstrap.num_generations={LAST + 1}",
        f"--bootstrap.num_synthetic={DRAWN}", "--evaluation.judge_steps=0", "--evaluation.metrics=[]",
        "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    )  # fmt: skip
    found = []
    for generation in RunFolder(folder).generations():
        state = load_file(generation.weights)
        mean, square = state["sums"] / state["count"]
        assert int(state["count"]) == sizes[len(found)]
        found.append(float((square - mean**2).mean()))
    return found


def tolerance(drawn: int) -> float:
    """Four standard errors, relative, of the mean over pixels after `LAST` steps.

    A variance fitted to n independent values has relative variance about 2/n. At most n = `drawn` new values enter at each of
    the `LAST` steps, and n = `REAL` at the start; pixels are independent.
    """
    return 4 * float(np.sqrt((LAST * 2 / (drawn - 1) + 2 / REAL) / PIXELS))


@pytest.mark.parametrize(
    ("policy", "step", "sizes"),
    [
        (["--data.mixing=bootlight.Replace", "--data.mixing.keep_real=false"], replace_all, [100, 100, 100, 100]),
        (["--data.mixing=bootlight.Replace"], replace_some, [100, 200, 200, 200]),
        (["--data.mixing=bootlight.Accumulate", "--data.mixing.synthetic_ratio=0.5"], accumulate, [100, 150, 200, 250]),
    ],
    ids=["replace", "fixed real", "accumulate half"],
)
def test_a_loop_lies_on_its_closed_form(bootlight, tmp_path, policy, step, sizes):
    found = run(bootlight, tmp_path, *policy, sizes=sizes)
    drawn = DRAWN // 2 if sizes[1] == 150 else DRAWN
    expected = [Moments(found[0])]  # the fit to the real images is exact
    for _ in range(LAST):
        expected.append(step(expected, found[0], drawn))
    relative = np.array(found) / [fit.variance for fit in expected] - 1
    assert np.abs(relative).max() < tolerance(drawn), relative


def test_the_fresh_data_loop_lies_on_its_closed_form(bootlight, tmp_path):
    parts = ["--data.mixing=bootlight.FreshReal", f"--data.mixing.num_parts={LAST + 1}"]
    found = run(bootlight, tmp_path, *parts, count=REAL * (LAST + 1), sizes=[100, 200, 200, 200])
    truth = DEVIATION**2 + GREY
    expected = [Moments(truth * (1 - 1 / REAL), truth / REAL)]
    for _ in range(LAST):
        expected.append(fresh(expected, found[0], DRAWN))
    relative = np.array(found) / [fit.variance for fit in expected] - 1
    assert np.abs(relative).max() < tolerance(DRAWN), relative


def test_the_subsampled_loop_lies_on_its_closed_form(bootlight, tmp_path):
    bias = 0.8
    found = run(bootlight, tmp_path, "--data.mixing=bootlight.AccumulateSubsample", sizes=[REAL] * (LAST + 1), bias=bias)
    expected = subsampled(found[0], DRAWN, REAL, LAST, bias)
    relative = np.array(found) / expected - 1
    # Single images: √2 times the errors of `tolerance`, as subsets are drawn too. And all pixels share the subset: its number
    # of real images has a standard deviation of at most √(100/4 · 1/2) = 3.5 of 100, and variances of the parts are about a
    # fifth apart, so that three draws add √3 · 0.2 · 0.035 = 0.012.
    assert np.abs(relative).max() < np.hypot(2**0.5 * tolerance(DRAWN), 4 * 0.012), relative
    assert found[LAST] < 0.9 * found[0]


def test_the_closed_forms_are_told_apart():
    """A loop that ran another policy would be seen. Two pairs have about one mean and are told apart by `sizes` and in
    `test_mixing.py`: a subsample and its pool, fixed and fresh real images."""
    last = []
    for step in (replace_all, accumulate, replace_some):
        fits = [Moments(DEVIATION**2)]
        for _ in range(LAST):
            fits.append(step(fits, DEVIATION**2, DRAWN))
        last.append(fits[-1].variance)
    assert all(b / a - 1 > 4 * tolerance(DRAWN) for a, b in pairwise(last)), last


def test_large_numbers_give_the_formulas_of_the_literature():
    """c^k v for replacement, v prod (N + i m + c m)/(N + i m + m) for accumulation, l v/(1 - (1 - l) c) for a fixed share."""
    real, taken, bias = 1000 * 10**6, 300 * 10**6, 0.8

    def last(policy: str, generations: int, keep_real: bool = True) -> float:
        return expected_variances(Loop(policy, real, taken, generations, keep_real=keep_real, bias=bias))[-1]

    share = real / (real + taken)
    product = np.prod([(1000 + 300 * i + 240) / (1000 + 300 * i + 300) for i in range(10)])
    assert last("Replace", 11, keep_real=False) == pytest.approx(0.8**10, rel=1e-6)
    assert last("Accumulate", 11) == pytest.approx(product, rel=1e-6) and product == pytest.approx(0.771, abs=5e-4)
    for policy in ("Replace", "FreshReal"):
        assert last(policy, 201) == pytest.approx(share / (1 - (1 - share) * bias), rel=1e-6)
