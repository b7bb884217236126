"""The pickle of a PyTorch file, listed and never run: what it names, and how deep its tuples are nested."""

from __future__ import annotations

import pickletools
from typing import BinaryIO

from metaprobe.trainers.formats.text import visible

__all__ = ["PICKLE_LIMIT", "RefusedError", "list_pickle"]

PICKLE_LIMIT = 16 << 20
"""Most bytes of the pickle beside the tensors' own; the largest state dicts have about 1 MiB."""

_INSTRUCTIONS = 1_000_000  # of a byte or more, but some make an object of a hundred
_MODULES = {"torch", "torch.storage", "torch._utils", "torch._tensor", "torch.serialization", "torch.nn.parameter"}
_NAMES = {"collections.OrderedDict", "collections.Counter", "_codecs.encode", "builtins.set", "builtins.complex"}
_NAMES |= {"argparse.Namespace"}  # options that training was given: a dictionary by another name
_OTHER_WAYS = {"INST", "OBJ", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER"}  # to name or fetch an object
_KEEP = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_FETCH = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_TUPLE_DEPTH = 64  # the hash of a tuple calls itself for each level: a million levels end the interpreter


class RefusedError(Exception):
    """Why a file is not read."""


def list_pickle(stream: BinaryIO) -> None:
    """Walk over one pickle's instructions without running any.

    Raises:
        RefusedError: it is damaged, names anything but torch's own building blocks, or nests tuples without measure.
    """
    stack, memo = _Stack(), dict[int, int]()
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(stream), 1):
            if count > _INSTRUCTIONS:
                raise RefusedError(f"its pickle has more than {_INSTRUCTIONS:,} instructions")
            if instruction.name in _OTHER_WAYS:
                raise RefusedError(_objects(f"instruction {instruction.name}"))
            if instruction.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                if module not in _MODULES and f"{module}.{name}" not in _NAMES:
                    raise RefusedError(_objects(f"{module}.{name}"))
            if instruction.name in _KEEP:
                memo[len(memo) if argument is None else int(argument)] = stack.depths[-1]
            elif instruction.name in _FETCH:
                stack.depths.append(memo[int(argument or 0)])
            elif stack.do(instruction) > _TUPLE_DEPTH:
                raise RefusedError(f"it nests tuples more than {_TUPLE_DEPTH} deep")
    except (ValueError, LookupError, OverflowError, MemoryError) as error:
        raise RefusedError(f"its pickle is damaged or truncated ({visible(str(error), 80)})") from None


class _Stack:
    """The stack of a pickle, of each thing only how deep tuples are nested in it; a mark is -1."""

    def __init__(self) -> None:
        self.depths: list[int] = []

    def do(self, instruction: pickletools.OpcodeInfo) -> int:
        """Take from the stack and put on it what an instruction does, and return how deep what it puts there is."""
        before, deepest = instruction.stack_before, -1
        fixed = len(before)
        if pickletools.markobject in before:  # everything down to the last mark, and what is named before it
            fixed = before.index(pickletools.markobject)
            while (depth := self.depths.pop()) >= 0:
                deepest = max(deepest, depth)
        for _ in range(fixed):
            deepest = max(deepest, self.depths.pop())
        depth = deepest + 1 if instruction.name in _TUPLES else deepest if instruction.name == "DUP" else 0
        for made in instruction.stack_after:
            self.depths.append(-1 if made is pickletools.markobject else depth)
        return depth


def _objects(what: str) -> str:
    return (
        f"it holds objects other than tensors and plain values ({visible(what, 80)}), so nothing of it was loaded or "
        "executed; save a plain state_dict instead: torch.save(model.state_dict(), path)"
    )
