"""What a run is told: frozen dataclasses, read and written without importing torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro.conf

from trainers.errors import MetaprobeError, UnreadableInput
from trainers.formats.text import fits_utf8, visible
from trainers.limits import MOST_STEPS, MOST_TASKS, check_rate, check_whole, fits_float32

__all__ = [
    "Adaptation",
    "AssignTo",
    "Clustered",
    "Colour",
    "Downsample",
    "NetworkConfig",
    "Norm",
    "Precision",
    "TrainConfig",
    "from_mapping",
    "to_mapping",
]

Precision = Literal["float32", "tf32", "bf16"]
Norm = Literal["transductive", "non-transductive"]
Downsample = Literal["stride", "max-pool"]
Colour = Literal["grey", "rgb"]
Clustered = Literal["all", "body", "head"]
AssignTo = Literal["centres", "initialisations"]

T = TypeVar("T")


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a network: everything needed to build it again.

    `norm` names whose statistics normalise a query: "transductive", the query batch's own (Finn et al. 2017's code), or
    "non-transductive", those of the task's support set, so that no query sees another.
    """

    name: str
    n_way: int
    channels: int
    image_size: int
    filters: int
    downsample: Downsample
    norm: Norm
    blocks: int = 4

    def __post_init__(self) -> None:
        most_of = {"n_way": 65_536, "channels": 4096, "image_size": 4096, "filters": 4096, "blocks": 64}
        for name, most in most_of.items():
            if not 1 <= getattr(self, name) <= most:  # also what a damaged file may ask for
                raise MetaprobeError(f"a network's {name} must be from 1 to {most}; got {getattr(self, name)}")


@dataclass(frozen=True)
class Adaptation:
    """How a learner adapts to a task: θ ← θ − inner_lr ∇θ L_support, `steps` times, on `layers` only.

    `first_order` drops the derivative through the inner gradients from the meta-gradient (FOMAML); it changes training
    only. `adapt_norm` says whether the affine parameters of the norms take part.
    """

    layers: tuple[str, ...]
    inner_lr: float
    steps: int
    first_order: bool = False
    adapt_norm: bool = True

    def __post_init__(self) -> None:
        got = f"got steps={self.steps}, inner_lr={self.inner_lr}"
        if self.steps < 0 or not self.inner_lr > 0:
            raise MetaprobeError(f"an adaptation needs steps >= 0 and inner_lr > 0; {got}")
        if self.steps > MOST_STEPS or not fits_float32(self.inner_lr):
            told = f"an adaptation takes {MOST_STEPS:,} steps at most, at a rate that is finite in float32"
            raise MetaprobeError(f"{told}; {got}")


@dataclass(frozen=True)
class TrainConfig:
    """One training run: two with equal configs and engines (see `trainers.engine`) end with the same bytes."""

    algorithm: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ALGORITHM")]
    """maml, anil, nil, multiclass, tsa_maml …; `metaprobe list algorithms` tells more."""
    data: Annotated[str, tyro.conf.arg(metavar="SET")]
    """glyphs, patterns, shapes, omniglot, cifar_fs, class_folder:PATH or mixture:NAME,NAME…"""
    n_way: int = 5
    """Classes in a task."""
    n_shot: int = 1
    """Support images of a class."""
    n_query: int = 15
    """Query images of a class."""
    seed: int = 0
    """Seeds the weights and the order of the training tasks."""
    iterations: int = 10_000
    """Outer steps."""
    meta_batch: int = 16
    """Tasks in an outer step."""
    inner_lr: float = 0.1
    """Step size of the inner loop."""
    inner_steps: int = 5
    """Gradient steps on a support set."""
    outer_lr: float = 1e-3
    """Adam's step size."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How outer_lr falls over the run."""
    clip: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: no clipping)")] = None
    """Clip every element of the meta-gradient to ± this."""
    norm: Norm = "transductive"
    """Whose statistics normalise a query: its batch's own, or the support set's."""
    adapt_norm: bool = True
    """Whether the inner loop moves the norms' affine parameters."""
    filters: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 64 on grey images, 32 on RGB)")
    ] = None
    """Channels of a convolution."""
    blocks: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 4)")] = None
    """Convolution blocks; those after the fourth keep the size of their feature map."""
    downsample: Annotated[
        Downsample | None,
        tyro.conf.arg(
            metavar="{stride,max-pool}", help_behavior_hint="(default: stride on grey images, max-pool on RGB)"
        ),
    ] = None
    """How a block halves its feature map."""
    image_size: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as the images are)")
    ] = None
    """Resize images to this many pixels."""
    colour: Annotated[
        Colour | None, tyro.conf.arg(metavar="{grey,rgb}", help_behavior_hint="(default: as the images are)")
    ] = None
    """Turn images grey, or into RGB."""
    base: Annotated[
        str | None, tyro.conf.arg(metavar="CHECKPOINT", help_behavior_hint="(default: freshly drawn weights)")
    ] = None
    """Start from the weights of this checkpoint; tsa_maml and maml_head need one."""
    clusters: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(tsa_maml; default: 3)")] = None
    """How many clusters of tasks, each with an initialisation (the papers' m)."""
    clustered: Annotated[
        Clustered | None, tyro.conf.arg(metavar="{all,body,head}", help_behavior_hint="(tsa_maml; default: all)")
    ] = None
    """Which adapted parameters tasks are clustered by."""
    assign_to: Annotated[
        AssignTo | None,
        tyro.conf.arg(metavar="{centres,initialisations}", help_behavior_hint="(tsa_maml; default: centres)"),
    ] = None
    """What a task's adapted parameters are compared with: the fixed centres, or the initialisations as they are."""
    cluster_tasks: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(tsa_maml; default: 10000)")
    ] = None
    """Training tasks that the clusters are found in."""
    val_tasks: int = 200
    """Validation tasks, the same ones each time."""
    val_every: int = 500
    """Iterations from one validation (and save) to the next."""
    chunk: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: timed on the first iteration)")
    ] = None
    """Tasks that one core or GPU adapts at once: more need more memory."""
    gradient: Literal["auto", "unrolled", "sweep"] = "auto"
    """Keep the graphs of all inner steps (unrolled), or make each anew on the way back, in less memory (sweep)."""
    compile: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Compile the meta-gradient, and use that where it is faster; each start takes minutes."""
    precision: Precision = "float32"
    """Of convolutions (tf32, for GPUs: of matrix products too) in training and its validations."""
    device: str = "cpu"
    """cpu, cuda, cuda:1 …"""

    def __post_init__(self) -> None:
        least = {"n_way": 2, "val_tasks": 2, "seed": 0}  # an interval needs two tasks
        least |= {
            name: 1 for name in ("n_shot", "n_query", "iterations", "meta_batch", "inner_steps", "val_every", "chunk")
        }
        least |= {name: 1 for name in ("filters", "blocks", "image_size", "clusters", "cluster_tasks")}
        most = {"val_tasks": MOST_TASKS, "cluster_tasks": MOST_TASKS, "inner_steps": MOST_STEPS}
        for name, low in least.items():
            check_whole(name, getattr(self, name), low, most.get(name))
        for name in ("inner_lr", "outer_lr", "clip"):
            check_rate(name, getattr(self, name))
        for name in ("data", "base"):
            if not fits_utf8(getattr(self, name) or ""):
                told = visible(getattr(self, name))
                raise MetaprobeError(f"--{name} {told} is no UTF-8, which a run's config.toml is; rename what it names")
        if self.precision == "tf32" and not self.device.startswith("cuda"):
            raise MetaprobeError(f"--precision tf32 is a mode of CUDA devices; got --device {self.device}")


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a config as plain values (tuples as lists), for JSON or TOML; an option left out is left out there."""
    values = dataclasses.asdict(config)
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value is not None
    }


def from_mapping(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build a config from plain values.

    Args:
        kind: the dataclass to build.
        values: its fields, as `to_mapping` gives them.
        where: what the values were read from, for the error.

    Raises:
        UnreadableInput: a field is missing, unknown, or of the wrong type.
    """
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise UnreadableInput(f"{where}: unknown {kind.__name__} field {unknown[0]!r}; known: {', '.join(hints)}")
    try:
        return kind(**{name: _checked(name, value, hints[name]) for name, value in values.items()})
    except (TypeError, MetaprobeError) as error:
        raise UnreadableInput(f"{where}: not a {kind.__name__}: {error}") from error


def _checked(name: str, value: Any, hint: Any) -> Any:
    """Return the value as the hint's type, or raise TypeError: a JSON file may hold anything."""
    allowed = get_args(hint) if get_origin(hint) is not tuple else ()
    if get_origin(hint) is Literal:
        fits = value in allowed
    elif (items := _items(value, hint)) is not None:
        fits = isinstance(value, list | tuple) and len(value) == len(items)
        if fits:
            parts = (_checked(f"{name}[{place}]", *each) for place, each in enumerate(zip(value, items, strict=True)))
            return hint(*parts) if hasattr(hint, "_fields") else tuple(parts)
    elif allowed:  # a union with None; TOML and JSON leave None out
        return None if value is None else _checked(name, value, allowed[0])
    elif hint is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if fits else value
    else:
        fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not fits:
        raise TypeError(f"{name} is {value!r}, expected {hint if allowed else getattr(hint, '__name__', hint)}")
    return value


def _items(value: Any, hint: Any) -> tuple[Any, ...] | None:
    """Return the hint of each item of a tuple or a NamedTuple, of as many as the value has where any number may be."""
    if hasattr(hint, "_fields"):
        return tuple(get_type_hints(hint).values())
    if get_origin(hint) is not tuple:
        return None
    items = get_args(hint)
    return items[:1] * len(value) if items[-1] is ... and isinstance(value, list | tuple) else items
