"""Ready-made statistics of a reference: .npz files with `mu` and `sigma`, as most tools read and write them."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.io.atomic import atomic_write, file_sha256
from bootlight.metrics.distances.frechet import frechet_jackknife
from bootlight.metrics.distances.frechet_remarks import count_remark, tails_remark
from bootlight.metrics.distances.statistics import Statistics
from bootlight.metrics.features.feature_metric import common_protocol
from bootlight.metrics.features.features import score_name
from bootlight.metrics.score import Score

# What numpy and zipfile raise: missing, damaged, encrypted and oddly packed files.
FAULTS = (
    OSError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
MAX_BYTES = 2**31  # unpacked; 2048 features take 32 MiB
UNKNOWN_COUNT = 1_000_000  # the files of other tools do not say of how many images they are


def save_statistics(path: Path, statistics: Statistics) -> None:
    """Write `mu` (D,), `sigma` (D, D) and `n`."""
    with atomic_write(path) as file:
        np.savez(file, mu=statistics.mean.numpy(), sigma=statistics.cov.numpy(), n=statistics.n)


def load_statistics(path: Path) -> Statistics:
    """Read `mu` (D,), `sigma` (D, D) and, if it is there, `n`.

    Raises:
        BootlightError: the file is missing, does not hold these, or `sigma` is no covariance.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if sum(entry.file_size for entry in file.zip.infolist()) > MAX_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_BYTES} bytes")
            mean, cov = _numbers(file, "mu"), _numbers(file, "sigma")
            n = int(_numbers(file, "n").item()) if "n" in file else UNKNOWN_COUNT
        rounding = max(np.finfo(kind).eps for kind in (np.float32, cov.dtype) if np.issubdtype(kind, np.floating))
        mean, cov = mean.astype(np.float64), cov.astype(np.float64)
        _check(mean, cov, n, 4 * float(rounding) * mean.size**0.5)
    except FAULTS as error:
        raise BootlightError(f"{path}: no reference statistics, an .npz with mu and sigma ({error}); make it again") from error
    return Statistics(torch.from_numpy(mean), torch.from_numpy((cov + cov.T) / 2), n)


def _numbers(file: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """An array of finite real numbers.

    Raises:
        ValueError: it is anything else.
    """
    if name not in file:
        raise ValueError(f"there is no {name}, only {', '.join(file) or 'nothing'}")
    values = file[name]
    if values.dtype.kind not in "fiu":  # complex ones would lose their imaginary part
        raise ValueError(f"{name} has the type {values.dtype}, which is not of real numbers")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinity in it")
    return values


def _check(mean: NDArray[np.float64], cov: NDArray[np.float64], n: int, rounding: float) -> None:
    """Refuse what is no mean with a covariance; a distance to it would be a number like any other, and often a good one.

    Args:
        mean: (D,).
        cov: (D, D).
        n: images.
        rounding: of an eigenvalue, in units of the largest one.

    Raises:
        ValueError: says what is wrong.
    """
    if mean.ndim != 1 or not len(mean):
        raise ValueError(f"mu has the shape {mean.shape}; it must be a vector")
    if cov.ndim == 1:
        raise ValueError(f"sigma is a vector of {len(cov)}, such as standard deviations; it must be a covariance matrix")
    if cov.shape != (len(mean), len(mean)):
        raise ValueError(f"sigma has the shape {cov.shape}; to mu of {len(mean)} features belongs {(len(mean),) * 2}")
    if n < 2:
        raise ValueError(f"n is {n}; a covariance is of 2 images or more")
    largest = np.abs(cov).max()
    if largest == 0:
        raise ValueError("sigma is zero everywhere; it must be a covariance matrix")
    if np.abs(cov - cov.T).max() > rounding * largest:
        raise ValueError("sigma is not symmetric; it must be a covariance matrix")
    matrix = torch.from_numpy((cov + cov.T) / 2)
    if torch.linalg.cholesky_ex(matrix).info == 0:  # positive: a tenth of the time of eigenvalues
        return
    values = torch.linalg.eigvalsh(matrix)
    if values[0] < -rounding * values[-1].abs():
        raise ValueError(f"sigma has the eigenvalue {values[0].item():.3g}, and a covariance has none below 0")


def check_width(path: Path, real: Statistics, network: nn.Module, width: int) -> None:
    """Refuse statistics in a file that are of another feature network than the one that answers `width` numbers.

    Raises:
        BootlightError: they are.
    """
    if len(real.mean) != width:
        raise BootlightError(
            f"{path} holds statistics of {len(real.mean)} features, but {type(network).__name__} answers {width}; "
            "choose the --features that it was made with"
        )


def measure_against(path: Path, real: Statistics, network: nn.Module, synthetic: Tensor) -> dict[str, Score]:
    """Fréchet distance of synthetic features (N, D) to the statistics that a file holds."""
    found = frechet_jackknife(real=real, synthetic_features=synthetic)
    protocol = common_protocol(network, synthetic[:0], synthetic) | {"num_real": None, "reference_stats": file_sha256(path)}
    remark = f"of the reference only statistics are known; whether {path.name} was made with these features cannot be checked"
    tails = tails_remark(found.kurtosis, found.carriers, len(synthetic))
    remarks = (remark, *count_remark("synthetic", found.synthetic, found.bias), *tails)
    return {score_name(network): Score(found.value, found.standard_error, len(synthetic), protocol, None, remarks, False)}
