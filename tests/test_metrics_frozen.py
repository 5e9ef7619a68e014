"""A frozen network is asked in full precision, and the program's own settings come back."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bootlight.metrics.features.frozen import Frozen, full_precision

PLACES: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _settings_come_back() -> Iterator[None]:
    before = [place.fp32_precision for place in PLACES]
    yield
    for place, value in zip(PLACES, before, strict=True):
        place.fp32_precision = value


def settings() -> list[str]:
    return [place.fp32_precision for place in PLACES]


class Witness(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        self.seen = settings()
        return images.flatten(1).float()


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_tensor_float_32_is_off_while_a_network_is_asked(precision: str) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        outside, network = settings(), Witness()
        assert outside[0] == "tf32"
        Frozen(network)(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
        assert network.seen == ["ieee"] * 3
        assert settings() == outside
        assert torch.get_float32_matmul_precision() == precision  # torch raises here if both its ways of saying it disagree
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)


def test_settings_come_back_after_an_error() -> None:
    PLACES[1].fp32_precision = "tf32"
    outside = settings()
    with pytest.raises(RuntimeError, match="inside"), full_precision():
        assert settings() == ["ieee"] * 3
        raise RuntimeError("inside")
    assert settings() == outside


def test_older_torch_has_one_switch_for_each_library(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        allow_tf32 = True

    matmul, cudnn = Library(), Library()
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    with full_precision():
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, False)
    assert (matmul.allow_tf32, cudnn.allow_tf32) == (True, True)
