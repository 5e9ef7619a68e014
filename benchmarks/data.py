"""Batches for training: images per second, first batch, memory, mixing and building, against four other ways to read images.

Pictures are made up, PNG at 64x64. Every way hands out the same: uint8 batches of 64 in random order, as tensors (B, 3, H, W).
webdataset and litdata are left out where they are not installed.
"""

import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from ratios import compare, print_table
from torch.utils.data import DataLoader, Dataset

from bootlight.data.batches import StepDataset
from bootlight.data.loader import StepLoader
from bootlight.data.mixing import Source
from bootlight.data.store import Store, build_store

SIZE, BATCH, WORKERS = 64, 64, 2
Loader = Iterable[Any]


def make_pictures(root: Path, count: int) -> list[Path]:
    """Smooth colours with some noise, which compress about as photographs do."""
    rng = np.random.default_rng(0)
    files = []
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        noisy = np.asarray(coarse).astype(np.int16) + rng.integers(-6, 7, (SIZE, SIZE, 3))
        files.append(root / "a" / f"{i:06d}.png")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(files[-1])
    return files


def decoded(data: Any) -> torch.Tensor:
    """By PIL, as usual."""
    return torch.from_numpy(np.array(Image.open(data).convert("RGB"))).permute(2, 0, 1)


def image_folder(root: Path, workers: int) -> Loader:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import PILToTensor

    data = ImageFolder(str(root), PILToTensor())
    return DataLoader(data, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)


class ZipDataset(Dataset[torch.Tensor]):
    """Pictures in a stored zip that each process opens for itself: the layout of EDM and StyleGAN."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.zip: zipfile.ZipFile | None = None
        with zipfile.ZipFile(path) as archive:
            self.names = sorted(archive.namelist())

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> torch.Tensor:
        self.zip = self.zip or zipfile.ZipFile(self.path)
        return decoded(io.BytesIO(self.zip.read(self.names[i])))


def zip_file(root: Path, files: list[Path], workers: int) -> Loader:
    path = root.with_suffix(".zip")
    if not path.exists():
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, file.name)
    data = ZipDataset(path)
    return DataLoader(data, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)


def web_dataset(root: Path, files: list[Path], workers: int) -> Loader:
    import webdataset

    shards = [str(root.parent / f"shard-{i}.tar") for i in range(4)]
    for i, shard in enumerate(shards):
        if not Path(shard).exists():
            with webdataset.TarWriter(shard) as tar:
                for file in files[i :: len(shards)]:
                    tar.write({"__key__": file.stem, "png": file.read_bytes()})
    data = webdataset.WebDataset(shards, shardshuffle=len(shards)).shuffle(500).map(_from_web).batched(BATCH, partial=False)
    return DataLoader(data, batch_size=None, num_workers=workers, persistent_workers=workers > 0)


def _from_web(sample: dict[str, Any]) -> Any:
    return decoded(io.BytesIO(sample["png"]))


def lit_data(root: Path, files: list[Path], workers: int) -> Loader:
    import litdata

    folder = root.parent / "lit"
    if not folder.exists():
        litdata.optimize(_for_lit, [str(file) for file in files], str(folder), chunk_bytes="16MB", num_workers=1, verbose=False)

    data = litdata.StreamingDataset(str(folder), shuffle=True, transform=_from_lit)
    return litdata.StreamingDataLoader(
        data, batch_size=BATCH, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )


def _from_lit(content: bytes) -> torch.Tensor:
    return decoded(io.BytesIO(content))


def _for_lit(path: str) -> bytes:
    return Path(path).read_bytes()


def ours(store: Store, parts: int, steps: int, flip: bool = False) -> Loader:
    """From a store, cut into sources."""
    sources = [Source("real", store, part) for part in np.array_split(np.arange(len(store.images)), parts)]
    return StepLoader(StepDataset(sources, seed=0, num_steps=steps, batch_size=BATCH, flip=flip))


def one_pass(loader: Loader, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a pass, from its first batch on; workers' start does not count."""
    batches = iter(loader)
    next(batches)
    start = clock()
    count = sum(1 for _ in batches)
    return (clock() - start) / count


def first_batch(loader: Loader) -> float:
    start = time.perf_counter()
    batches = iter(loader)
    next(batches)
    return time.perf_counter() - start


def per_batch_of_ours(store: Store, parts: int = 1, flip: bool = False) -> float:
    return one_pass(ours(store, parts, 400, flip), time.process_time)


def peers_of(root: Path, files: list[Path]) -> dict[str, Callable[[int], Loader]]:
    ways: dict[str, Callable[[int], Loader]] = {
        "ImageFolder": partial(image_folder, root),
        "zip (as EDM)": partial(zip_file, root, files),
        "webdataset": partial(web_dataset, root, files),
        "litdata": partial(lit_data, root, files),
    }
    for name in ("webdataset", "litdata"):
        try:
            __import__(name)
        except ImportError:
            ways.pop(name)
    return ways


def rates(root: Path, files: list[Path], store: Store, repeats: int, workers: tuple[int, ...]) -> list[dict[str, Any]]:
    """Without workers in processor time, otherwise, as ours has none, by the clock on the wall."""
    rows = []
    mine = ours(store, 1, 400)
    for name, make in peers_of(root, files).items():
        for number in workers:
            peer, other = f"{name}, {number} workers", make(number)
            clock = time.perf_counter if number else time.process_time
            ways = partial(one_pass, mine, clock), partial(one_pass, other, clock)
            rows.append(compare("batches", peer, *ways, repeats=repeats, count=BATCH, unit="images/s"))
            starts = (lambda: first_batch(ours(store, 1, 400)), lambda make=make, number=number: first_batch(make(number)))
            rows.append(compare("first batch", peer, *starts, repeats=1))
    return rows


def plain_decoding(files: list[Path], threads: int) -> float:
    """Seconds to decode all, by PIL in so many threads, kept in one array."""
    start = time.perf_counter()
    images = np.empty((len(files), SIZE, SIZE, 3), np.uint8)

    def read(i: int) -> None:
        with Image.open(files[i]) as picture:
            images[i] = picture.convert("RGB")

    if threads == 1:
        for i in range(len(files)):
            read(i)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read, range(len(files)), chunksize=16))
    return time.perf_counter() - start


def building(root: Path) -> float:
    """Seconds to build a store."""
    with tempfile.TemporaryDirectory(dir=root.parent) as cache:
        start = time.perf_counter()
        build_store(root, image_size=SIZE, channels=3, cache=Path(cache))
        return time.perf_counter() - start


def memory(count: int, folder: Path) -> dict[str, float]:
    """MiB of a fresh process after 400 batches from a store of so many images: its own, and without the mapped file's pages."""
    path = folder / "many.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIZE, SIZE, 3)).flush()
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import data; data.report_memory({str(path)!r})"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    path.unlink()
    found: dict[str, float] = json.loads(answer.splitlines()[-1])
    return found


def report_memory(path: str) -> None:
    """In the process of `memory`."""
    images = np.load(path, mmap_mode="r")
    before = resident()
    names = tuple(map("{:06d}.png".format, range(len(images))))
    loader = ours(Store(images, np.full(len(images), -1), (), names, ""), 1, 400)
    one_pass(loader)
    after = resident()
    print(json.dumps({name: after[name] - before[name] for name in after}))


def resident() -> dict[str, float]:
    """MiB of this process: in all, and those that no file backs."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")}


def memory_row(folder: Path, few: int, many: int) -> dict[str, Any]:
    less, more = (statistics.median(memory(count, folder)["RssAnon"] for _ in range(3)) for count in (few, many))
    row = {"what": f"memory of its own, {many} images", "peer": f"{few} images", "unit": "MiB"}
    return row | dict.fromkeys(("ratio", "low", "high"), less / more) | {"bootlight": more, "peer_value": less}


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of `ratios.compare`."""
    count, repeats = (500, 2) if quick else (6000, 5)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "pictures"
        files = make_pictures(root, count)
        rows = []
        for threads in (1, 2):
            ways = partial(building, root), partial(plain_decoding, files, threads)
            peer = f"PIL loop, {threads} threads"
            rows.append(compare("building a store", peer, *ways, repeats=repeats, count=count, unit="images/s"))
        store = build_store(root, image_size=SIZE, channels=3, cache=Path(folder) / "cache")
        rows += rates(root, files, store, repeats, (0,) if quick else (0, WORKERS))
        alone, flipped = partial(per_batch_of_ours, store), partial(per_batch_of_ours, store, 1, True)
        mixed = partial(per_batch_of_ours, store, 5)
        rows.append(compare("batch from 5 sources", "from 1 source", mixed, alone, repeats=2 * repeats))
        rows.append(compare("batch with flips", "without flips", flipped, alone, repeats=2 * repeats))
        rows.append(memory_row(Path(folder), 2000, 20_000 if quick else 70_000))
    return rows


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv))
