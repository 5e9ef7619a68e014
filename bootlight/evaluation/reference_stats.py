"""Ready-made statistics of a reference: .npz files with `mu` and `sigma`, as most tools read and write them."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bootlight.atomic import atomic_write, file_sha256
from bootlight.errors import BootlightError
from bootlight.metrics.feature_metric import common_protocol
from bootlight.metrics.features import score_name
from bootlight.metrics.frechet import frechet_jackknife
from bootlight.metrics.frechet_remarks import count_remark
from bootlight.metrics.score import Score
from bootlight.metrics.statistics import Statistics

UNKNOWN_COUNT = 1_000_000  # the files of other tools do not say of how many images they are


def save_statistics(path: Path, statistics: Statistics) -> None:
    """Write `mu` (D,), `sigma` (D, D) and `n`."""
    with atomic_write(path) as file:
        np.savez(file, mu=statistics.mean.numpy(), sigma=statistics.cov.numpy(), n=statistics.n)


def load_statistics(path: Path) -> Statistics:
    """Read `mu` (D,), `sigma` (D, D) and, if it is there, `n`.

    Raises:
        BootlightError: the file is missing, or does not hold these.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, cov = np.asarray(file["mu"], np.float64), np.asarray(file["sigma"], np.float64)
            n = int(file["n"]) if "n" in file else UNKNOWN_COUNT
        if mean.ndim != 1 or cov.shape != (len(mean), len(mean)) or not (np.isfinite(mean).all() and np.isfinite(cov).all()):
            raise ValueError(f"mu has the shape {mean.shape} and sigma {cov.shape}, or they are not finite")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BootlightError(f"{path}: no reference statistics, an .npz with mu and sigma ({error}); make it again") from error
    return Statistics(torch.from_numpy(mean), torch.from_numpy((cov + cov.T) / 2), n)


def measure_against(path: Path, network: nn.Module, synthetic: Tensor) -> dict[str, Score]:
    """Fréchet distance of synthetic features (N, D) to the statistics in a file.

    Raises:
        BootlightError: the file is of another feature network.
    """
    real = load_statistics(path)
    if len(real.mean) != synthetic.shape[1]:
        raise BootlightError(
            f"{path} holds statistics of {len(real.mean)} features, but {type(network).__name__} answers {synthetic.shape[1]}; "
            "choose the --features that it was made with"
        )
    found = frechet_jackknife(real=real, synthetic_features=synthetic)
    protocol = common_protocol(network, synthetic[:0], synthetic) | {"num_real": None, "reference_stats": file_sha256(path)}
    remark = f"of the reference only statistics are known; whether {path.name} was made with these features cannot be checked"
    remarks = (remark, *count_remark("synthetic", found.synthetic, found.bias))
    return {score_name(network): Score(found.value, found.standard_error, len(synthetic), protocol, None, remarks)}
