"""Features learned from images without gradients: whitened patches of the images as filters, and principal components."""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 6  # edge in pixels, at most
LEAST_EDGE = 4  # pixels of the smallest scale, where the images have so many
GRID = 32  # positions of a filter along an edge, about: larger images are looked at with a stride
COARSE = 16  # edge in pixels of what components are taken of
FILTERS = 48
THRESHOLD = 0.5  # of an answer, in deviations of a whitened patch
WHITEN = 0.01  # added to the variances of patches, in units of their mean
SAMPLED, OF_IMAGE = 20_000, 50  # patches of each scale, at most, and of each image of many
NEGLIGIBLE = 1e-6  # of a variance, relative to the largest
ROUNDING = 1e-6  # a deviation: of images that hardly differ, and of which features would be multiples of rounding errors
AT_ONCE = 100  # images
MAX_EDGE = 256  # pixels; larger images are brought to that first


class PatchNetwork(nn.Module):
    """Maps uint8 images (B, C, H, W) to features (B, D): components of what filters answer, and of coarse pixels.

    Filters are patches of the training images, whitened, on scales that differ by 2; an answer counts by how far it is above a
    threshold, up and down, averaged over quadrants and as a root mean square over the image (Coates and Ng 2011, "The
    importance of encoding versus training with sparse coding and vector quantization": random patches with a soft threshold).

    Args:
        tensors: from `learn_patches`, or the state of another such network.
    """

    size: Tensor

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
        self.levels = sum(name.startswith("filters_") for name in tensors)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D), float32; images of another size than those learned from are resized, with antialiasing."""
        x = images.float() / 255
        if (size := tuple(self.size.tolist())) != x.shape[2:]:
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        answers = (self.answers(i, level) for i, level in enumerate(scales(x)) if i < self.levels)
        groups = {"filtered": torch.cat(list(answers), 1), "coarse": coarse(x)}
        return torch.cat([(x - self.of(f"{name}_mean")) @ self.of(f"{name}_axes") for name, x in groups.items()], 1)

    def of(self, name: str) -> Tensor:
        """One of the tensors."""
        return self.get_buffer(name)

    def answers(self, level: int, x: Tensor) -> Tensor:
        """Pooled answers (B, F) of the filters of one scale."""
        return pooled(x, self.of(f"filters_{level}"), self.of(f"bias_{level}"))


def shrunk(images: Tensor) -> Tensor:
    """Images (B, C, H, W), uint8, of which the longer edge is at most `MAX_EDGE`."""
    height, width = images.shape[2:]
    if max(height, width) <= MAX_EDGE:
        return images
    size = [max(1, round(n * MAX_EDGE / max(height, width))) for n in (height, width)]
    return F.interpolate(images.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).to(torch.uint8)


def scales(x: Tensor) -> Iterator[Tensor]:
    """Images (B, C, H, W) at their size, at half of it, and so on."""
    yield x
    while min(x.shape[2:]) >= 2 * LEAST_EDGE:
        x = F.avg_pool2d(x, 2)
        yield x


def coarse(x: Tensor) -> Tensor:
    """Pixels of small images, (B, C * h * w)."""
    height, width = (min(COARSE, n) for n in x.shape[2:])
    return F.adaptive_avg_pool2d(x, (height, width)).flatten(1)


def pooled(x: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
    """What filters (K, C, e, e) answer to images: (B, 10 K)."""
    answer = F.conv2d(x, filters, bias, stride=max(1, (min(x.shape[2:]) + GRID // 2) // GRID))
    found = []
    for half in (F.relu(answer - THRESHOLD), F.relu(-answer - THRESHOLD)):
        found += [F.adaptive_avg_pool2d(half, 2).flatten(1), half.square().mean((2, 3)).sqrt()]
    return torch.cat(found, 1)


def learn_patches(
    images: Tensor, *, num_coarse: int, num_filtered: int, rng: torch.Generator, bar: Callable[[str], None] = lambda step: None
) -> dict[str, Tensor]:
    """Tensors for a `PatchNetwork`, from uint8 images (N, C, H, W), by matrix products and eigenvalues alone.

    Args:
        images: that differ from each other; two or more.
        num_coarse: components of coarse pixels, at most: fewer where there are fewer pixels or images.
        num_filtered: components of what the filters answer, likewise.
        rng: chooses patches.
        bar: told what has been done.
    """
    count, size = len(images), math.prod(images.shape[1:])
    few = images[torch.randperm(count, generator=rng)[: min(500, max(50, 2**27 // size))].sort().values]
    found = {"size": torch.tensor(images.shape[2:])}
    for i, level in enumerate(scales(few.float() / 255)):
        found[f"filters_{i}"], found[f"bias_{i}"] = whitened_patches(level, rng)
        bar(f"patches of scale {i + 1}")
    filtered, pixels = [], []
    for chunk in torch.split(images, AT_ONCE):
        levels = list(scales(chunk.float() / 255))
        answers = [pooled(x, found[f"filters_{i}"], found[f"bias_{i}"]) for i, x in enumerate(levels)]
        filtered.append(torch.cat(answers, 1))
        pixels.append(coarse(levels[0]))
        bar("answers of the filters")
    for name, values, most in (("filtered", filtered, num_filtered), ("coarse", pixels, num_coarse)):
        answer = components(torch.cat(values), min(most, count - 1), standardize=name == "filtered")
        found[f"{name}_mean"], found[f"{name}_axes"] = answer
        bar("components")
    return found


def whitened_patches(x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Filters (K, C, e, e) and their bias (K,): an answer is the product with a random patch, both whitened."""
    edges = [min(PATCH, (n + 1) // 2) for n in x.shape[2:]]
    sampled = min(SAMPLED, OF_IMAGE * len(x))
    places = [n - e + 1 for n, e in zip(x.shape[2:], edges, strict=True)]
    image, top, left = (torch.randint(n, (sampled,), generator=rng) for n in (len(x), *places))
    rows, columns = (start[:, None] + torch.arange(e) for start, e in zip((top, left), edges, strict=True))
    patches = x[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (S, e, e, C)
    patches = patches.permute(0, 3, 1, 2).flatten(1).double()
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    scale = (values.clamp(min=0) + WHITEN * values.mean().clamp(min=1e-12)).rsqrt()
    whiten = vectors * scale @ vectors.T
    atoms = (patches[:FILTERS] - mean) @ whiten
    atoms = atoms / atoms.norm(dim=1, keepdim=True).clamp(min=1e-12)
    filters = atoms @ whiten
    return filters.float().view(-1, x.shape[1], *edges), -(filters @ mean).float()


def components(values: Tensor, most: int, *, standardize: bool) -> tuple[Tensor, Tensor]:
    """Mean (F,) and axes (F, D) of the first principal components of values (N, F).

    Each is divided by the root of its deviation, halfway to having the same weight, and all by what makes their variances 1 on
    average: small differences, which distortions make in components that vary little, are seen, and large ones still lead.

    Args:
        values: of examples.
        most: components, at most.
        standardize: whether to bring each of the values to deviation 1 before.
    """
    examples = values.double()
    mean, scale = examples.mean(0), torch.ones(examples.shape[1], dtype=torch.float64)
    if standardize:
        deviation = examples.std(0)
        scale = torch.where(deviation > NEGLIGIBLE * (1 + mean.abs()), deviation, scale)
    variances, vectors = eigen((examples - mean) / scale)
    kept = max(1, min(most, int((variances > NEGLIGIBLE * variances[0]).sum())))
    deviations = variances[:kept].clamp(min=ROUNDING**2).sqrt()
    weights = (deviations * deviations.mean()).rsqrt()  # variances times their squares: deviations over their mean
    return mean.float(), (vectors[:, :kept] * weights / scale[:, None]).float()


def eigen(centered: Tensor) -> tuple[Tensor, Tensor]:
    """Descending variances, and directions in columns, of centered values (N, F); by the smaller of the two products."""
    n, size = centered.shape
    if size <= n:
        values, vectors = torch.linalg.eigh(centered.T @ centered / (n - 1))
        return values.flip(0), vectors.flip(1)
    values, vectors = torch.linalg.eigh(centered @ centered.T / (n - 1))
    directions = centered.T @ vectors.flip(1)
    return values.flip(0), directions / directions.norm(dim=0).clamp(min=1e-300)
