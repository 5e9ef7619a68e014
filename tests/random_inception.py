"""FID's Inception network with random weights, in the layout of the published file: the original cannot be had in tests.

And random images to show to it and to others.
"""

import io
from functools import cache

import torch
from torch import Tensor, nn


@cache
def random_state() -> dict[str, Tensor]:
    """Weights with well-scaled features: mean about 0.7, 6 % of it spread over images, 9 in 10 features alive."""
    from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: object) -> None:
            pass

    empty = io.BytesIO()
    torch.save({}, empty)  # its constructor wants a file, which is kept from loading
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
    return dict(network.state_dict())


def pictures(count: int, seed: int, size: tuple[int, int] = (32, 32), contrast: float = 1.0) -> Tensor:
    """Smooth random images, uint8 (count, 3, *size)."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = nn.functional.interpolate((coarse - 0.5) * contrast + 0.5, size, mode="bicubic")
    return (smooth * 255).clamp(0, 255).to(torch.uint8)


def noise(count: int, seed: int, edge: int = 8, channels: int = 3) -> Tensor:
    """Images whose pixels are all independent, uint8 (count, channels, edge, edge)."""
    size, rng = (count, channels, edge, edge), torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, size, generator=rng, dtype=torch.uint8)
