"""Damaged input of every kind that is read: the end is success or one line, never another exception.

Inputs are the same in every run. `EXAMPLES` says how many there are of each kind, and each kind counts what it has seen.
"""

import copy
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin
from raw_files import Entry, raw_zip, with_right_checksums
from test_hostile_run import diffusion, gan
from tracking_run import make_run, metrics

from bootlight.atomic import read_weights
from bootlight.callbacks.checkpoints import newest_readable
from bootlight.data.reader import open_images
from bootlight.errors import BootlightError
from bootlight.generators.load import load_generator
from bootlight.images import decode, decode_whole
from bootlight.run_config import differing_keys, read_config
from bootlight.run_folder import RunFolder, read_metadata
from bootlight.tracking.history import read_history, read_timing
from bootlight.tracking.report import write_report
from bootlight.tracking.scores import read_generation
from bootlight.tracking.strip import write_strip
from bootlight.tracking.table import format_table, write_table

EXAMPLES = {
    "png": 350, "jpeg": 250, "webp": 200, "zip": 350, "metadata.jsonl": 150, "dataset.json": 150, "config.yaml": 250,
    "metrics.json": 150, "model.json": 250, "samples/metadata.jsonl": 100, "train.jsonl": 120, "safetensors": 200,
    "checkpoint": 200, "report": 12,
}  # fmt: skip
BYTES = st.binary(min_size=0, max_size=8)
NUMBERS = [
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x80",
    b"9" * 30,
    b"-1",
    b"1e999",
    b"NaN",
    b"[" * 3000,
]
EDIT = st.tuples(
    st.sampled_from(["flip", "put", "insert", "cut", "end", "copy", "splice"]),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    BYTES | st.sampled_from(NUMBERS),
)
MUTATION = st.tuples(st.integers(0, 2**16), st.lists(EDIT, min_size=1, max_size=6))
VALUES = [
    None, True, -1, 0, 2, 2**31, 2**63, 2**64, 10**30, 10**400, -(10**400), 0.5, 1e308, -1e308, float("nan"), float("inf"), "", "x",
    "1", "../../etc/passwd", "/etc/passwd", "a\nb\x1b[31m", "\ud800", "\0", "9" * 5000, "os.system", "evil.Thing",
    "{class_path: this.s}", "bootlight.DDPM", "bootlight.Digits", "&a [*a]", [], [[]], [None] * 3, [1e308, "x"], {}, {"class_path": "os.system"},
    {"class_path": "bootlight.DDIM", "init_args": {"num_steps": 10**9}}, {"a": {"b": {"c": []}}}, "x" * 5000,
]  # fmt: skip
CHANGE = st.tuples(
    st.sampled_from(["set", "drop", "add"]), st.integers(0, 2**16), st.sampled_from(VALUES) | st.integers() | st.text()
)
CHANGES = st.lists(CHANGE, min_size=1, max_size=3)


def mutated(seeds: list[bytes], mutation: tuple[int, list[tuple[str, float, float, bytes]]]) -> bytes:
    """One of the seeds after some edits at places given as shares of the length."""
    number, edits = mutation
    data = bytearray(seeds[number % len(seeds)])
    for kind, where, other, new in edits:
        at, there = int(where * len(data)), int(other * len(data))
        if kind == "flip" and data:
            data[at] ^= 1 << int(other * 8)
        elif kind == "put":
            data[at : at + len(new)] = new
        elif kind == "insert":
            data[at:at] = new
        elif kind == "cut":
            del data[at : at + 1 + int(other * 20)]
        elif kind == "end":
            del data[at:]
        elif kind == "copy":
            data[at:at] = data[there : there + 40]
        else:
            foreign = seeds[int(other * len(seeds))]
            data[at:] = foreign[int(where * len(foreign)) :]
    return bytes(data)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key below a JSON value."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from places(value[key])


def changed(document: Any, changes: list[tuple[str, int, Any]]) -> Any:
    """A copy of a JSON document with some values set, dropped or added."""
    document = copy.deepcopy(document)
    for kind, number, value in changes:
        found = list(places(document))
        if not found:
            return value
        container, key = found[number % len(found)]
        if kind == "set":
            container[key] = copy.deepcopy(value)
        elif kind == "drop":
            del container[key]
        elif isinstance(container, dict):
            container[str(value)[:50]] = copy.deepcopy(container[key])
        else:
            container.append(copy.deepcopy(value))
    return document


def fuzz(kind: str, strategy: st.SearchStrategy[Any], work: Callable[[Any], object]) -> SimpleNamespace:
    """Give `work` all the examples of a kind; how many of them it took and how many it refused."""
    ends = SimpleNamespace(taken=0, refused=0)

    @settings(
        max_examples=EXAMPLES[kind], derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def run(example: Any) -> None:
        try:
            work(example)
            ends.taken += 1
        except BootlightError as error:
            assert str(error).isprintable()  # one line, no escapes
            ends.refused += 1

    run()
    assert ends.taken + ends.refused >= EXAMPLES[kind], f"{kind}: only {ends}"
    return ends


def test_there_are_two_thousand_inputs():
    assert sum(EXAMPLES.values()) >= 2000  # and `fuzz` makes sure that each was seen


# Pictures


def encoded(mode: str, kind: str, **options: Any) -> bytes:
    size, depth = (21, 14), {"RGB": 3, "RGBA": 4, "L": 1, "LA": 2, "CMYK": 4, "P": 1, "I;16": 2}[mode]
    pixels = np.random.default_rng(depth).integers(0, 256, size[0] * size[1] * depth, dtype=np.uint8).tobytes()
    picture, buffer = Image.frombytes(mode, size, pixels), io.BytesIO()
    if mode == "P":
        picture.putpalette(bytes(range(256)) * 3)
    if options.pop("frames", False):
        options |= {"save_all": True, "append_images": [picture.rotate(180), picture]}
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


EXIF = Image.Exif()
EXIF[ExifTags.Base.Orientation] = 6
TEXT = PngImagePlugin.PngInfo()
TEXT.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
TEXT.add_text("words", "many " * 50, zip=True)
NOTES: dict[str, Any] = {"exif": EXIF.tobytes(), "icc_profile": bytes(200)}
PICTURES = {
    "png": [encoded(mode, "PNG", pnginfo=TEXT, **NOTES) for mode in ("RGB", "RGBA", "L", "LA", "P", "I;16")]
    + [encoded("P", "PNG", transparency=3), encoded("RGB", "PNG", transparency=(1, 2, 3)), encoded("RGB", "PNG", frames=True)],
    "jpeg": [encoded(mode, "JPEG", progressive=mode == "L", **NOTES) for mode in ("RGB", "L", "CMYK")]
    + [encoded("RGB", "JPEG", progressive=True), encoded("RGB", "MPO", frames=True)],
    "webp": [encoded(mode, "WEBP", lossless=lossless, **NOTES) for mode in ("RGB", "RGBA") for lossless in (True, False)]
    + [encoded("RGBA", "WEBP", frames=True)],
}


@pytest.mark.filterwarnings("ignore")  # Pillow's notes on odd metadata; the store silences them too
@pytest.mark.parametrize("kind", PICTURES)
def test_pictures(kind):
    def work(mutation):
        data = mutated(PICTURES[kind], mutation)
        if kind == "png" and mutation[0] % 4:  # most damage should get behind the checksums
            data = with_right_checksums(data)
        assert decode(data, "a", image_size=8, channels=1 if mutation[0] % 2 else 3).shape[:2] == (8, 8)
        assert decode_whole(data, "a").ndim == 3

    ends = fuzz(kind, MUTATION, work)
    assert ends.taken > 20 and ends.refused > 20


# Images of the user


def ends_of(root: Path) -> None:
    with open_images(root) as images:
        assert len(images.class_names) <= len(images)
        for i in range(len(images)):
            images.read(i)


def test_zips(tmp_path):
    rows = b'{"file_name": "a.png", "label": 3}\n{"file_name": "b/c.webp", "label": "x"}'
    files = {"a.png": PICTURES["png"][4], "b/c.webp": PICTURES["webp"][0]}
    seeds = [raw_zip(*(Entry(name.encode(), data) for name, data in files.items()))]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for more in (
            {"metadata.jsonl": rows},
            {"dataset.json": b'{"labels": [["a.png", 1]]}'},
            {"train/x.jpg": b"x", "test/y.jpg": b"y"},
        ):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", method) as archive:
                for name, data in ({} if "train/x.jpg" in more else files | more).items() or more.items():
                    with archive.open(name, "w", force_zip64="train" in name) as file:
                        file.write(data)
            seeds.append(buffer.getvalue())

    def work(mutation):
        root = tmp_path / "a.zip"
        root.write_bytes(mutated(seeds, mutation))
        ends_of(root)

    ends = fuzz("zip", MUTATION, work)
    assert ends.taken > 10 and ends.refused > 50


ROWS = [
    {"file_name": "0.png", "label": 3, "text": "a"},
    {"file_name": "1.png", "label": "x"},
    {"file_name": "./2.png", "label": None},
]


@pytest.mark.parametrize(
    ("name", "document"),
    [("metadata.jsonl", ROWS), ("dataset.json", {"labels": [["0.png", 1], ["1.png", 2], ["2.png", -1]], "more": {"a": [1]}})],
)
def test_manifests(tmp_path, name, document):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(PICTURES["png"][0])

    def lines(value):
        rows = value if name == "metadata.jsonl" and isinstance(value, list) else [value]
        return "\n".join(map(json.dumps, rows)).encode()

    def work(example):
        data = lines(changed(document, example)) if isinstance(example, list) else mutated([lines(document)], example)
        (tmp_path / name).write_bytes(data)
        ends_of(tmp_path)

    ends = fuzz(name, CHANGES | MUTATION, work)
    assert ends.taken > 10 and ends.refused > 30


# Run folders

YAML = b"""seed_everything: 0
model:
  class_path: bootlight.DDPM
  init_args: {width: 32, channel_multipliers: [1, 2], sampler: {class_path: bootlight.DDIM, init_args: {eta: 0.5}}}
data:
  class_path: bootlight.Digits
  init_args: {num_steps: 100, root: null, cache: ~}
trainer: {max_time: 00:01:00:00, precision: bf16-mixed}
"""
ODD = [
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!int ",
    b"!!timestamp ",
    b"!!python/name:os.system ",
    b"2001-99-99",
    b"0x" + b"f" * 5000,
    b"- ",
    b"? ",
]


def test_configurations(tmp_path):
    own = {"model": {"class_path": "bootlight.DDPM", "init_args": {"width": 32}}, "seed_everything": 0}
    edit = st.tuples(st.just("insert"), st.floats(0, 1, exclude_max=True), st.just(0.0), st.sampled_from(ODD)) | EDIT
    seeds = [YAML, b"a: &a [1, 2]\nb: &b [*a, *a]\nc: [*b, *b]\n", b"a: 2001-01-01 00:00:00\nb: !!set {c}\nd: !!binary aGk=\n"]

    def work(example):
        (tmp_path / "config.yaml").write_bytes(mutated(seeds, example))
        assert all(difference for difference in differing_keys(read_config(tmp_path / "config.yaml"), own))

    ends = fuzz("config.yaml", st.tuples(st.integers(0, 2**16), st.lists(edit, min_size=1, max_size=6)), work)
    assert ends.taken > 20 and ends.refused > 50


def test_scores(tmp_path):
    run = make_run(tmp_path / "run", 2)

    def work(example):
        data = json.dumps(changed(metrics(1), example)).encode() if isinstance(example, list) else mutated([SCORES], example)
        run.generation(1).metrics.write_bytes(data)
        read_generation(run.generation(1))
        write_table(run)
        assert format_table(run).replace("\n", "").isprintable()

    SCORES = json.dumps(metrics(1)).encode()
    ends = fuzz("metrics.json", CHANGES | MUTATION, work)
    assert ends.taken > 10 and ends.refused > 30


def test_reports(tmp_path):
    """Few, because each draws its charts; what they are drawn of is fuzzed above and below."""
    run = make_run(tmp_path / "run", 2)
    lines = [json.loads(line) for line in run.generation(1).history.read_text().splitlines()[:2]]

    def work(example):
        run.generation(1).metrics.write_text(json.dumps(changed(metrics(1), example)))
        run.generation(1).history.write_text("\n".join(map(json.dumps, changed({"a": lines}, example).get("a") or [])))
        write_strip(run)
        assert "<script" not in write_report(run).read_text(encoding="utf-8")

    fuzz("report", CHANGES, work)


def test_descriptions_of_models(tmp_path):
    folders = [diffusion(tmp_path / "ddpm"), gan(tmp_path / "gan")]
    documents = [json.loads(folder.model_config.read_text()) for folder in folders]

    def work(example):
        which, changes = example
        folder, document = folders[which % 2], documents[which % 2]
        data = (
            json.dumps(changed(document, changes)).encode()
            if isinstance(changes, list)
            else mutated([SEEDS[which % 2]], changes)
        )
        folder.model_config.write_bytes(data)
        assert type(load_generator(folder)).__module__.startswith("bootlight.")

    SEEDS = [json.dumps(document).encode() for document in documents]
    ends = fuzz("model.json", st.tuples(st.integers(0, 1), CHANGES | MUTATION), work)
    assert ends.taken > 10 and ends.refused > 30


def test_weights(tmp_path):
    folder = gan(tmp_path / "run")
    plain = {"a": torch.arange(12.0).view(3, 4), "b": torch.arange(3), "c": torch.zeros(2, dtype=torch.bfloat16)}
    seeds = [folder.weights.read_bytes(), safetensors.torch.save(plain), safetensors.torch.save({}, {"note": "x"})]
    kinds = st.sampled_from(
        [b'"F64"', b'"I8"', b'"C64"', b'"BOOL"', b'"F4"', b"[0,9]", b"[4611686018427387904,8]", b"[]", b'"__metadata__"']
    )
    edit = st.tuples(st.sampled_from(["put", "insert"]), st.floats(0, 0.3), st.just(0.0), kinds) | EDIT

    def work(example):
        folder.weights.write_bytes(mutated(seeds, example))
        assert all(tensor.isnan().sum() >= 0 for tensor in read_weights(folder.weights).values() if tensor.is_floating_point())
        load_generator(folder)

    ends = fuzz("safetensors", st.tuples(st.integers(0, 2**16), st.lists(edit, min_size=1, max_size=6)), work)
    assert ends.taken > 5 and ends.refused > 50


def test_manifests_of_samples(tmp_path):
    folder = RunFolder(tmp_path).generation(0)
    folder.samples.mkdir(parents=True)
    rows = [
        {"file_name": f"00000/00000{i}.png", "seed": i, "label": i, "sampler": "DDIM", "sha256": "0" * 64} for i in range(3)
    ]

    def work(example):
        found = changed({"rows": rows}, example)
        folder.metadata.write_text(
            "\n".join(map(json.dumps, found["rows"] if isinstance(found.get("rows"), list) else [found]))
        )
        for row in read_metadata(folder):
            assert (folder.samples / row["file_name"]).resolve().is_relative_to(folder.samples.resolve())

    ends = fuzz("samples/metadata.jsonl", CHANGES, work)
    assert ends.taken > 5 and ends.refused > 20


def test_curves_and_times(tmp_path):
    rows = [{"step": 1, "train/loss": 0.5}, {"step": 2, "train/loss": 0.25}, {"stage": "training", "seconds": 3.5}]

    def work(example):
        found = changed({"rows": rows}, example).get("rows")
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, found if isinstance(found, list) else [found])))
        for steps, values in read_history(tmp_path / "a.jsonl").values():
            assert steps == sorted(steps) and all(isinstance(value, float) for value in values)
        assert all(seconds >= 0 for seconds in read_timing(tmp_path / "a.jsonl").values())

    assert fuzz("train.jsonl", CHANGES, work).refused == 0  # what is damaged is left out


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_checkpoints(tmp_path):
    folder = RunFolder(tmp_path).generation(0)
    folder.checkpoints.mkdir(parents=True)
    last, buffer = folder.checkpoints / "last.ckpt", io.BytesIO()
    torch.save(
        {"state_dict": {"w": torch.arange(40.0), "n": torch.tensor(3)}, "loops": {"a": {"b": 1}}, "global_step": 3}, buffer
    )
    with zipfile.ZipFile(buffer) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in parts if name.endswith("data.pkl"))
    taken = []

    def work(example):
        if example[0] % 2:
            last.write_bytes(mutated([buffer.getvalue()], example))
        else:  # behind the checksums of the zip
            with zipfile.ZipFile(last, "w") as archive:
                for name, data in parts.items():
                    archive.writestr(name, mutated([data], example) if (name == pickled) == (example[0] % 4 == 0) else data)
        found = newest_readable(folder)
        if found is not None:
            assert isinstance(torch.load(found, weights_only=True, map_location="cpu"), dict)
            taken.append(example)

    fuzz("checkpoint", MUTATION, work)
    assert 5 < len(taken) < EXAMPLES["checkpoint"] - 50
