"""The Inception network of FID, behind the input of each of the common tools."""

import io
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.metrics.features.file_network import FileNetwork
from bootlight.metrics.features.inception_input import clean_input, pytorch_input, tf_input
from bootlight.metrics.features.inception_network import InceptionNetwork
from bootlight.metrics.features.inception_weights import INCEPTION_SHA256, INCEPTION_URL


class _Dialect(NamedTuple):
    prepare: Callable[[Tensor], Tensor]
    score: str  # name of the Fréchet distance with the published weights
    resize: str


DIALECTS = {
    "tf": _Dialect(tf_input, "fid", "bilinear to 299 x 299 as in TensorFlow 1 and torch-fidelity, no antialiasing"),
    "pytorch": _Dialect(pytorch_input, "fid-pytorch", "bilinear to 299 x 299 as in pytorch-fid, no antialiasing"),
    "clean": _Dialect(clean_input, "fid-clean", "bicubic to 299 x 299 as in clean-fid, antialiased, float32"),
}


class InceptionFeatures(FileNetwork):
    """The 2048 pooled features of the Inception network with which FID is defined (torch-fidelity's port).

    Needs three channels. `InceptionNetwork` arranges torch-fidelity's layers for speed, which moves features by rounding error
    only.

    FID has three dialects, which differ in the resize to 299 x 299 and in the range; numbers of two must not be compared.
    The one used stands in the protocol, and in the name of the score unless it is `tf`.

    Args:
        weights: path of the weights file; `bootlight weights` fetches it. torch-fidelity's and pytorch-fid's are the same.
        allow_other_weights: accept a file of the same layout with other values; the score is then not called FID.
        resize: `tf` as torch-fidelity and the original code of FID, `pytorch` as pytorch-fid, `clean` as clean-fid.
    """

    num_features = 2048
    original_sha256 = INCEPTION_SHA256
    contents = "the weights of FID's Inception network"
    cure = f"run `bootlight weights` to fetch it, or download {INCEPTION_URL} (SHA-256 begins with {INCEPTION_SHA256})"

    def __init__(
        self, weights: str, allow_other_weights: bool = False, resize: Literal["tf", "pytorch", "clean"] = "tf"
    ) -> None:
        super().__init__(weights, allow_other_weights)
        if resize not in DIALECTS:
            raise BootlightError(f"evaluation.features.resize is {resize!r}; it must be one of {', '.join(DIALECTS)}")
        self.resize = resize

    @property
    def name(self) -> str:
        """`inception-<resize>`; with other weights than the published, the first 8 digits of their SHA-256 follow."""
        return f"inception-{self.resize}{self.suffix}"

    @property
    def score_name(self) -> str:
        """What the Fréchet distance is called: `fid`, `fid-pytorch` or `fid-clean`, or `fd-<name>` with other weights."""
        return DIALECTS[self.resize].score if self.original else f"fd-{self.name}"

    @property
    def protocol(self) -> dict[str, Any]:
        """What a comparable FID must share."""
        return {"resize": DIALECTS[self.resize].resize, **self.weights_protocol}

    def build(self, tensors: dict[str, Tensor]) -> nn.Module:
        """torch-fidelity's layers, arranged for speed."""
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        # torch-fidelity unpickles whatever a file holds, so it is given a copy that was read as tensors alone.
        copy = io.BytesIO()
        torch.save(tensors, copy)
        copy.seek(0)
        return InceptionNetwork(
            FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=copy)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 2048) of uint8 images (B, 3, H, W)."""
        return self.outputs(images)["features"]

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """All that metrics look at, float32, in one pass.

        `features` (B, 2048): the layer pool_3 of FID (Heusel et al. 2017), KID, precision and recall.

        `logits` (B, 1008): features times the class weights without their bias, as in the original code of the Inception score
        (Salimans et al. 2016) and torch-fidelity's `logits_unbiased`.

        `spatial` (B, 2023): the first 7 channels of mixed_6/conv, 17 x 17, channels fastest, for sFID (Nash et al. 2021), as in
        the evaluator of Dhariwal and Nichol 2021. That layer is the 1 x 1 branch of PyTorch's Mixed_6d; dgm-eval takes the
        block after it, Mixed_6e, and its sFID differs.

        Args:
            images: uint8 (B, 3, H, W).

        Raises:
            BootlightError: the weights file is missing, is another one, or holds something else.
        """
        answers: dict[str, Tensor] = self.load().to(images.device)(images, DIALECTS[self.resize].prepare)
        return answers
