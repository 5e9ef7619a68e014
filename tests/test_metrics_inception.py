"""The Inception network: its outputs, and the ways in which a weights file can be right or wrong."""

import hashlib
import io
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from random_inception import pictures, random_state
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics.features import inception_network, inception_weights
from bootlight.metrics.features.feature_metric import common_protocol
from bootlight.metrics.features.features import feature_name, score_name
from bootlight.metrics.features.inception import InceptionFeatures
from bootlight.metrics.features.inception_weights import INCEPTION_SHA256, INCEPTION_URL, fetch_inception_weights


def far(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference in units of the largest value; folding reorders float32 products, 1e-7 in each of 50 layers."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def test_outputs_are_those_of_torch_fidelity(network: InceptionFeatures, weights: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=weights
    )
    seen: list[Tensor] = []
    # TensorFlow's layer mixed_6/conv: torch-fidelity's converter (utils/util_convert_inception_weights.py) calls it this.
    theirs.Mixed_6d.branch1x1.register_forward_hook(lambda module, args, answer: seen.append(answer))
    images = pictures(2, 1)
    state = torch.get_rng_state()
    ours = network.outputs(images)
    assert torch.equal(torch.get_rng_state(), state)  # loading draws nothing from the run's randomness
    features, logits = theirs(images)
    assert far(ours["features"], features) < 1e-5
    assert far(ours["logits"], logits) < 1e-5
    # Place (row 3, column 5) and channel 2 of the evaluator's (17, 17, 7), flattened in that order.
    assert ours["spatial"].shape == (2, 17 * 17 * 7)
    assert far(ours["spatial"][:, (3 * 17 + 5) * 7 + 2], seen[0][:, 2, 3, 5]) < 1e-5
    assert far(ours["spatial"].unflatten(1, (17, 17, 7)).permute(0, 3, 1, 2), seen[0][:, :7]) < 1e-5
    assert torch.equal(network(images), ours["features"])


def test_few_images_at_a_time_are_all_images(network: InceptionFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(3, 3)
    whole = network.outputs(images)
    monkeypatch.setattr(inception_network, "IMAGES", 2)
    monkeypatch.setattr(inception_network, "WIDE_IMAGES", 1)
    parts = network.outputs(images)  # 1 + 1, then 1
    for name, values in whole.items():
        # The same layers; convolutions may choose another way for another number of images: 1e-7 in each of 50 layers.
        assert (parts[name] - values).abs().max() < 5e-6 * values.abs().max(), name
        # And an order would be told from another: images differ by more than that.
        assert (values[0] - values[1]).abs().max() > 1e-3 * values.abs().max(), name


def test_the_loaded_network_is_no_part_of_the_module(network: InceptionFeatures) -> None:
    network.load()
    assert network.state_dict() == {} and list(network.parameters()) == []
    assert not network.train().load().training
    assert not any(parameter.requires_grad for parameter in network.load().parameters())


def test_both_layouts_of_the_weights_file_load(network: InceptionFeatures, weights: Path, tmp_path: Path) -> None:
    """Torchvision's, which pytorch-fid fills, counts batches of training; torch-fidelity's converter leaves that out."""
    from torchvision.models import inception_v3

    names = set(inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False).state_dict())
    assert names == set(random_state())
    bare = {name: value for name, value in random_state().items() if not name.endswith("num_batches_tracked")}
    assert len(names) == 566 and len(bare) == 472
    torch.save(bare, tmp_path / "bare.pth")
    images = pictures(1, 2)
    assert torch.equal(InceptionFeatures(str(tmp_path / "bare.pth"), True)(images), network(images))


def test_address_and_hash_are_those_of_the_tools() -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    assert URL_INCEPTION_V3 == INCEPTION_URL
    assert INCEPTION_URL.endswith(f"-{INCEPTION_SHA256}.pth")
    pytorch_fid = pytest.importorskip("pytorch_fid.inception", reason="a tool to compare with; see the extra dev")
    assert pytorch_fid.FID_WEIGHTS_URL.endswith(f"-{INCEPTION_SHA256}.pth")


def test_a_missing_weights_file_is_reported_with_the_cure(tmp_path: Path) -> None:
    network = InceptionFeatures(str(tmp_path / "none.pth"))
    with pytest.raises(BootlightError) as caught:
        network.check()
    line = str(caught.value)
    for part in (str(tmp_path / "none.pth"), "bootlight weights", INCEPTION_URL, "6726825d"):
        assert part in line
    assert "\n" not in line


def test_an_unknown_resize_is_reported() -> None:
    with pytest.raises(BootlightError, match="resize is 'bicubic'; it must be one of tf, pytorch, clean"):
        InceptionFeatures("any.pth", resize="bicubic")


@pytest.mark.parametrize(("resize", "method"), [("tf", "TensorFlow 1"), ("pytorch", "pytorch-fid"), ("clean", "clean-fid")])
def test_other_weights_are_refused_unless_allowed_and_are_not_fid(tmp_path: Path, resize: str, method: str) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(BootlightError, match=f"other.pth: SHA-256 begins with {digest[:8]} instead of 6726825d.*allow_other"):
        InceptionFeatures(str(path), resize=resize)(pictures(1, 0))
    allowed = InceptionFeatures(str(path), allow_other_weights=True, resize=resize)
    allowed.check()
    assert score_name(allowed) == f"fd-inception-{resize}-{digest[:8]}"
    protocol = common_protocol(allowed, torch.zeros(3, 2048), torch.zeros(2, 2048))
    assert protocol["features"] == f"inception-{resize}-{digest[:8]}"
    assert protocol["weights_sha256"] == digest and protocol["original_weights"] is False
    assert method in protocol["resize"]
    with pytest.raises(BootlightError, match="does not hold the weights"):
        allowed.load()


@pytest.mark.parametrize(("resize", "score"), [("tf", "fid"), ("pytorch", "fid-pytorch"), ("clean", "fid-clean")])
def test_the_original_weights_are_called_fid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resize: str, score: str) -> None:
    path = tmp_path / "original.pth"
    path.write_bytes(b"original")
    monkeypatch.setattr(InceptionFeatures, "original_sha256", hashlib.sha256(b"original").hexdigest()[:8])
    network = InceptionFeatures(str(path), resize=resize)
    network.check()
    assert (feature_name(network), score_name(network)) == (f"inception-{resize}", score)
    assert network.protocol["original_weights"] is True


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    torch.save({**random_state(), "fc.weight": torch.zeros(1000, 2048)}, tmp_path / "wrong.pth")
    with pytest.raises(BootlightError, match=r"wrong\.pth: does not hold the weights of FID's Inception network; run"):
        InceptionFeatures(str(tmp_path / "wrong.pth"), allow_other_weights=True).load()


def test_a_weights_file_cannot_run_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"weight": Trap()}, tmp_path / "trap.pth", pickle_module=pickle)
    with pytest.raises(BootlightError, match=r"trap\.pth: does not hold the weights"):
        InceptionFeatures(str(tmp_path / "trap.pth"), allow_other_weights=True).load()
    assert not (tmp_path / "sprung").exists()


def test_fetching_writes_a_verified_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source.pth", tmp_path / "new" / "weights.pth"
    source.write_bytes(bytes(range(256)) * 5000)  # two chunks
    monkeypatch.setattr(inception_weights, "INCEPTION_URL", source.as_uri())
    monkeypatch.setattr(inception_weights, "INCEPTION_SHA256", hashlib.sha256(source.read_bytes()).hexdigest()[:8])
    assert fetch_inception_weights(target) == target
    assert target.read_bytes() == source.read_bytes()


def test_fetching_another_file_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source.pth").write_bytes(b"a page that asks to log in")
    monkeypatch.setattr(inception_weights, "INCEPTION_URL", (tmp_path / "source.pth").as_uri())
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

    monkeypatch.setattr(inception_weights, "urlopen", open_url)
    with pytest.raises(BootlightError, match=r"cannot download https.*timed out.*copy it to .*weights\.pth"):
        fetch_inception_weights(tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []
