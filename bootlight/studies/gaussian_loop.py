"""What a bootstrap of normal pixels must do: the expected variance of each generation in closed form.

The generator fits mean and variance by maximum likelihood (division by n) and draws with `bias` times the fitted variance. All
formulas follow from the decomposition of a sum of squares into within and between parts and hold for every n, not only large
ones; for large n they are those of Alemohammad et al. (2024) and Gerstgrasser et al. (2024).
"""

from typing import NamedTuple


class Loop(NamedTuple):
    """A bootstrap of normal pixels.

    Attributes:
        policy: class of the mixing policy: `Replace`, `Accumulate`, `AccumulateSubsample` or `FreshReal`.
        num_real: real images in generation 0.
        num_taken: images that join of each generation.
        generations: how many, generation 0 included.
        keep_real: whether the real images stay.
        bias: variance of the drawn pixels over the fitted one.
    """

    policy: str
    num_real: int
    num_taken: int
    generations: int
    keep_real: bool = True
    bias: float = 1.0


def expected_variances(loop: Loop) -> list[float] | None:
    """Expected fitted variance of each generation, in units of generation 0.

    Given the fit of generation 0; for `FreshReal`, whose real images change, the expectation over that of generation 0.

    Returns:
        None where no formula is known for the policy, or a generation would have no images.
    """
    formulas = {
        "Replace": _replace,
        "Accumulate": _accumulate,
        "AccumulateSubsample": _accumulate_subsample,
        "FreshReal": _fresh_real,
    }
    if loop.policy not in formulas or min(loop.num_real, loop.num_taken) < 1:
        return None
    variances = formulas[loop.policy](loop)
    return [variance / variances[0] for variance in variances] if variances and variances[0] > 0 else None


def _replace(loop: Loop) -> list[float]:
    """N fixed real images, whose variance is 1, and m of the generation before; `offset` is E (mean - real mean)²."""
    real, m = loop.num_real * loop.keep_real, loop.num_taken
    n = real + m
    variances, offset = [1.0], 0.0
    for _ in range(loop.generations - 1):
        drawn = loop.bias * variances[-1]
        between = real * m / n * (offset + drawn / m)
        variances.append((real + (m - 1) * drawn + between) / n)
        offset = (m / n) ** 2 * (offset + drawn / m)
    return variances


def _accumulate(loop: Loop) -> list[float]:
    """v ← v (n + m c (1 - 1/(n + m))) / (n + m), where n images have gathered."""
    n, m = loop.num_real * loop.keep_real, loop.num_taken
    variances = [1.0]
    for _ in range(loop.generations - 1):
        variances.append(variances[-1] * (n + m * loop.bias * (1 - 1 / (n + m))) / (n + m))
        n += m
    return variances


def _accumulate_subsample(loop: Loop) -> list[float] | None:
    """As many of the n gathered images as there were at first, drawn without replacement; `pool` is the variance of the n."""
    n, m, s = loop.num_real, loop.num_taken, loop.num_real
    pool, variances = 1.0, list[float]()
    for generation in range(loop.generations):
        if s > n or n < 2:
            return None
        variances.append(pool * n / (n - 1) * (s - 1) / s)
        drawn = loop.bias * variances[-1]
        offset = pool * n / (n - 1) * (1 - s / n) / s  # E (mean of the s - mean of the n)²
        if generation == 0 and not loop.keep_real:
            pool, n = drawn * (1 - 1 / m), m
            continue
        pool = (n * pool + (m - 1) * drawn + n * m / (n + m) * (offset + drawn / m)) / (n + m)
        n += m
    return variances


def _fresh_real(loop: Loop) -> list[float]:
    """N other real images in each generation, true variance 1; `offset` is E (mean - true mean)²."""
    real, m = loop.num_real, loop.num_taken
    n = real + m
    variances, offset = [1 - 1 / real], 1 / real
    for _ in range(loop.generations - 1):
        drawn = loop.bias * variances[-1]
        between = real * m / n * (1 / real + offset + drawn / m)
        variances.append((real - 1 + (m - 1) * drawn + between) / n)
        offset = (real + m * m * offset + m * drawn) / n**2
    return variances
