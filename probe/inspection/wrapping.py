"""Where the weights are in what people save, and what stands before all their names. No torch."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["BUFFERS", "PREFIX", "USUAL", "is_buffer", "prefixes_of"]

PREFIX = "prefix taken off all names"
"""The key of a file's metadata that tells of one."""

USUAL = ("state_dict", "model_state_dict", "model_state", "model", "module", "network", "net", "state", "model_sd")
USUAL += ("params", "weights", "learner", "maml")
"""Keys that people save weights under."""

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Last parts of names that are never weights, whoever wrote them."""

_WRAPPERS = {"module", "_orig_mod", "model", "network", "net", "encoder", "backbone", "learner", "maml", "classifier"}
_WRAPPERS |= {"_forward_module", "inner", "base_model", "model_state_dict", "state_dict"}
_INTEGERS = {"I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL"}


def prefixes_of(names: Iterable[str]) -> str:
    """Return what wrappers have put before all of some names, such as "module._orig_mod."; "" for nothing.

    Only first parts that are usual for wrappers count, and never the last part of a name.
    """
    parts = [name.split(".") for name in names]
    taken: list[str] = []
    while parts and all(len(each) > len(taken) + 1 for each in parts):
        firsts = {each[len(taken)] for each in parts}
        if len(firsts) > 1 or not firsts <= _WRAPPERS:
            break
        inside = {each[len(taken) + 1] for each in parts}
        if inside <= {"weight", "bias", *BUFFERS}:  # a single layer of that name
            break
        taken += firsts
    return "".join(f"{part}." for part in taken)


def is_buffer(name: str, dtype: str) -> bool:
    """Tell whether a tensor of a file is none of the parameters, by its name or because it holds no floats."""
    return name.rpartition(".")[2] in BUFFERS or dtype in _INTEGERS
