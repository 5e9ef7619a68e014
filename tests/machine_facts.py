"""What torch might say about a machine, for the tests of `bootlight doctor`."""

from collections import namedtuple

TORCH = {
    "version": "2.15.0+cu132", "cuda": "13.2", "hip": None, "threads": 1, "cpu_capability": "AVX2", "cpu_bf16": [],
    "mps_bytes": None, "gloo": True, "nccl": "2.30.7",
}  # fmt: skip
FACTS = {
    "torch": TORCH,
    "torchvision": {"version": "0.29.2+cu132", "cuda": 13020},
    "cuda": {"devices": [], "why_not": ""},
}
GIB = 2**30
Usage = namedtuple("Usage", "total used free")


def only(findings):
    """The single finding of a check, which has a cure exactly when it is not ok."""
    (finding,) = findings
    assert (finding.cure == "") == (finding.status == "ok")
    return finding
