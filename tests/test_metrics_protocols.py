"""FID and its features against torch-fidelity, pytorch-fid and clean-fid, each with the same random weights and the same files.

The tools want to download weights, so the place where they read them is replaced; all before and after that is their own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image
from random_inception import pictures
from torch import Tensor, nn

from bootlight.metrics.distances.frechet import FrechetDistance
from bootlight.metrics.features.inception import DIALECTS, InceptionFeatures

WHY = "a tool to compare with; see the extra dev"
# Small, upright, exactly the network's size along one edge, and larger.
SIZES = ((32, 32), (72, 40), (299, 64), (330, 310))
CPU = torch.device("cpu")


class Tool(NamedTuple):
    resize: str  # our name for what it does
    first_layer: nn.Module
    features: Callable[[list[Path]], Tensor]  # (N, 2048) of files
    fid: Callable[[Path, Path], float]  # of two folders


def torch_fidelity(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    from torch_fidelity import calculate_metrics
    from torch_fidelity.datasets import ImagesPathDataset
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=weights)

    def features(files: list[Path]) -> Tensor:
        return torch.cat([network(image[None])[0] for image in ImagesPathDataset([str(file) for file in files])])

    def fid(real: Path, synthetic: Path) -> float:
        scores = calculate_metrics(
            input1=str(real),
            input2=str(synthetic),
            fid=True,
            feature_extractor="inception-v3-compat",
            feature_extractor_weights_path=str(weights),
            batch_size=1,  # the images differ in size
            cuda=False,
            cache=False,
            save_cpu_ram=True,
            verbose=False,
        )
        return scores["frechet_inception_distance"]

    return Tool("tf", network.Conv2d_1a_3x3, features, fid)


def pytorch_fid(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    inception = pytest.importorskip("pytorch_fid.inception", reason=WHY)
    score = pytest.importorskip("pytorch_fid.fid_score", reason=WHY)
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: torch.load(weights))
    network = inception.InceptionV3([3])

    def features(files: list[Path]) -> Tensor:
        return torch.from_numpy(score.get_activations(files, network, batch_size=1, num_workers=0)).float()

    def fid(real: Path, synthetic: Path) -> float:
        return score.calculate_fid_given_paths([str(real), str(synthetic)], 1, CPU, 2048, num_workers=0)

    return Tool("pytorch", network.blocks[0], features, fid)


def clean_fid(weights: Path, monkeypatch: pytest.MonkeyPatch, mode: str = "clean") -> Tool:
    """Its network is read from a TorchScript file, in whose place come pytorch-fid's layers, which are torchvision's."""
    module = pytest.importorskip("cleanfid.fid", reason=WHY)
    in_script = pytest.importorskip("cleanfid.inception_torchscript", reason=WHY)
    in_pytorch = pytest.importorskip("cleanfid.inception_pytorch", reason=WHY)
    inception = pytest.importorskip("pytorch_fid.inception", reason=WHY)
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: torch.load(weights))
    monkeypatch.setattr(in_pytorch, "load_state_dict_from_url", lambda *_, **__: torch.load(weights))
    script = nn.Module()
    script.layers = nn.Sequential(*inception.InceptionV3([3]).blocks)
    monkeypatch.setattr(in_script, "check_download_inception", lambda fpath: None)
    monkeypatch.setattr(torch.jit, "load", lambda path: script)
    settings = {"mode": mode, "num_workers": 0, "batch_size": 8, "device": CPU, "verbose": False}

    def features(files: list[Path]) -> Tensor:
        extractor = module.build_feature_extractor(mode, CPU, use_dataparallel=False)
        return torch.from_numpy(module.get_files_features(files, extractor, **settings))

    def fid(real: Path, synthetic: Path) -> float:
        return module.compute_fid(str(real), str(synthetic), use_dataparallel=False, **settings)

    return Tool("clean" if mode == "clean" else "pytorch", script.layers[0], features, fid)


def clean_fid_legacy_pytorch(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    return clean_fid(weights, monkeypatch, "legacy_pytorch")


def save(images: list[Tensor], folder: Path) -> list[Path]:
    """Images (3, H, W) as files whose names keep the order."""
    folder.mkdir()
    files = [folder / f"{index:03}.png" for index in range(len(images))]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    return files


class Reached(Exception):
    """Raised instead of the tool's first layer, with its input."""


def first_input(tool: Tool, file: Path) -> Tensor:
    """What the tool's network sees of a file; the network itself is not run."""

    def stop(module: nn.Module, args: tuple[Tensor]) -> None:
        raise Reached(args[0])

    handle = tool.first_layer.register_forward_pre_hook(stop)
    with pytest.raises(Reached) as reached:
        tool.features([file])
    handle.remove()
    return reached.value.args[0]


@pytest.mark.filterwarnings("ignore")  # the tools' own
@pytest.mark.parametrize("build", [torch_fidelity, pytorch_fid, clean_fid])
def test_input_and_features_are_those_of_the_tool(
    build: Callable[[Path, pytest.MonkeyPatch], Tool],
    weights: Path,
    network: InceptionFeatures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tool = build(weights, monkeypatch)
    images = [pictures(1, seed, size)[0] for seed, size in enumerate(SIZES)]
    images.append(torch.randint(0, 256, (3, 32, 32)).to(torch.uint8))  # noise: bicubic overshoots and is clipped
    files = save(images, tmp_path / "images")
    for image, file in zip(images, files, strict=True):
        assert torch.equal(DIALECTS[tool.resize].prepare(image[None]), first_input(tool, file))  # bit for bit

    monkeypatch.setattr(network, "resize", tool.resize)
    ours, theirs = network(torch.stack([images[0], images[-1]])), tool.features([files[0], files[-1]])
    # Folded batch norm reorders float32 products, 1e-7 in each of 50 layers. Between dialects features differ by 1e-2.
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("resize", DIALECTS)
def test_an_image_is_prepared_alike_alone_and_among_others(resize: str) -> None:
    images = pictures(3, 0, (40, 24))
    prepare = DIALECTS[resize].prepare
    assert torch.equal(prepare(images), torch.cat([prepare(image[None]) for image in images]))
    grey = images[:, :1]
    assert torch.equal(prepare(grey.expand(-1, 3, -1, -1)), prepare(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize(("resize", "low", "high"), [("tf", -1, 127 / 128), ("pytorch", -1, 1), ("clean", -1, 127 / 128)])
def test_range(resize: str, low: float, high: float) -> None:
    plain = torch.stack([torch.zeros(3, 5, 7, dtype=torch.uint8), torch.full((3, 5, 7), 255, dtype=torch.uint8)])
    black, white = DIALECTS[resize].prepare(plain)
    assert (black == low).all()
    # Interpolation weights add up to 1 within a few roundings of 6e-8, and the range is twice as wide.
    assert (white - high).abs().max() < 5e-7


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[Tensor]], Path]:
    """40 images of four sizes on each side, those of one side paler."""
    root = tmp_path_factory.mktemp("folders")
    sides = {}
    for side, (name, contrast) in enumerate((("real", 1.0), ("synthetic", 0.7))):
        seeds_and_sizes = [(100 * side + index, SIZES[index % 4]) for index in range(40)]
        sides[name] = [pictures(1, seed, size, contrast)[0] for seed, size in seeds_and_sizes]
        save(sides[name], root / name)
    return sides, root


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the tools' own: matrix roots of 39 dimensions in 2048
@pytest.mark.parametrize("build", [torch_fidelity, pytorch_fid, clean_fid, clean_fid_legacy_pytorch])
def test_fid_is_that_of_the_tool(
    build: Callable[[Path, pytest.MonkeyPatch], Tool],
    weights: Path,
    folders: tuple[dict[str, list[Tensor]], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sides, root = folders
    tool = build(weights, monkeypatch)
    network = InceptionFeatures(str(weights), allow_other_weights=True, resize=tool.resize)
    metric = FrechetDistance(features=network)
    for name, images in sides.items():
        for image in images:
            metric.update(image[None], real=name == "real")
    (score,) = metric.scores().values()
    assert score.protocol["features"] == f"inception-{tool.resize}-{network.sha256[:8]}"
    # Features agree to 1e-6, and their roots of some 2000 eigenvalues that are rounding error add up to 1e-6 too.
    assert score.value == pytest.approx(tool.fid(root / "real", root / "synthetic"), rel=1e-4)
