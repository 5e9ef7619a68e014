"""DINOv2 features: against the transformer written down plainly, and the ways in which file and library can be missing."""

import hashlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from random_inception import pictures
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics.features import dino
from bootlight.metrics.features.dino import DinoFeatures
from bootlight.metrics.features.features import score_name

WHY = "DINOv2's network comes from timm, the extra dino"
WIDTH, HEADS, BLOCKS, EDGE = 384, 6, 12, 37  # of ViT-S/14 at 518 x 518 pixels, as Meta publishes it
OUTPUT = 16  # patches along an edge of 224 pixels


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights in Meta's layout: the names are those of its vision_transformer.py."""
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int, std: float = 0.05) -> Tensor:
        return torch.randn(*shape, generator=rng) * std

    state = {
        "cls_token": draw(1, 1, WIDTH),
        "pos_embed": draw(1, 1 + EDGE**2, WIDTH, std=0.5),
        "mask_token": draw(1, WIDTH),
        "patch_embed.proj.weight": draw(WIDTH, 3, 14, 14),
        "patch_embed.proj.bias": draw(WIDTH),
        "norm.weight": 1 + draw(WIDTH),
        "norm.bias": draw(WIDTH),
    }
    for block in range(BLOCKS):
        for name in ("norm1", "norm2"):
            state |= {f"blocks.{block}.{name}.weight": 1 + draw(WIDTH), f"blocks.{block}.{name}.bias": draw(WIDTH)}
        for name, out, into in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            state[f"blocks.{block}.{name}.weight"] = draw(out * WIDTH, into * WIDTH)
            state[f"blocks.{block}.{name}.bias"] = draw(out * WIDTH)
        state |= {f"blocks.{block}.{name}.gamma": 0.5 + draw(WIDTH) for name in ("ls1", "ls2")}
    return state


def cubic_weights(size: int, count: int, scale: float, a: float) -> Tensor:
    """Matrix (count, size) of Keys' cubic interpolation at (i + 1/2) / scale - 1/2, edges repeated."""
    matrix = torch.zeros(count, size, dtype=torch.float64)
    for i in range(count):
        position = (i + 0.5) / scale - 0.5
        first = math.floor(position) - 1
        for index in range(first, first + 4):
            x = abs(position - index)
            near = (a + 2) * x**3 - (a + 3) * x**2 + 1
            weight = near if x <= 1 else a * (x**3 - 5 * x**2 + 8 * x - 4)
            matrix[i, min(max(index, 0), size - 1)] += weight
    return matrix


def small_positions(state: dict[str, Tensor]) -> Tensor:
    """Positions (1, 257, D) by the rule of Meta's interpolate_pos_encoding: bicubic by 16.1 / 37, without antialiasing."""
    rule = cubic_weights(EDGE, OUTPUT, (OUTPUT + 0.1) / EDGE, -0.75)
    grid = state["pos_embed"][0, 1:].double().unflatten(0, (EDGE, EDGE))
    small = torch.einsum("ip,jq,pqd->ijd", rule, rule, grid).flatten(0, 1)
    return torch.cat([state["pos_embed"][0, :1].double(), small])[None]


def pillow_bicubic(images: Tensor) -> Tensor:
    """Images resized to 224 x 224 by Pillow, antialiased, each channel in float32."""
    planes = [Image.fromarray(plane) for plane in images.flatten(0, 1).float().numpy()]
    resized = [np.asarray(plane.resize((224, 224), Image.Resampling.BICUBIC)) for plane in planes]
    return torch.from_numpy(np.stack(resized)).unflatten(0, images.shape[:2])


def class_token(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Features (B, D) of uint8 images in float64, by the definitions of the vision transformer."""
    weights = {name: value.double() for name, value in state.items()}
    pixels = pillow_bicubic(images).double() / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=torch.float64).view(2, 1, 3, 1, 1)
    patches = F.unfold((pixels - mean) / std, 14, stride=14).mT
    x = patches @ weights["patch_embed.proj.weight"].flatten(1).T + weights["patch_embed.proj.bias"]
    x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x], dim=1) + small_positions(state)
    for block in range(BLOCKS):
        of = {name.removeprefix(f"blocks.{block}."): value for name, value in weights.items() if f"blocks.{block}." in name}

        def normed(x: Tensor, name: str, of: dict[str, Tensor] = of) -> Tensor:
            return F.layer_norm(x, (WIDTH,), of[f"{name}.weight"], of[f"{name}.bias"], eps=1e-6)

        def linear(x: Tensor, name: str, of: dict[str, Tensor] = of) -> Tensor:
            return x @ of[f"{name}.weight"].T + of[f"{name}.bias"]

        q, k, v = linear(normed(x, "norm1"), "attn.qkv").unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attention = (q @ k.mT / math.sqrt(WIDTH / HEADS)).softmax(-1)
        x = x + of["ls1.gamma"] * linear((attention @ v).transpose(1, 2).flatten(2), "attn.proj")
        x = x + of["ls2.gamma"] * linear(F.gelu(linear(normed(x, "norm2"), "mlp.fc1")), "mlp.fc2")
    return F.layer_norm(x, (WIDTH,), weights["norm.weight"], weights["norm.bias"], eps=1e-6)[:, 0]


def test_features_are_the_class_token(state: dict[str, Tensor], tmp_path: Path) -> None:
    pytest.importorskip("timm", reason=WHY)
    torch.save(state, tmp_path / "meta.pth")
    images = torch.cat([pictures(1, 0, (48, 260)), 255 - pictures(1, 1, (48, 260))])  # one edge grows, one shrinks
    rng = torch.get_rng_state()
    ours = DinoFeatures(str(tmp_path / "meta.pth"), allow_other_weights=True, size="vits14")(images)
    assert torch.equal(torch.get_rng_state(), rng)
    assert not ours.requires_grad
    theirs = class_token(state, images)
    # Rounding of float32 in 12 blocks: 1e-7 each, times products of some hundreds of terms.
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()

    # The same weights as safetensors, for 224 x 224 and without the token that only training needs: positions stay.
    fixed = {name: value for name, value in state.items() if name != "mask_token"}
    fixed["pos_embed"] = small_positions(state).float()
    safetensors.torch.save_file(fixed, tmp_path / "small.safetensors")
    small = DinoFeatures(str(tmp_path / "small.safetensors"), allow_other_weights=True, size="vits14")(images[:1])
    assert (small - theirs[:1]).abs().max() < 1e-4 * theirs.abs().max()


def test_another_layout_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    pytest.importorskip("timm", reason=WHY)
    torch.save({name: value for name, value in state.items() if name != "norm.bias"}, tmp_path / "short.pth")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    for name in ("short.pth", "torn.safetensors"):
        with pytest.raises(BootlightError, match=f"{name}: does not hold the weights of DINOv2 vits14; download https"):
            DinoFeatures(str(tmp_path / name), allow_other_weights=True, size="vits14").load()


def test_names_and_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    other = DinoFeatures(str(path), allow_other_weights=True)
    assert score_name(other) == f"fd-dinov2-vitl14-{digest[:8]}"
    assert other.protocol["original_weights"] is False and other.protocol["weights_sha256"] == digest
    assert "EDM2" in other.protocol["resize"] and "224" in other.protocol["resize"]
    monkeypatch.setitem(dino.SIZES, "vitl14", dino.SIZES["vitl14"]._replace(sha256=digest))
    assert score_name(DinoFeatures(str(path))) == "fd-dinov2-vitl14"


def test_what_is_missing_is_reported_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BootlightError, match="size is 'vitg14'; it must be one of vits14, vitb14, vitl14"):
        DinoFeatures("any.pth", size="vitg14")
    path = tmp_path / "none.pth"
    network = DinoFeatures(str(path))
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BootlightError, match=r"needs timm; run `pip install 'bootlight\[dino\]'`"):
        network.check()
    monkeypatch.setitem(sys.modules, "timm", dino)  # any module: it is there
    with pytest.raises(BootlightError, match=r"none\.pth: No such file.*dinov2_vitl14_pretrain\.pth \(SHA-256 .* d5383ea8\)"):
        network.check()
    path.write_bytes(b"other")
    with pytest.raises(BootlightError, match="instead of d5383ea8, so it does not hold the weights of DINOv2 vitl14"):
        DinoFeatures(str(path)).check()
