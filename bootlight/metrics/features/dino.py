"""DINOv2 features, in which Fréchet distances follow human judgement better than in Inception's (Stein et al. 2023)."""

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.metrics.features.file_network import FileNetwork

URL = "https://dl.fbaipublicfiles.com/dinov2"
SIZE = 224
GRID = SIZE // 14  # patches along an edge
OFFSET = 0.1  # of the published code, which interpolates positions as if there were 16.1 patches
MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB
STD = (0.229, 0.224, 0.225)


class _Size(NamedTuple):
    timm_name: str
    sha256: str  # of the published file


SIZES = {
    "vits14": _Size("vit_small_patch14_dinov2", "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"),
    "vitb14": _Size("vit_base_patch14_dinov2", "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"),
    "vitl14": _Size("vit_large_patch14_dinov2", "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"),
}


class DinoFeatures(FileNetwork):
    """The class token of a DINOv2 vision transformer; `vitl14` is the network of FD-DINOv2.

    Images are resized to 224 x 224 as in the evaluation of EDM2 (Karras et al. 2024): bicubic with antialiasing in float32,
    neither clipped nor rounded. dgm-eval (Stein et al. 2023) lets Pillow do it, which clips and rounds to 8 bits: distances are
    close and not equal. Needs three channels, and timm, which `pip install bootlight[dino]` brings.

    Args:
        weights: path of the weights file: Meta's `dinov2_<size>_pretrain.pth`, or the same weights as safetensors.
        allow_other_weights: accept another file than Meta's; its hash is then part of the name of the score.
        size: `vits14` (384 features), `vitb14` (768) or `vitl14` (1024).
    """

    def __init__(
        self, weights: str, allow_other_weights: bool = False, size: Literal["vits14", "vitb14", "vitl14"] = "vitl14"
    ) -> None:
        super().__init__(weights, allow_other_weights)
        if size not in SIZES:
            raise BootlightError(f"evaluation.features.size is {size!r}; it must be one of {', '.join(SIZES)}")
        self.size = size
        self.original_sha256 = SIZES[size].sha256
        self.contents = f"the weights of DINOv2 {size}"
        file = f"{URL}/dinov2_{size}/dinov2_{size}_pretrain.pth"
        self.cure = f"download {file} (SHA-256 begins with {self.original_sha256[:8]})"

    @property
    def name(self) -> str:
        """`dinov2-<size>`; with another file than Meta's, the first 8 digits of its SHA-256 follow."""
        return f"dinov2-{self.size}{self.suffix}"

    @property
    def protocol(self) -> dict[str, Any]:
        """What a comparable distance must share."""
        return {"resize": f"bicubic to {SIZE} x {SIZE} as in EDM2, antialiased, float32", **self.weights_protocol}

    def check(self) -> None:
        """Make sure before any training that timm and the right weights are there.

        Raises:
            BootlightError: no timm, no file, or other weights that were not allowed.
        """
        try:
            import timm  # noqa: F401 - build needs it
        except ImportError as error:
            raise BootlightError("evaluation.features: DinoFeatures needs timm; run `pip install 'bootlight[dino]'`") from error
        super().check()

    def build(self, tensors: dict[str, Tensor]) -> nn.Module:
        """timm's network for 224 x 224, with positions interpolated as Meta's code does, not as timm does."""
        import timm

        network: nn.Module = timm.create_model(SIZES[self.size].timm_name, pretrained=False, num_classes=0, img_size=SIZE)
        used = {name: value for name, value in tensors.items() if name != "mask_token"}  # training alone needs that one
        network.load_state_dict({**used, "pos_embed": _interpolate_positions(tensors["pos_embed"])})
        return network

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) of uint8 images (B, 3, H, W)."""
        resized = F.interpolate(images.float(), size=(SIZE, SIZE), mode="bicubic", antialias=True)
        mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN, STD))
        features: Tensor = self.load().to(images.device)((resized / 255 - mean) / std)
        return features


def _interpolate_positions(positions: Tensor) -> Tensor:
    """Position embeddings (1, 1 + n², D), the class token's first, for the grid of patches of this input.

    timm's own way has antialiasing and no offset, and gives other features.
    """
    token, patches = positions[:, :1], positions[:, 1:]
    edge = round(patches.shape[1] ** 0.5)
    if edge == GRID:
        return positions
    grid = patches.view(1, edge, edge, -1).permute(0, 3, 1, 2).float()
    scale = (GRID + OFFSET) / edge
    smaller = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([token, smaller.flatten(2).mT], dim=1)
