"""Pickles of NumPy arrays in plain containers, read instruction by instruction; nothing of them is imported or called.

Few-shot data sets circulate as pickles. Of the instructions that a pickle may hold those are followed that make
numbers, text, bytes, lists, tuples and dicts. A name in it is looked up in `_NAMES`, which says what this module makes
of it; any other name, and any other instruction, ends the reading. So whatever a file holds, what comes out are these
types and arrays of numbers or text, made here from bytes whose number fits their shape.
"""

from __future__ import annotations

import os
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.pickled_arrays import Array, DType, RefusedError, array_of
from metaprobe.trainers.formats.safetensors_header import open_regular
from metaprobe.trainers.formats.text import visible

__all__ = ["read_array_pickle"]

_INSTRUCTIONS = 20_000_000
_DEPTH = 8  # of containers in each other
_NUMPY = ("numpy.core", "numpy._core")  # before NumPy 2, and since
_NAMES = {
    "numpy ndarray": "type",
    "numpy dtype": "dtype",
    "_codecs encode": "bytes",
    **{f"{room}.multiarray _reconstruct": "array" for room in _NUMPY},
    **{f"{room}.multiarray scalar": "scalar" for room in _NUMPY},
    **{f"{room}.numeric _frombuffer": "buffer" for room in _NUMPY},
    **{f"collections {kind}": "dict" for kind in ("OrderedDict", "defaultdict")},
    **{f"{room} {kind}": "type" for room in ("builtins", "__builtin__") for kind in ("list", "int")},
    **{f"{room} bytes": "bytes" for room in ("builtins", "__builtin__")},
}


class _Name:
    """A name of `_NAMES`, by what is made of it."""

    def __init__(self, role: str) -> None:
        self.role = role


def read_array_pickle(path: Path | str) -> Any:
    """Return what a pickle of arrays in plain containers holds; its arrays cannot be written to.

    Raises:
        UnreadableInput: the file is missing, damaged, larger than this machine can serve, or holds anything else.
    """
    shown = visible(str(path))
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > psutil.virtual_memory().total / 4:  # its text, the bytes of that, and what is made of them
            raise UnreadableInput(f"{shown}: {size / 1e9:,.1f} GB are too much for this machine's memory.")
        try:
            return _plain(_Reader().read(file, size), _DEPTH)
        except RefusedError as error:
            raise UnreadableInput(f"{shown}: {error}; nothing of it was executed.") from None
        except (ValueError, LookupError, TypeError, OverflowError, MemoryError, UnicodeError) as error:
            raise UnreadableInput(f"{shown}: its pickle is damaged ({visible(str(error), 80)}).") from None


class _Bounded:
    """A file of which no more is asked for than there is: a length in it may be anything."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._left:
            raise ValueError(f"{count:,} bytes are to follow, of which {self._left:,} are there")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(self._left)
        self._left -= len(line)
        return line


class _Reader:
    """The stack, the marks on it and the memory of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def read(self, file: BinaryIO, size: int) -> Any:
        """Follow the instructions of one pickle and return what is on the stack at its end."""
        for count, (instruction, argument, _) in enumerate(pickletools.genops(_Bounded(file, size))):  # type: ignore[arg-type]
            name = instruction.name
            if count > _INSTRUCTIONS:
                raise RefusedError(f"its pickle has more than {_INSTRUCTIONS:,} instructions")
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name](argument))
            elif name in _STEPS:
                _STEPS[name](self, argument)
            elif name not in ("PROTO", "FRAME", "STOP"):
                raise RefusedError(f"its pickle does more than hold arrays in plain containers ({name})")
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        """Take everything down to the last mark off the stack."""
        place = self.marks.pop()
        found = self.stack[place:]
        del self.stack[place:]
        return found

    def keep(self, argument: Any) -> None:
        """Remember the top of the stack."""
        self.memo[len(self.memo) if argument is None else int(argument)] = self.stack[-1]

    def name(self, argument: Any) -> None:
        """Put a name on the stack that is known, told in one line or by two texts there."""
        if argument is None:
            own, module = self.stack.pop(), self.stack.pop()
            argument = f"{module} {own}"
        if argument not in _NAMES:
            raise RefusedError(f"it holds more than arrays in plain containers ({visible(str(argument), 80)})")
        self.stack.append(_Name(_NAMES[argument]))

    def reduce(self, _: Any) -> None:
        """Make what a name stands for."""
        arguments, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, _Name) or not isinstance(arguments, tuple) or name.role not in _MADE:
            raise RefusedError("it makes more than arrays in plain containers")
        self.stack.append(_MADE[name.role](*arguments))

    def build(self, _: Any) -> None:
        """Tell an array, or the type of one, what it is."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Array | DType):
            raise RefusedError("it sets up objects that are no arrays")
        self.stack[-1].build(state)

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values into the dict on top of the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError("keys and values without a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes | int | float | None):
                raise RefusedError("a dict has keys that are no text or numbers")
            target[key] = value

    def dict_of(self, items: list[Any]) -> None:
        """Put a dict of keys and values on the stack."""
        self.stack.append({})
        self.set_items(items)

    def extend(self, items: list[Any]) -> None:
        """Put values into the list on top of the stack."""
        if type(self.stack[-1]) is not list:
            raise ValueError("values without a list")
        self.stack[-1].extend(items)

    def tuple_of(self, count: int) -> None:
        """Make a tuple of what is on top of the stack."""
        found = tuple(self.stack[-count:])
        if len(found) < count:
            raise ValueError("a tuple of more than there is")
        self.stack[-count:] = [found]


def _same(argument: Any) -> Any:
    return argument


_CONSTANTS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"), _same),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _same),  # of Python 2, as Latin-1
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _same),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _same),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
}
_STEPS: Mapping[str, Callable[[_Reader, Any], Any]] = {
    "MARK": lambda own, _: own.marks.append(len(own.stack)),
    "POP": lambda own, _: own.stack.pop(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Reader.keep),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda own, place: own.stack.append(own.memo[int(place)])),
    "GLOBAL": _Reader.name,
    "STACK_GLOBAL": _Reader.name,
    "REDUCE": _Reader.reduce,
    "BUILD": _Reader.build,
    "APPEND": lambda own, _: own.extend([own.stack.pop()]),
    "APPENDS": lambda own, _: own.extend(own.since_mark()),
    "SETITEM": lambda own, _: own.set_items([own.stack.pop(-2), own.stack.pop()]),
    "SETITEMS": lambda own, _: own.set_items(own.since_mark()),
    "LIST": lambda own, _: own.stack.append(own.since_mark()),
    "DICT": lambda own, _: own.dict_of(own.since_mark()),
    "TUPLE": lambda own, _: own.stack.append(tuple(own.since_mark())),
    "TUPLE1": lambda own, _: own.tuple_of(1),
    "TUPLE2": lambda own, _: own.tuple_of(2),
    "TUPLE3": lambda own, _: own.tuple_of(3),
}
_MADE: Mapping[str, Callable[..., Any]] = {
    "array": lambda *_: Array(),  # what of, it is told next
    "buffer": lambda content, kind, shape, order: array_of(content, kind, shape, order),
    "scalar": lambda kind, content: array_of(content, kind, (), "C"),
    "dtype": lambda code, *_: DType(code),
    "bytes": lambda text="", *_: _bytes(text),
    "dict": lambda *_: {},
}


def _bytes(text: object) -> bytes:
    """Return what protocols before 3 tell as text, for want of an instruction for bytes."""
    if not isinstance(text, str):
        raise ValueError("bytes that are not told as text")
    return text.encode("latin-1")


def _plain(value: Any, depth: int) -> Any:
    """Return a value with arrays in place of what was told of them."""
    if depth < 0:
        raise RefusedError(f"its containers are more than {_DEPTH} deep in each other")
    if isinstance(value, Array) and value.values is not None:
        return value.values
    if isinstance(value, dict):
        return {key: _plain(one, depth - 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, depth - 1) for one in value]
    if value is None or isinstance(value, str | bytes | bytearray | int | float | np.ndarray):
        return value
    raise RefusedError("it holds an array without content, or a name")
