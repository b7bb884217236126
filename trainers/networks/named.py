"""Networks by name, by a library's name, or by the place of a factory in the user's own code.

A name with a factory of the user's is code to run. A file may hold such a name, as text; what is run is what the
command line, or whoever sets `trainers.user_code.USER_CODE`, has named.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from metaprobe.trainers.errors import MetaprobeError, unknown_name
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.networks.resnet12 import ResNet12
from metaprobe.trainers.user_code import USER_CODE, is_code

__all__ = ["BUILT_IN", "build_named", "network_arguments"]

BUILT_IN: dict[str, Callable[..., nn.Module]] = {"resnet12": ResNet12}
"""Networks of ours that are adapted task by task; conv4 has an engine of its own."""

_GIVEN = {  # what factories call what the command line knows
    "n_way": ("num_classes", "n_way", "n_classes", "num_class", "nclasses", "n_ways", "ways", "way", "output_size"),
    "channels": ("in_channels", "in_chans", "channels", "n_channels", "num_channels"),
    "image_size": ("image_size", "img_size", "input_size"),
}
_FETCHING = ("pretrained", "weights", "checkpoint", "cache", "progress", "script", "export", "file", "url", "path")


def network_arguments(words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a factory from words "key=value", values as JSON or Python has them, else as text.

    Raises:
        MetaprobeError: a word is no such pair, a key comes twice, or a value is none that JSON can hold.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key.isidentifier() or key in found:
            why = "is given twice" if key in found else "is no key=value"
            raise MetaprobeError(f"--network-args {visible(word, 60)!r} {why}; write such as width=64 act=relu")
        found[key] = _value(word, text)
    return found


def _value(word: str, text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
            return json.loads(json.dumps(value, allow_nan=False))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    if text.replace("_", "a").replace("-", "a").replace(".", "a").isalnum() and not text[0].isdigit():
        return text
    raise MetaprobeError(
        f"--network-args {visible(word, 60)!r}: its value is neither JSON nor a Python literal (a number, text in "
        "quotes, true, [1, 2] …)"
    )


def build_named(name: str, args: Mapping[str, Any], n_way: int, channels: int, image_size: int, seed: int) -> nn.Module:
    """Build a network with freshly drawn weights, the same ones for the same seed.

    What the network's factory takes of ways, channels and image size is given to it, unless `args` do.

    Raises:
        MetaprobeError: there is no such network, it is code that nobody allowed, or its factory fails.
    """
    factory, called = _factory(name, args)
    given = _fitting(factory, args, {"n_way": n_way, "channels": channels, "image_size": image_size})
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            built = factory(**given, **args)
        except MetaprobeError:
            raise
        except Exception as error:  # whatever a factory raises
            told = ", ".join(f"{key}={value!r}" for key, value in (given | dict(args)).items())
            raise MetaprobeError(f"{called}({told}) failed: {_line(error)}; see --network-args") from error
    if not isinstance(built, nn.Module):
        raise MetaprobeError(f"{called} gave a {type(built).__name__}, expected a torch.nn.Module")
    return built


def _factory(name: str, args: Mapping[str, Any]) -> tuple[Callable[..., Any], str]:
    """Return what builds a network, and what it is called in errors."""
    library, colon, inner = name.partition(":")
    if not colon:
        if name not in BUILT_IN:
            known = ("conv4", *BUILT_IN, "torchvision:NAME", "timm:NAME", "package.module:factory")
            raise unknown_name("network", name, known)
        return BUILT_IN[name], name
    if not is_code(name):
        for key in args:
            if key.lower().startswith(_FETCHING):
                raise MetaprobeError(f"--network-args {key}: weights come from a file of yours, nothing is fetched")
        return (_torchvision if library == "torchvision" else _timm)(inner), name
    allowed = USER_CODE.get()
    if allowed is None:
        raise MetaprobeError(
            f"its network is {visible(name, 80)}, code of the user's, and no file names code to run: add "
            f"--network {visible(name, 80)}, or where that code is now"
        )
    return _own(allowed), allowed


def _torchvision(name: str) -> Callable[..., Any]:
    from torchvision.models import get_model, list_models

    if name not in (known := list_models()):
        raise unknown_name("network of torchvision", name, known)

    def build(num_classes: int, **args: Any) -> nn.Module:
        return get_model(name, weights=None, num_classes=num_classes, **args)

    return build


def _timm(name: str) -> Callable[..., Any]:
    try:
        import timm  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise MetaprobeError(f"--network timm:{name} needs timm: pip install 'metaprobe[timm]'") from error
    if name not in (known := timm.list_models()):  # else it would be looked for on the network
        close = [other for other in known if name.split("_")[0] in other][:8]
        raise MetaprobeError(f"timm has no network {visible(name, 60)!r}; such as {', '.join(close or known[:8])}")

    def build(num_classes: int, in_chans: int, **args: Any) -> nn.Module:
        return timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=in_chans, **args)

    return build


def _own(name: str) -> Callable[..., Any]:
    """Import a factory of the user's, looking into the working folder first."""
    module_name, _, inner = name.partition(":")
    if not inner or not all(part.isidentifier() for part in (*module_name.split("."), *inner.split("."))):
        raise MetaprobeError(
            f"--network {visible(name, 80)}: expected package.module:factory, such as mynet:build for mynet.py here"
        )
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise MetaprobeError(
                f"--network {name}: there is no module {module_name} in {folder} or among the installed ones"
            ) from error
        raise MetaprobeError(f"--network {name}: importing {module_name} failed: {_line(error)}") from error
    except Exception as error:  # whatever the user's code raises
        raise MetaprobeError(f"--network {name}: importing {module_name} failed: {_line(error)}") from error
    finally:
        sys.path.remove(folder)
    for part in inner.split("."):
        if not hasattr(found, part):
            names = [one for one in vars(found) if not one.startswith("_") and callable(getattr(found, one))]
            raise unknown_name(f"factory in {module_name}", inner, names)
        found = getattr(found, part)
    if isinstance(found, nn.Module) or not callable(found):
        raise MetaprobeError(f"--network {name} is a {type(found).__name__}; expected a function or class that builds")
    return found


def _fitting(factory: Callable[..., Any], args: Mapping[str, Any], known: Mapping[str, int]) -> dict[str, int]:
    """Return what of ways, channels and image size a factory takes by name, and was not given."""
    try:
        takes = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return {}
    found = {}
    for what, names in _GIVEN.items():
        mine = [name for name in names if name in takes and takes[name].kind is not inspect.Parameter.POSITIONAL_ONLY]
        if mine and not any(name in args for name in mine):
            found[mine[0]] = known[what]
    return found


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {visible(' '.join(str(error).split()), 200)}"
