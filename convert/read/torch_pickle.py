"""Read the pickles that ``torch.save`` writes without running anything that they name.

Python's own unpickler calls what the file tells it to. This one is an interpreter of the few
operations that such files consist of: containers, plain values, tensors and storages. It has no
way to import or call anything; whatever else a file asks for is refused by name.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from liquid_mlx.errors import CheckpointError

MAX_BYTES = 64 << 20
MAX_OPERATIONS = 2_000_000  # building a value out of n others counts as n
MAX_AXES = 64

ITEM_SIZES = {
    **dict.fromkeys(("float64", "int64"), 8),
    **dict.fromkeys(("float32", "int32"), 4),
    **dict.fromkeys(("float16", "bfloat16", "int16"), 2),
    **dict.fromkeys(("int8", "uint8", "bool"), 1),
}

_STORAGES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


@dataclass(frozen=True)
class Storage:
    """A storage that the pickle refers to: the key of its bytes, dtype, number of elements."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Global:
    """A name from the allow-list; ``build`` makes the value that calling it would make."""

    name: str
    build: Callable[..., Any] | None = None
    dtype: str | None = None


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    for values in (shape, strides):
        if not isinstance(values, tuple) or len(values) > MAX_AXES:
            raise ValueError("a tensor with a strange shape")
        if not all(type(v) is int and 0 <= v < 2**63 for v in values):
            raise ValueError("a tensor with a strange shape")
    if type(offset) is not int or offset < 0 or len(shape) != len(strides):
        raise ValueError("a tensor with a strange shape")
    return Tensor(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _mapping(pairs: Any = ()) -> OrderedDict[Any, Any]:
    mapping: OrderedDict[Any, Any] = OrderedDict()
    for key, value in pairs:
        mapping[_key(key)] = value
    return mapping


def _encoded(text: Any, encoding: Any) -> bytes:
    """How bytes are written in old pickle protocols."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes in a strange encoding")
    return text.encode("latin1")


def _allowed(*known: _Global) -> dict[str, _Global]:
    return {entry.name: entry for entry in known}


_GLOBALS = _allowed(
    _Global("collections OrderedDict", _mapping),
    _Global("torch._utils _rebuild_tensor_v2", _tensor),
    _Global("torch._utils _rebuild_tensor", _tensor),
    _Global("torch._utils _rebuild_parameter", _parameter),
    _Global("torch Size", tuple),
    _Global("_codecs encode", _encoded),
    *(_Global(f"torch {storage}", dtype=dtype) for storage, dtype in _STORAGES.items()),
    *(_Global(f"torch {dtype}") for dtype in _STORAGES.values()),
)


def _key(key: Any) -> Any:
    """Dictionary keys are plain: hashing nested tuples can take forever."""
    if type(key) not in (str, int, float, bool, bytes, type(None)):
        raise ValueError("a dictionary key that is not plain")
    return key


def _global(name: str) -> _Global:
    if name not in _GLOBALS:
        shown = name.replace(" ", ".")[:200]
        raise CheckpointError(
            f"names {shown}, which is no part of a plain checkpoint; nothing of it was run. "
            "Save the weights alone (torch.save(model.state_dict())) or as safetensors."
        )
    return _GLOBALS[name]


def _storage(persistent: Any) -> Storage:
    if not isinstance(persistent, tuple) or len(persistent) < 5 or persistent[0] != "storage":
        raise ValueError("a persistent id that is no storage")
    kind, key, count = persistent[1], persistent[2], persistent[4]
    view = persistent[5] if len(persistent) > 5 else None
    if not isinstance(kind, _Global) or not kind.dtype or view is not None:
        raise ValueError("a storage of an unknown kind")
    if not isinstance(key, (str, int)) or type(count) is not int or count < 0:
        raise ValueError("a storage with a strange size")
    return Storage(str(key), kind.dtype, count)


def load(file: IO[bytes]) -> Any:
    """The value of one pickle, read from the file's position; the position moves behind it.

    Raises:
        CheckpointError: the pickle names something outside the allow-list; it is quoted, and
            the caller says in which file.
        ValueError: it is damaged.
    """
    return Machine().load(file)


class Machine:
    """The pickle machine: a stack, the stacks below its marks, a memo, and the storages seen."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.operations = 0

    def load(self, file: IO[bytes]) -> Any:
        """See ``load`` above."""
        try:
            return self._run(file)
        except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a valid pickle ({type(error).__name__})") from None

    def _run(self, file: IO[bytes]) -> Any:
        for opcode, argument, _ in pickletools.genops(file):
            self.count(1)
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in _PLAIN:
                self.stack.append(argument)
            elif opcode.name not in _OPERATIONS:
                raise CheckpointError(f"uses the pickle operation {opcode.name}; refused.")
            else:
                _OPERATIONS[opcode.name](self, argument)
        raise ValueError("a pickle without an end")

    def count(self, operations: int) -> None:
        """Raise ValueError for a file that would build more than memory holds."""
        self.operations += operations
        if self.operations > MAX_OPERATIONS:
            raise ValueError("more operations than a checkpoint needs")

    def items(self) -> list[Any]:
        """What was pushed since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop(self, _: Any) -> None:
        self.stack.pop()

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def tuple_of(self, count: int) -> None:
        cut = len(self.stack) - count
        if cut < 0:
            raise ValueError("an empty stack")
        self.stack[cut:] = [tuple(self.stack[cut:])]

    def append(self, _: Any) -> None:
        value = self.stack.pop()
        self._list().append(value)

    def appends(self, _: Any) -> None:
        items = self.items()
        self._list().extend(items)

    def _list(self) -> list[Any]:
        if not isinstance(self.stack[-1], list):
            raise ValueError("an append to no list")
        return self.stack[-1]

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._dict()[_key(key)] = value

    def set_items(self, _: Any) -> None:
        items = self.items()
        target = self._dict()
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def _dict(self) -> dict[Any, Any]:
        if not isinstance(self.stack[-1], dict):
            raise ValueError("an item set in no dictionary")
        return self.stack[-1]

    def global_name(self, name: str) -> None:
        self.stack.append(_global(name))

    def stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_global(f"{module} {name}"))

    def reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise ValueError("a call of nothing that is known")
        if function.build is None:
            raise CheckpointError(f"calls {function.name.replace(' ', '.')}; refused.")
        self.count(sum(len(value) for value in arguments if hasattr(value, "__len__")))
        self.stack.append(function.build(*arguments))

    def build(self, _: Any) -> None:
        """Attributes (a state_dict's ``_metadata``) are dropped."""
        self.stack.pop()
        self._dict()

    def persistent(self, _: Any) -> None:
        storage = _storage(self.stack.pop())
        if self.storages.setdefault(storage.key, storage) != storage:
            raise ValueError("a storage that changes its size")
        self.stack.append(storage)


_PLAIN = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}

_OPERATIONS: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "NONE": lambda m, a: m.push(None),
    "NEWTRUE": lambda m, a: m.push(True),
    "NEWFALSE": lambda m, a: m.push(False),
    "MARK": Machine.mark,
    "POP": Machine.pop,
    "PUT": Machine.put,
    "BINPUT": Machine.put,
    "LONG_BINPUT": Machine.put,
    "MEMOIZE": Machine.memoize,
    "GET": Machine.get,
    "BINGET": Machine.get,
    "LONG_BINGET": Machine.get,
    "EMPTY_TUPLE": lambda m, a: m.push(()),
    "TUPLE": lambda m, a: m.push(tuple(m.items())),
    "TUPLE1": lambda m, a: m.tuple_of(1),
    "TUPLE2": lambda m, a: m.tuple_of(2),
    "TUPLE3": lambda m, a: m.tuple_of(3),
    "EMPTY_LIST": lambda m, a: m.push([]),
    "LIST": lambda m, a: m.push(m.items()),
    "APPEND": Machine.append,
    "APPENDS": Machine.appends,
    "EMPTY_DICT": lambda m, a: m.push({}),
    "SETITEM": Machine.set_item,
    "SETITEMS": Machine.set_items,
    "GLOBAL": Machine.global_name,
    "STACK_GLOBAL": Machine.stack_global,
    "REDUCE": Machine.reduce,
    "BUILD": Machine.build,
    "BINPERSID": Machine.persistent,
}
