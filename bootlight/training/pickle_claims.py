"""What torch would make of the pickle in a checkpoint, by stand-ins: nothing of it is made, and its size is added up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pickletools import genops
from typing import Any

import torch

MAX_OPERATIONS = 2_000_000  # of which a tensor takes some 30
MAX_SHARED = 8  # times the bytes of the file, where tensors share theirs, as tied weights and expanded tensors do
MAX_DIMENSIONS = 64
SPARE = 2**20
FLAT = (str, int, float, bool, type(None))  # keys: hashing nested tuples can take forever
GLOBALS = {"__builtin__": "builtins"}  # of protocol 2
PREFIXES = ("torch.", "torch.storage.")


class Unreadable(ValueError):
    """A checkpoint that bootlight does not read; says why."""


@dataclass(frozen=True, eq=False)
class _Name:
    """A function or class of which the file knows the name."""

    name: str


@dataclass(frozen=True, eq=False)
class _Storage:
    """Numbers in an entry of the zip of their own; both in bytes."""

    size: int
    itemsize: int


@dataclass(eq=False, slots=True)
class _Thing:
    """Anything else: what it is, and how much is in it."""

    kind: str
    count: int = 0


@dataclass
class Machine:
    """Goes through a pickle of protocol 2 as torch's restricted unpickler does.

    Args:
        sizes: bytes of each storage, by its key.
    """

    sizes: dict[str, int]
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    claimed: int = 0  # bytes

    def run(self, data: bytes) -> str:
        """Of which kind the whole is, such as `dict`.

        Raises:
            Unreadable: see `check_claims`.
        """
        most = MAX_SHARED * (sum(self.sizes.values()) + len(data)) + SPARE
        try:
            for number, (operation, argument, _) in enumerate(genops(data)):
                if number > MAX_OPERATIONS:
                    raise Unreadable(f"it has more than {MAX_OPERATIONS} parts")
                if operation.name not in STEPS:
                    raise Unreadable(f"it has {operation.name}, which torch does not write")
                STEPS[operation.name](self, argument)
                if self.claimed > most:
                    raise Unreadable(f"it asks for more than {most} bytes")
            whole = self.stack.pop()
            return whole.kind if isinstance(whole, _Thing) else type(whole).__name__
        except Unreadable:
            raise
        except Exception as error:  # a stack that is empty, a number in the place of a text
            raise Unreadable(f"it is damaged ({type(error).__name__})") from error

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        """Begin a collection of values."""
        self.marks.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """All values since the last mark."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def last(self, count: int) -> list[Any]:
        """The last few values, in their order."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def fill(self, kinds: tuple[str, ...], items: list[Any]) -> None:
        """Put items into the list or dictionary below."""
        target = self.stack[-1]
        if not isinstance(target, _Thing) or target.kind not in kinds:
            raise Unreadable("it fills what is no collection")
        if "dict" in kinds and not all(map(_is_key, items[::2])):
            raise Unreadable("it has a dictionary whose keys are neither texts nor numbers")
        target.count += len(items)

    def take(self, value: Any) -> None:
        """Count what a call copies: its arguments may be named, and copied, any number of times."""
        self.claimed += 8 * (value.count if isinstance(value, _Thing) else len(value) if isinstance(value, str | tuple) else 1)

    def name(self, text: str) -> None:
        """A global of the file, given as module and name."""
        module, _, rest = text.partition(" ")
        name = f"{GLOBALS.get(module, module)}.{rest}"
        if name not in CALLS and not _is_type(name) and name not in _own_names():
            raise Unreadable(f"it holds a {name}")
        self.push(_Name(name))

    def storage(self, _: Any) -> None:
        """Numbers that lie in another entry of the zip."""
        kind, storage, key, _, count = self.stack.pop()
        if kind != "storage" or not isinstance(key, str) or not isinstance(count, int) or not 0 <= count < 2**63:
            raise Unreadable("it has numbers of no kind")
        itemsize = _itemsize(storage.name)
        if count * itemsize != self.sizes[key]:
            raise Unreadable(f"it claims {count * itemsize} bytes where it has {self.sizes[key]}")
        self.push(_Storage(self.sizes[key], itemsize))

    def call(self, _: Any) -> None:
        """What a function would return."""
        function, arguments = self.last(2)
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise Unreadable("it calls what is no function")
        if _is_type(function.name):  # torch.FloatTensor(10**12)
            raise Unreadable(f"it asks for a {function.name}")
        stand_in: Callable[..., _Thing] = CALLS.get(function.name, _collection)
        self.push(stand_in(self, *arguments))

    def make(self, _: Any) -> None:
        """An object of a class that the user trusts."""
        kind, _arguments = self.last(2)
        if kind.name not in _own_names():
            raise Unreadable(f"it makes a {kind.name}")
        self.push(_Thing("own"))

    def build(self, _: Any) -> None:
        """Attributes of an object."""
        self.stack.pop()
        if self.stack[-1].kind == "tensor":
            raise Unreadable("it changes a tensor")

    def put(self, place: int) -> None:
        """Remember what is on top, to be named again."""
        self.memo[place] = self.stack[-1]


def _is_key(key: Any) -> bool:
    return isinstance(key, FLAT) or (isinstance(key, tuple) and all(isinstance(part, FLAT) for part in key))


def _is_type(name: str) -> bool:
    """Whether this is a type of numbers or storages, as `torch.float32` and `torch.FloatStorage`."""
    prefix, _, last = name.rpartition(".")
    found = getattr(torch, last, None)
    return prefix + "." in PREFIXES and (isinstance(found, torch.dtype) or last.endswith("Storage"))


def _own_names() -> set[str]:
    known: list[Any] = torch.serialization.get_safe_globals()  # type: ignore[no-untyped-call]
    return {part[1] if isinstance(part, tuple) else f"{part.__module__}.{part.__qualname__}" for part in known}


def _itemsize(name: str) -> int:
    last = name.rpartition(".")[2]
    return 1 if last == "UntypedStorage" else int(getattr(torch, last)._dtype.itemsize)  # `dtype` warns


def _tensor(machine: Machine, storage: _Storage, offset: int, size: Any, stride: Any, *rest: Any) -> _Thing:
    dtypes = [part.name for part in rest if isinstance(part, _Name)]  # of `_rebuild_tensor_v3`, whose storage is of bytes
    itemsize = getattr(torch, dtypes[0].rpartition(".")[2]).itemsize if dtypes else storage.itemsize
    numbers = (offset, *size, *stride)
    if not len(size) == len(stride) <= MAX_DIMENSIONS or not all(isinstance(n, int) and 0 <= n < 2**63 for n in numbers):
        raise Unreadable("it has a tensor of no size")
    machine.claimed += prod(size) * itemsize  # with strides of 0, more than it has; torch looks that none lies outside
    return _Thing("tensor")


def _parameter(machine: Machine, data: _Thing, *_: Any) -> _Thing:
    return _Thing(data.kind)


def _encoded(machine: Machine, text: Any, encoding: Any = None) -> _Thing:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Unreadable("it has bytes in an encoding that torch does not write")
    machine.take(text)
    return _Thing("bytes", len(text))


def _bytearray(machine: Machine, *arguments: Any) -> _Thing:
    if any(isinstance(argument, int) for argument in arguments):  # so many zeros
        raise Unreadable("it asks for bytes that it does not have")
    return _collection(machine, *arguments)


def _ordered(machine: Machine, *arguments: Any) -> _Thing:
    if arguments:
        raise Unreadable("it copies a dictionary")
    return _Thing("dict")


def _collection(machine: Machine, *arguments: Any) -> _Thing:
    for argument in arguments:
        machine.take(argument)
    return _Thing("own")


CALLS: dict[str, Callable[..., _Thing]] = {
    "collections.OrderedDict": _ordered,
    "collections.Counter": _collection,
    "builtins.set": _collection,
    "builtins.complex": _collection,
    "builtins.bytearray": _bytearray,
    "_codecs.encode": _encoded,
    "torch.Size": _collection,
    "torch.device": _collection,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "STOP": lambda machine, _: None,
    "MARK": Machine.mark,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), Machine.push),
    "EMPTY_LIST": lambda machine, _: machine.push(_Thing("list")),
    "EMPTY_DICT": lambda machine, _: machine.push(_Thing("dict")),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.last(3))),
    "APPEND": lambda machine, _: machine.fill(("list", "own"), machine.last(1)),
    "APPENDS": lambda machine, _: machine.fill(("list", "own"), machine.marked()),
    "SETITEM": lambda machine, _: machine.fill(("dict", "own"), machine.last(2)),
    "SETITEMS": lambda machine, _: machine.fill(("dict", "own"), machine.marked()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), Machine.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, place: machine.push(machine.memo[place])),
    "GLOBAL": Machine.name,
    "BINPERSID": Machine.storage,
    "REDUCE": Machine.call,
    "NEWOBJ": Machine.make,
    "BUILD": Machine.build,
}
