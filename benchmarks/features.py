"""Inception features of uint8 images: bootlight against the tools that define FID, all with the same random weights.

On a CPU one thread is measured in processor time, on a GPU the time between events. What no clock shows is checked first: that
the features are the same. Peers are called with the batch size that they have as shipped, and with a small one, at which they
are fastest on a CPU; bootlight always gets 64 images. clean-fid's network is a file to be downloaded, so pytorch-fid's layers
stand in for it.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from ratios import compare, print_table
from torch import Tensor, nn

from bootlight.metrics.features.frozen import full_precision
from bootlight.metrics.features.inception import InceptionFeatures

SIZE, BATCH = 64, 64
TOLERANCE = 5e-6  # of the largest feature; the order of sums differs in each of 50 layers
Network = Callable[[Tensor], Tensor]


class Peer(NamedTuple):
    """A tool: what it makes of uint8 images, the resize it stands for, and the batch size that it has when not told."""

    name: str
    network: Network
    resize: Literal["tf", "pytorch", "clean"]
    batch: int


def random_weights(path: Path) -> None:
    """A file in the layout that all of them read, with weights that keep the scale of what passes through."""
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    network = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    torch.save(network.state_dict(), path)


def torch_fidelity(weights: Path, device: torch.device) -> Network:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=weights).to(device)
    return lambda images: network(images)[0]


def torchmetrics(weights: Path, device: torch.device) -> Network:
    from torchmetrics.image.fid import NoTrainInceptionV3

    # As shipped it antialiases, which is none of the three dialects of FID.
    return NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights), antialias=False).to(device)


def pytorch_fid(weights: Path, device: torch.device, **settings: bool) -> Network:
    from pytorch_fid import inception

    inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights)
    network = inception.InceptionV3([3], **settings).to(device).eval()
    return lambda images: network(images.float() / 255 if settings.get("resize_input", True) else images)[0].flatten(1)


def clean_fid(weights: Path, device: torch.device) -> Network:
    from cleanfid.resize import build_resizer

    resize, layers = build_resizer("clean"), pytorch_fid(weights, device, resize_input=False, normalize_input=False)

    def network(images: Tensor) -> Tensor:
        pictures = [torch.from_numpy(resize(image)) for image in images.permute(0, 2, 3, 1).cpu().numpy()]
        return layers((torch.stack(pictures).permute(0, 3, 1, 2).to(device) - 128) / 128)

    return network


def seconds(network: Network, images: Tensor, batch: int) -> float:
    """For all images, `batch` at a time."""
    with torch.no_grad(), full_precision():
        if not images.is_cuda:
            start = time.process_time()
            for part in images.split(batch):
                network(part)
            return time.process_time() - start
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        for part in images.split(batch):
            network(part)
        events[1].record()
        events[1].synchronize()
        return float(events[0].elapsed_time(events[1])) / 1000


def check_equal(peer: Peer, ours: Network, images: Tensor) -> None:
    """Stop where the two do not answer the same."""
    with torch.no_grad(), full_precision():
        found, expected = ours(images), peer.network(images)
    difference = ((found - expected).abs().max() / expected.abs().max()).item()
    if difference > TOLERANCE:
        raise ValueError(f"features of {peer.name} differ by {difference:.1e} of the largest one")


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of `ratios.compare`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rng = torch.Generator().manual_seed(0)
    count, repeats = (16, 1) if quick else (BATCH, 3)
    images = torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=rng).to(device)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.pth"
        random_weights(weights)
        peers = [
            Peer("torch-fidelity", torch_fidelity(weights, device), "tf", 64),
            Peer("torchmetrics", torchmetrics(weights, device), "tf", 64),
            Peer("pytorch-fid", pytorch_fid(weights, device), "pytorch", 50),
            Peer("clean-fid", clean_fid(weights, device), "clean", 32),
        ]
        for peer in peers:
            ours = InceptionFeatures(str(weights), allow_other_weights=True, resize=peer.resize)
            check_equal(peer, ours, images[:4])
            mine = partial(seconds, ours, images, count)
            for batch in (peer.batch, 8):
                ways = mine, partial(seconds, peer.network, images, batch)
                name = f"{peer.name}, batch {batch}"
                rows.append(compare("Inception features", name, *ways, repeats=repeats, count=count, unit="images/s"))
    return rows


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv))
