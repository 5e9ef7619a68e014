"""Feature networks: values, names, and the ways in which a weights file can be wrong."""

import hashlib
import io
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.images import to_arrays, to_float
from bootlight.metrics import features
from bootlight.metrics.features import (
    InceptionFeatures,
    PixelFeatures,
    feature_name,
    fetch_inception_weights,
    score_name,
)
from bootlight.metrics.frechet import FrechetDistance


def pictures(count: int, seed: int) -> Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse * 255, 32, mode="bicubic").clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def torch_fidelity_network() -> nn.Module:
    """The Inception network of torch-fidelity with random weights: its constructor wants a file, which is kept from loading."""
    from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: object) -> None:
            pass

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Unloaded("inception-v3-compat", ["2048"], feature_extractor_weights_path=empty)
        for block in network.modules():
            if isinstance(block, BasicConv2d):
                nn.init.kaiming_normal_(block.conv.weight, nonlinearity="relu")
                nn.init.uniform_(block.bn.weight, 0.8, 1.2)  # a batch norm that does something: its folding is tested too
                nn.init.normal_(block.bn.bias, std=0.1)
                nn.init.normal_(block.bn.running_mean, std=0.1)
                nn.init.uniform_(block.bn.running_var, 0.8, 1.2)
    return network


@pytest.fixture(scope="module")
def weights(torch_fidelity_network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(torch_fidelity_network.state_dict(), path)
    return path


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


def test_address_and_hash_are_those_of_torch_fidelity() -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    assert URL_INCEPTION_V3 == features.INCEPTION_URL
    assert features.INCEPTION_URL.endswith(f"-{features.INCEPTION_SHA256}.pth")


def test_a_missing_weights_file_is_reported_with_the_cure(tmp_path: Path) -> None:
    network = InceptionFeatures(str(tmp_path / "none.pth"))
    with pytest.raises(BootlightError) as caught:
        network.check()
    line = str(caught.value)
    for part in (str(tmp_path / "none.pth"), "bootlight weights", features.INCEPTION_URL, "6726825d"):
        assert part in line
    assert "\n" not in line


def test_other_weights_are_refused_unless_allowed_and_are_not_fid(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(BootlightError, match=f"other.pth: SHA-256 begins with {digest[:8]} instead of 6726825d"):
        InceptionFeatures(str(path))(pictures(1, 0))
    allowed = InceptionFeatures(str(path), allow_other_weights=True)
    allowed.check()
    assert score_name(allowed) == f"fd-inception-{digest[:8]}"
    assert allowed.protocol["weights_sha256"] == digest
    with pytest.raises(BootlightError, match="does not hold the weights"):
        allowed.load()


def test_the_original_weights_are_called_fid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "original.pth"
    path.write_bytes(b"original")
    monkeypatch.setattr(features, "INCEPTION_SHA256", hashlib.sha256(b"original").hexdigest()[:8])
    network = InceptionFeatures(str(path))
    network.check()
    assert (feature_name(network), score_name(network)) == ("fid", "fid")


def test_a_weights_file_cannot_run_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"weight": Trap()}, tmp_path / "trap.pth", pickle_module=pickle)
    with pytest.raises(BootlightError, match=r"trap\.pth: does not hold the weights"):
        InceptionFeatures(str(tmp_path / "trap.pth"), allow_other_weights=True).load()
    assert not (tmp_path / "sprung").exists()


def test_inception_features_are_those_of_torch_fidelity(torch_fidelity_network: nn.Module, weights: Path) -> None:
    images = pictures(2, 1)
    network = InceptionFeatures(str(weights), allow_other_weights=True)
    state = torch.get_rng_state()
    with torch.no_grad():
        ours, theirs = network(images), torch_fidelity_network(images)[0]
    assert torch.equal(torch.get_rng_state(), state)  # loading draws nothing from the run's randomness
    # Folding reorders float32 products: 1e-7 in each of about 50 layers, added in the worst way.
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


@pytest.mark.slow
def test_fid_is_that_of_torch_fidelity(weights: Path, tmp_path: Path) -> None:
    from torch_fidelity import calculate_metrics

    metric = FrechetDistance(features=InceptionFeatures(str(weights), allow_other_weights=True))
    for side, real in (("real", True), ("synthetic", False)):
        images = pictures(8, int(real))
        metric.update(images, real=real)
        (tmp_path / side).mkdir()
        for index, array in enumerate(to_arrays(to_float(images))):
            Image.fromarray(array).save(tmp_path / side / f"{index}.png")
    theirs = calculate_metrics(
        input1=str(tmp_path / "real"),
        input2=str(tmp_path / "synthetic"),
        fid=True,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    # Their roots of 2041 eigenvalues that are rounding error, 1e-8 of the largest each, add up to about 2e-5.
    assert metric.compute().value == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)


def test_fetching_writes_a_verified_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source.pth", tmp_path / "new" / "weights.pth"
    source.write_bytes(bytes(range(256)) * 5000)  # two chunks
    monkeypatch.setattr(features, "INCEPTION_URL", source.as_uri())
    monkeypatch.setattr(features, "INCEPTION_SHA256", hashlib.sha256(source.read_bytes()).hexdigest()[:8])
    assert fetch_inception_weights(target) == target
    assert target.read_bytes() == source.read_bytes()


def test_fetching_another_file_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source.pth").write_bytes(b"a page that asks to log in")
    monkeypatch.setattr(features, "INCEPTION_URL", (tmp_path / "source.pth").as_uri())
    with pytest.raises(BootlightError, match="instead of 6726825d; try again"):
        fetch_inception_weights(tmp_path / "new" / "weights.pth")
    assert list((tmp_path / "new").iterdir()) == []


class Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise TimeoutError("timed out")


@pytest.mark.parametrize("at_once", [True, False])
def test_no_network_is_reported_with_the_cure(at_once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_url(url: str, timeout: float) -> io.BytesIO:
        assert timeout == 30
        if at_once:
            raise URLError("timed out")
        return Broken()

    monkeypatch.setattr(features, "urlopen", open_url)
    with pytest.raises(BootlightError, match=r"cannot download https.*timed out.*copy it to .*weights\.pth"):
        fetch_inception_weights(tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []
