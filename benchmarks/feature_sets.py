"""Sets of images whose order is known, from best to worst: what a score of any feature network must reproduce."""

import csv
import io
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Images = NDArray[np.uint8]  # (N, H, W, C)
Change = Callable[[Images, np.random.Generator], Images]


class Pool(NamedTuple):
    """Real images of one kind.

    Attributes:
        train: that a network may be trained on, and the reference of all scores.
        rest: images that were not among them.
        groups: of the rest, int (N,): classes, of which modes are dropped; None where there are none.
    """

    train: Images
    rest: Images
    groups: NDArray[np.int64] | None


def read_zip(file: Path, edge: int, limit: int, split: str = "") -> tuple[Images, list[str]]:
    """Pictures of a zip in a fixed random order, at most so many, resized; and their names."""
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.startswith(split) and name.lower().endswith((".jpg", ".png"))]
        names = [names[i] for i in np.random.default_rng(0).permutation(len(names))[:limit]]
        found = []
        for name in names:
            picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            found.append(np.asarray(picture.resize((edge, edge), Image.Resampling.BICUBIC)))
    return np.stack(found), names


def read_folder(folder: Path, count: int) -> Images:
    files = sorted(folder.glob("**/*.png"))[:count]
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


def load(data: Path, name: str, count: int) -> Pool:
    """One of the data sets; so many images to train on."""
    if name == "digits":
        from sklearn.datasets import load_digits

        bunch = load_digits()
        order = np.random.default_rng(0).permutation(len(bunch.images))
        images = (bunch.images[order] * 255 / 16).round().astype(np.uint8)[..., None]
        return Pool(images[:1000], images[1000:], bunch.target[order][1000:])
    file, edge, most = {
        "faces": ("utkface_64.zip", 32, 9000),
        "cifar": ("cifar10_32_subset.zip", 32, 12000),
        "ffhq": ("ffhq1100_64.zip", 64, 1100),
        "bottles": ("bottles_64.zip", 64, 1084),
    }[name]
    images, names = read_zip(data / file, edge, most)
    count = min(count, round(0.5 * len(images)))
    groups = None
    if name == "cifar":
        groups = np.unique([Path(each).parent.name for each in names], return_inverse=True)[1]
    if name == "faces":
        with zipfile.ZipFile(data / file) as archive, archive.open("manifest.csv") as rows:
            gender = {row["path"]: int(row["gender"]) for row in csv.DictReader(io.TextIOWrapper(rows))}
        groups = np.array([gender[each] for each in names])
    return Pool(images[:count], images[count:], None if groups is None else groups[count:])


def clipped(images: NDArray[np.floating]) -> Images:
    return images.round().clip(0, 255).astype(np.uint8)


def noise(sigma: float, images: Images, rng: np.random.Generator) -> Images:
    return clipped(images + rng.normal(0, sigma, images.shape))


def blur(sigma: float, images: Images, rng: np.random.Generator) -> Images:
    return clipped(ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0), mode="reflect"))


def jpeg(quality: int, images: Images, rng: np.random.Generator) -> Images:
    def through(image: Images) -> Images:
        buffer = io.BytesIO()
        Image.fromarray(image.squeeze()).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer)).reshape(image.shape)

    return np.stack([through(image) for image in images])


def bright(by: float, images: Images, rng: np.random.Generator) -> Images:
    return clipped(images + by)


def grey(share: float, images: Images, rng: np.random.Generator) -> Images:
    """Saturation less by a share; of grey images contrast."""
    mean = images.mean(-1 if images.shape[-1] > 1 else (1, 2), keepdims=True)
    return clipped(images + share * (mean - images))


def shift(pixels: int, images: Images, rng: np.random.Generator) -> Images:
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, 0), (0, 0)), mode="reflect")
    return padded[:, :, : images.shape[2]]


def warp(pixels: float, images: Images, rng: np.random.Generator) -> Images:
    """Smooth random displacements: the parts are right, their places are not."""
    n, height, width, _ = images.shape
    coarse = torch.from_numpy(rng.normal(size=(n, 2, 4, 4)).astype(np.float32))
    field = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1) * 2 * pixels
    grid = F.affine_grid(torch.eye(2, 3).expand(n, 2, 3), [n, 1, height, width], align_corners=False)
    grid = grid + field / torch.tensor([width, height])
    moved = F.grid_sample(
        torch.from_numpy(images).permute(0, 3, 1, 2).float(), grid, padding_mode="reflection", align_corners=False
    )
    return clipped(moved.permute(0, 2, 3, 1).numpy())


def collage(share: float, images: Images, rng: np.random.Generator) -> Images:
    """A share of the images have the right half of another one."""
    mixed, half, count = images.copy(), images.shape[2] // 2, round(share * len(images))
    mixed[:count, :, half:] = np.roll(images, 1, 0)[:count, :, half:]
    return mixed


def copies(distinct: float, images: Images, rng: np.random.Generator) -> Images:
    """A share of the images, over and over."""
    return images[np.arange(len(images)) % max(1, round(distinct * len(images)))]


def other(share: float, others: Images, images: Images, rng: np.random.Generator) -> Images:
    """A share is of another kind."""
    count = round(share * len(images))
    return np.concatenate([others[rng.permutation(len(others))[:count]], images[count:]])


SERIES: dict[str, list[tuple[str, Change]]] = {
    "noise": [(f"{s}", partial(noise, s)) for s in (4, 8, 16, 32, 64)],
    "blur": [(f"{s}", partial(blur, s)) for s in (0.4, 0.6, 0.8, 1.2, 2)],
    "jpeg": [(f"{q}", partial(jpeg, q)) for q in (90, 75, 50, 25, 10)],
    "bright": [(f"{b}", partial(bright, b)) for b in (5, 10, 20, 40)],
    "grey": [(f"{s}", partial(grey, s)) for s in (0.1, 0.25, 0.5, 1)],
    "shift": [(f"{p}", partial(shift, p)) for p in (1, 2, 4)],
    "warp": [(f"{p}", partial(warp, p)) for p in (0.25, 0.5, 1, 2)],
    "collage": [(f"{s}", partial(collage, s)) for s in (0.1, 0.25, 0.5, 1)],
    "copies": [(f"{d}", partial(copies, d)) for d in (0.5, 0.2, 0.05, 0.01)],
}
OTHER = {"faces": "cifar", "cifar": "faces", "ffhq": "bottles", "bottles": "ffhq"}
SHARES = (0.05, 0.1, 0.25, 0.5, 1)
KEPT = {"faces": (0.75, 0.5, 0.25, 0), "cifar": (8, 6, 4, 2, 1), "digits": (8, 6, 4, 2, 1)}  # share of one group, or groups


def dropped(name: str, level: float, pool: Pool, chosen: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Of some of the rest so many, with some groups only, or less of the last one."""
    assert pool.groups is not None
    groups = pool.groups[chosen]
    if name != "faces":
        found = chosen[groups < level]
    else:
        last = np.flatnonzero(groups == groups.max())
        found = np.delete(chosen, np.random.default_rng(4).permutation(last)[round(level * len(last)) :])
    return found[np.arange(size) % len(found)] if len(found) < size else found[:size]


def nonsense(pool: Pool, size: int, rng: np.random.Generator) -> dict[str, Images]:
    """What is no image at all: uniform noise, noise of the right mean and deviation, and images of one color."""
    shape = (size, *pool.train.shape[1:])
    mean, deviation = pool.train.mean((0, 1, 2)), pool.train.std((0, 1, 2))
    flat = pool.rest[rng.permutation(len(pool.rest))[:size]].mean((1, 2), keepdims=True)
    return {
        "uniform noise": rng.integers(0, 256, shape, dtype=np.uint8),
        "normal noise": clipped(rng.normal(mean, deviation, shape)),
        "flat": clipped(np.broadcast_to(flat[np.arange(size) % len(flat)], shape)),
        "one grey": np.full(shape, 128, np.uint8),
    }


def severities(name: str, pool: Pool, others: Images | None, size: int, draw: int) -> dict[str, dict[str, Images]]:
    """All sets of one draw of the rest, by series and level, from mild to severe; `floor` is the draw itself.

    Draws are disjoint where there are enough images.
    """
    rng = np.random.default_rng([1, draw])
    order = np.random.default_rng(0 if (draw + 1) * size <= len(pool.rest) else [2, draw]).permutation(len(pool.rest))
    start = draw * size if (draw + 1) * size <= len(pool.rest) else 0
    chosen = order[start : start + size]
    images = pool.rest[chosen]
    found = {"floor": {"0": images}}
    for series, levels in SERIES.items():
        found[series] = {level: change(images, rng) for level, change in levels}
    if others is not None:
        found["other"] = {f"{share}": other(share, others, images, rng) for share in SHARES}
    if pool.groups is not None:
        everything = np.concatenate([chosen, order[start + size :], order[:start]])
        found["drop"] = {f"{level}": pool.rest[dropped(name, level, pool, everything, size)] for level in KEPT[name]}
    found["nonsense"] = nonsense(pool, size, rng)
    return found
