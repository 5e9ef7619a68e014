"""Files of mean and covariance: what is none is refused, whatever number a distance to it would be."""

import re

import numpy as np
import pytest
import torch

from bootlight.errors import BootlightError
from bootlight.evaluation import options, reference_stats
from bootlight.evaluation.reference_stats import load_statistics, save_statistics
from bootlight.io.pictures import encode_png
from bootlight.metrics.distances.statistics import feature_statistics

FEATURES = np.random.default_rng(0).standard_normal((50, 4))
MU, SIGMA = FEATURES.mean(0), np.cov(FEATURES.T)
LOPSIDED = SIGMA + np.triu(np.full((4, 4), 0.1), 1)


def saved(path, **arrays):
    np.savez(path / "stats.npz", **arrays)
    return path / "stats.npz"


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.longdouble])
@pytest.mark.parametrize("rank", [4, 2])
def test_a_covariance_in_any_precision_is_taken(tmp_path, kind, rank):
    few = FEATURES[: rank + 1]  # of rank + 1 images the covariance has the eigenvalue 0, give or take rounding
    mu, sigma = few.mean(0).astype(kind), np.cov(few.T).astype(kind)
    found = load_statistics(saved(tmp_path, mu=mu, sigma=sigma, n=rank + 1))
    assert found.n == rank + 1
    np.testing.assert_array_equal(found.mean, mu.astype(np.float64))
    np.testing.assert_allclose(found.cov, sigma.astype(np.float64), rtol=1e-12, atol=1e-12)


def test_what_was_saved_is_read(tmp_path):
    statistics = feature_statistics(torch.from_numpy(FEATURES))
    save_statistics(tmp_path / "stats.npz", statistics)
    found = load_statistics(tmp_path / "stats.npz")
    assert found.n == 50 and torch.equal(found.mean, statistics.mean)
    torch.testing.assert_close(found.cov, statistics.cov, rtol=1e-12, atol=1e-15)
    integers = load_statistics(saved(tmp_path, mu=np.zeros(2, int), sigma=np.eye(2, dtype=int)))
    assert integers.n == 1_000_000 and torch.equal(integers.cov, torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("arrays", "wrong"),
    [
        ({"mu": MU, "sigma": np.zeros((4, 4))}, "sigma is zero everywhere"),
        ({"mu": MU, "sigma": LOPSIDED}, "sigma is not symmetric"),
        ({"mu": MU, "sigma": -SIGMA}, "eigenvalue -"),
        ({"mu": MU, "sigma": SIGMA - np.linalg.eigvalsh(SIGMA)[1] * np.eye(4)}, "eigenvalue -"),
        ({"mu": MU, "sigma": SIGMA[:3]}, r"sigma has the shape (3, 4)"),
        ({"mu": MU, "sigma": SIGMA[:3, :3]}, r"sigma has the shape (3, 3)"),
        ({"mu": MU, "sigma": SIGMA[None]}, r"sigma has the shape (1, 4, 4)"),
        ({"mu": MU, "sigma": SIGMA.diagonal() ** 0.5}, "sigma is a vector of 4"),
        ({"mu": MU[:3], "sigma": SIGMA}, "mu of 3 features"),
        ({"mu": MU[None], "sigma": SIGMA}, "mu has the shape (1, 4)"),
        ({"mu": MU[:0], "sigma": SIGMA[:0, :0]}, "mu has the shape (0,)"),
        ({"mu": np.float64(1), "sigma": SIGMA}, "mu has the shape ()"),
        ({"mu": SIGMA, "sigma": MU}, "mu has the shape (4, 4)"),
        ({"mu": MU, "sigma": np.where(np.eye(4) > 0, np.nan, SIGMA)}, "sigma has NaN"),
        ({"mu": MU * np.inf, "sigma": SIGMA}, "mu has NaN"),
        ({"mu": MU, "sigma": SIGMA + 0j}, "sigma has the type complex128"),
        ({"mu": MU, "sigma": SIGMA.astype(str)}, "sigma has the type <U"),
        ({"mu": MU, "sigma": SIGMA > 0}, "sigma has the type bool"),
        ({"mu": MU, "sigma": SIGMA.astype(object)}, "allow_pickle"),
        ({"mu": MU}, "there is no sigma, only mu"),
        ({"mean": MU, "cov": SIGMA}, "there is no mu, only mean, cov"),
        ({"mu": MU, "sigma": SIGMA, "n": 1}, "n is 1"),
        ({"mu": MU, "sigma": SIGMA, "n": MU}, "size 1"),
    ],
)
def test_what_is_no_covariance_is_refused_by_name(tmp_path, arrays, wrong):
    with pytest.raises(BootlightError, match=rf"stats\.npz: .*{re.escape(wrong)}"):
        load_statistics(saved(tmp_path, **arrays))


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", SIGMA)
    (tmp_path / "b.npz").write_bytes(b"no zip")
    for name in ("a.npy", "b.npz", "missing.npz"):
        with pytest.raises(BootlightError, match=re.escape(name)):
            load_statistics(tmp_path / name)


def test_it_is_refused_before_any_image_is_looked_at(bootlight, tmp_path, monkeypatch):
    def looked_at(*_):
        raise AssertionError("images were read")

    monkeypatch.setattr(options, "extract", looked_at)
    (tmp_path / "drawn").mkdir()
    for i in range(3):
        (tmp_path / "drawn" / f"{i}.png").write_bytes(encode_png(np.full((4, 4, 3), i, np.uint8)))
    command = ["evaluate", "--synthetic=drawn", "--features=bootlight.PixelFeatures", "--features.size=1"]
    for sigma, mu in ((LOPSIDED, MU), (SIGMA, MU)):  # the second is good, but of 4 features and not of 3
        with pytest.raises(BootlightError, match=r"stats\.npz"):
            bootlight(*command, f"--reference-stats={saved(tmp_path, mu=mu, sigma=sigma)}")


@pytest.mark.parametrize(("place", "bits"), [(6, 1), (6, 32), (8, 99)])
def test_files_that_zipfile_does_not_read_are_refused(tmp_path, place, bits):
    """Encrypted, patched, of an unknown method: the flags and the method follow each signature of an entry (APPNOTE 4.3)."""
    path = saved(tmp_path, mu=MU, sigma=SIGMA)
    data = bytearray(path.read_bytes())
    for signature, shift in ((b"PK\3\4", 0), (b"PK\1\2", 2)):  # the directory has one more version number before them
        at = data.find(signature)
        while at >= 0:
            data[at + shift + place] |= bits
            at = data.find(signature, at + 1)
    path.write_bytes(data)
    with pytest.raises(BootlightError, match="no reference statistics"):
        load_statistics(path)


def test_a_file_that_unpacks_to_more_than_it_may_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_stats, "MAX_BYTES", 200)
    with pytest.raises(BootlightError, match="unpacks to more than 200 bytes"):
        load_statistics(saved(tmp_path, mu=MU, sigma=SIGMA))
