"""What a checkpoint asks for is known before it is read; what could not be read back is not written."""

import io
import tracemalloc
import zipfile
from collections import Counter, OrderedDict, deque
from pathlib import Path

import pytest
import torch
from raw_files import state_of_training

from bootlight.errors import BootlightError
from bootlight.runs.folder import GenerationFolder
from bootlight.training import pickle_claims
from bootlight.training.checkpoint_claims import check_claims, why_unreadable
from bootlight.training.checkpoints import AtomicCheckpointIO, newest_readable
from bootlight.training.pickle_claims import Unreadable

HUGE = (6 * 2**30).to_bytes(8, "little")
LATER = b"\x85R."  # a tuple of one, call, stop


def trained() -> dict[str, object]:
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.AdamW(module.parameters(), amsgrad=True)
    module(torch.randn(4, 1, 5, 5)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}


READ = {
    "training": trained(),
    "types": {str(dtype): torch.zeros(3, dtype=dtype) for dtype in (torch.bool, torch.int64, torch.bfloat16, torch.complex64)},
    "newer types": {"a": torch.zeros(3, dtype=torch.uint16), "b": torch.zeros(3, dtype=torch.float8_e4m3fn)},
    "views": {"a": torch.arange(10.0)[3:7], "b": torch.arange(6.0).reshape(2, 3).T, "c": torch.zeros(3).expand(40, 3)},
    "shapes": {
        "a": torch.zeros(()),
        "b": torch.zeros(0, 3),
        "c": torch.zeros(1, 2, 3, 4).to(memory_format=torch.channels_last),
    },
    "numbers": {"a": 2**70, "b": -1.5, "c": 1 + 2j, "d": None, "e": True, 5: 6, ("a", 1): 3},
    "collections": {"a": {1, 2}, "b": Counter("abba"), "c": OrderedDict(x=1), "d": (1, (2, [3])), "e": torch.Size([1, 2])},
    "bytes": {"a": b"\xff\0", "b": bytearray(b"abc"), "c": bytearray()},
    "others": {"a": torch.float32, "b": torch.device("cpu"), "c": torch.nn.Parameter(torch.ones(2))},
    "many": set(range(1000)),
}


@pytest.mark.parametrize("name", READ)
def test_what_torch_reads_is_read(tmp_path, name):
    torch.save({"x": READ[name]}, tmp_path / "a.ckpt")
    check_claims(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)


@pytest.mark.parametrize("value", [deque(), Path("x"), frozenset(), b"", lambda: 0, Unreadable("x"), slice(3)], ids=type)
def test_what_torch_does_not_read_is_known_without_trying(value):
    assert why_unreadable(value)
    with pytest.raises(Exception):  # noqa: B017 pickle's and torch's are many
        file = io.BytesIO()
        torch.save({"value": value}, file)
        torch.load(io.BytesIO(file.getvalue()), weights_only=True)


def test_classes_that_the_user_has_named_are_read():
    assert "collections.deque" in str(why_unreadable(deque([1])))
    with torch.serialization.safe_globals([deque]):
        assert why_unreadable(deque([1])) is None


def forged(path: Path, pickle: bytes, **data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (
            {"data.pkl": pickle, "version": b"3\n"} | {f"data/{key}": value for key, value in data.items()}
        ).items():
            archive.writestr(f"x/{name}", content)
    return path


def name(text: str) -> bytes:
    return b"c" + text.replace(" ", "\n").encode() + b"\n"


def tensor(kind: str, count: bytes, size: bytes, stride: bytes = b"K\1") -> bytes:
    """A tensor of one dimension that refers to entry 0."""
    numbers = b"(X\7\0\0\0storage" + name(f"torch {kind}") + b"X\1\0\0\0" + b"0X\3\0\0\0cpu" + count + b"tQ"
    return name("torch._utils _rebuild_tensor_v2") + b"(" + numbers + b"K\0" + size + b"\x85" + stride + b"\x85\x89)tR"


BOMBS = {
    "bytearray": b"\x80\2" + name("builtins bytearray") + b"\x8a\x08" + HUGE + LATER,
    "bytearray of Python 2": b"\x80\2" + name("__builtin__ bytearray") + b"\x8a\x08" + HUGE + LATER,
    "tensor class": b"\x80\2" + name("torch FloatTensor") + b"\x8a\x08" + HUGE + LATER,
    "tensor": b"\x80\2" + name("torch Tensor") + b"\x8a\x08" + HUGE + LATER,
    "storage": b"\x80\2" + name("torch.storage UntypedStorage") + b"\x8a\x08" + HUGE + LATER,
    "numbers that are not there": b"\x80\2" + tensor("FloatStorage", b"\x8a\x08" + HUGE, b"K\1") + b".",
    "one number, repeated": b"\x80\2}K\0" + tensor("FloatStorage", b"K\1", b"\x8a\x08" + HUGE, b"K\0") + b"s.",
    "code": b"\x80\2" + name("os system") + b"X\1\0\0\0a" + LATER,
    "another encoding": b"\x80\2" + name("_codecs encode") + b"X\1\0\0\0aX\3\0\0\0zip\x86R.",
    "copies of a list": b"\x80\2]q\0(" + b"K\1" * 30_000 + b"e(" + (name("builtins set") + b"h\0\x85R") * 5000 + b"t.",
    "copies of a text": b"\x80\2X\0\x10\0\0" + b"a" * 4096 + b"q\0("
    + (name("_codecs encode") + b"h\0X\6\0\0\0latin1\x86R") * 9000 + b"t.",
    "tuples of tuples as a key": b"\x80\2}K\1q\0" + b"h\0\x86q\0" * 60 + b"K\1s.",
    "too many parts": b"\x80\2(" + b"]" * 50_001 + b"t.",
    "memo": b"\x80\2}r\xff\xff\xff\xff.",
    "a later protocol": b"\x80\4\x8c\1a.",
    "nothing": b".",
    "no end": b"\x80\2}",
    "a list": b"\x80\2].",
}  # fmt: skip
REASONS = {
    "one number, repeated": "asks for more than", "copies of a list": "asks for more than",
    "copies of a text": "asks for more than",
    "tuples of tuples as a key": "keys are neither", "too many parts": "parts", "numbers that are not there": "claims",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_a_few_bytes_ask_for_is_never_made(tmp_path, monkeypatch, bomb):
    monkeypatch.setattr(pickle_claims, "MAX_OPERATIONS", 50_000)
    path = forged(tmp_path / "last.ckpt", BOMBS[bomb], **{"0": bytes(4)})
    tracemalloc.start()
    try:
        if bomb == "memo":  # a dictionary, here and in torch: no room is made for what lies before
            check_claims(path)
        else:
            with pytest.raises(Unreadable, match=REASONS.get(bomb)):
                check_claims(path)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20  # the most is so many parts of 48 bytes, and the list of them
    finally:
        tracemalloc.stop()


def test_a_tensor_of_the_size_that_is_there_is_none_of_these(tmp_path):
    """The forger's tools make files that torch reads: what is refused above is refused for what it says."""
    fine = forged(tmp_path / "a.ckpt", b"\x80\2}K\0" + tensor("FloatStorage", b"K\1", b"K\1") + b"s.", **{"0": bytes(4)})
    check_claims(fine)
    assert torch.equal(torch.load(fine, weights_only=True)[0], torch.zeros(1))


def zips(path: Path) -> dict[str, bytes]:
    torch.save({"a": torch.arange(100.0)}, path)
    whole = path.read_bytes()
    two, case, commented = io.BytesIO(), io.BytesIO(whole), io.BytesIO(whole)
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\2}.")
        archive.writestr("y/data.pkl", b"\x80\2}.")
    with zipfile.ZipFile(case, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/DATA.pkl", b"\x80\2}.")
    with zipfile.ZipFile(commented, "a") as archive:
        archive.comment = b"PK\5\6" + bytes(18)
    legacy = io.BytesIO()
    torch.save({"a": 1}, legacy, _use_new_zipfile_serialization=False)
    return {
        "two folders": two.getvalue(), "two names that differ in case": case.getvalue(), "a comment": commented.getvalue(),
        "another file before it": legacy.getvalue() + whole, "no zip": legacy.getvalue(), "nothing": b"", "cut": whole[:-30],
    }  # fmt: skip


ODD = ["two folders", "two names that differ in case", "a comment", "another file before it", "no zip", "nothing", "cut"]


@pytest.mark.parametrize("kind", ODD)
def test_files_that_two_programs_read_in_two_ways(tmp_path, kind):
    (tmp_path / "b.ckpt").write_bytes(zips(tmp_path / "a.ckpt")[kind])
    check_claims(tmp_path / "a.ckpt")
    with pytest.raises((Unreadable, zipfile.BadZipFile)):
        check_claims(tmp_path / "b.ckpt")


def test_a_changed_number_is_noticed(tmp_path):
    """torch writes checksums and does not look at them."""
    folder = GenerationFolder(tmp_path)
    folder.checkpoints.mkdir()
    last = folder.checkpoints / "last.ckpt"
    torch.save(state_of_training(w=torch.full((100,), 3.0)), last)
    assert newest_readable(folder) == last
    data = last.read_bytes()
    place = data.index(torch.full((9,), 3.0).numpy().tobytes())
    last.write_bytes(data[:place] + b"\1" + data[place + 1 :])
    assert torch.load(last, weights_only=True)["state_dict"]["w"][0] != 3.0
    assert newest_readable(folder) is None


# Reading and writing


def test_a_state_that_could_not_be_read_back_is_not_written(tmp_path):
    good = state_of_training(w=torch.zeros(2)) | {"callbacks": {"my.Window": {"last": deque([1])}, "other": {"a": 1}}}
    with pytest.raises(BootlightError, match=r"last\.ckpt is not written: the state of callback my\.Window .*s\.deque"):
        AtomicCheckpointIO().save_checkpoint(good, tmp_path / "last.ckpt")
    with pytest.raises(BootlightError, match=r"its part hyper_parameters could not be read back \(it holds a pathlib\."):
        AtomicCheckpointIO().save_checkpoint({"hyper_parameters": {"x": tmp_path}}, tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_not_read_by_the_trainer_either(tmp_path):
    path = forged(tmp_path / "hpc_ckpt_1.ckpt", BOMBS["bytearray"])
    with pytest.raises(BootlightError, match=r"hpc_ckpt_1\.ckpt cannot be read \(it asks for bytes"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=True)


def test_nothing_is_deleted_but_what_is_ours(tmp_path, caplog):
    run, outside = tmp_path / "run", tmp_path / "outside"
    for folder in (run, outside, run / "deep"):
        folder.mkdir()
        (folder / "a.ckpt").write_bytes(b"a")
    (run / "link.ckpt").symlink_to(outside / "a.ckpt")
    disk = AtomicCheckpointIO(run)
    for path in (outside, outside / "a.ckpt", run / ".." / "outside" / "a.ckpt", run / "link.ckpt", run / "deep", "s3://a/b"):
        disk.remove_checkpoint(path)
    assert (outside / "a.ckpt").exists() and (run / "deep" / "a.ckpt").exists() and len(caplog.records) == 5
    disk.remove_checkpoint(run / "a.ckpt")
    disk.save_checkpoint({"a": 1}, outside / "own.ckpt")
    disk.remove_checkpoint(outside / "own.ckpt")
    assert not (run / "a.ckpt").exists() and not (outside / "own.ckpt").exists() and (outside / "a.ckpt").exists()
