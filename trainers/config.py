"""What a run is told: frozen dataclasses, read and written without importing torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro.conf
from tyro.constructors import PrimitiveConstructorSpec

from trainers.errors import MetaprobeError
from trainers.families import Like
from trainers.formats.text import fits_utf8, visible
from trainers.limits import MOST_STEPS, MOST_TASKS, check_rate, check_whole, fits_float32
from trainers.network_config import Downsample, HeadInput, HeadStart, NetworkConfig, Norm, NormAffine, TestNorm
from trainers.plain import LATER, from_mapping, to_mapping
from trainers.task_kinds import Loss

__all__ = [
    "Adaptation",
    "AssignTo",
    "Clustered",
    "Colour",
    "Downsample",
    "HeadInput",
    "HeadStart",
    "Like",
    "NetworkConfig",
    "Norm",
    "NormAffine",
    "Precision",
    "TestNorm",
    "TrainConfig",
    "from_mapping",
    "to_mapping",
]

_DECIDING = ("sinusoid", "tasks")  # data that decide what a task is

Precision = Literal["float32", "tf32", "bf16"]


def _joined(kind: type[int] | type[float], metavar: str) -> PrimitiveConstructorSpec[Any]:
    """Return how the command line says several numbers: "256,128"."""

    def read(words: list[str]) -> tuple[Any, ...]:
        try:
            return tuple(kind(word) for word in words[0].split(",") if word.strip())
        except ValueError:
            raise ValueError(f"must be numbers joined by commas; got {words[0]!r}") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, value or ()))],
    )


Colour = Literal["grey", "rgb"]
Clustered = Literal["all", "body", "head"]
AssignTo = Literal["centres", "initialisations"]


@dataclass(frozen=True)
class Adaptation:
    """How a learner adapts to a task: θ ← θ − inner_lr ∇θ L_support, `steps` times, on `layers` only.

    `first_order` drops the derivative through the inner gradients from the meta-gradient (FOMAML); it changes training
    only. `adapt_norm` says whether the affine parameters of the norms take part. `rule` names the update rule, which
    may make something else of the gradient (`trainers.update_rules`).
    """

    layers: tuple[str, ...]
    inner_lr: float
    steps: int
    first_order: bool = False
    adapt_norm: bool = True
    rule: str = field(default="sgd", metadata=LATER)

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
    """glyphs, patterns, shapes, omniglot, cifar_fs, class_folder:PATH, parquet:PATH, mixture:NAME,NAME…; sinusoid,
    tasks:FILE.npz"""
    n_way: int = 5
    """Classes in a task; of a regression, numbers to be told. (Of sinusoid and tasks:FILE.npz the data decide.)"""
    n_shot: int = 1
    """Support images of a class; of a regression, samples."""
    n_query: int = 15
    """Query images of a class; of a regression, samples."""
    seed: int = 0
    """Seeds the weights and the order of the training tasks."""
    iterations: int = 10_000
    """Outer steps."""
    meta_batch: int = 16
    """Tasks in an outer step."""
    inner_lr: float = 0.1
    """Step size of the inner loop, on the mean loss. Papers on finn2017's code print it n_way times smaller (0.01: 0.05
    at 5 ways), and no option turns one into the other by itself."""
    inner_steps: int = 5
    """Gradient steps on a support set."""
    outer_lr: float = 1e-3
    """Adam's step size."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How outer_lr falls over the run."""
    clip: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: no clipping)")] = None
    """Clip every element of the meta-gradient to ± this."""
    norm: Annotated[TestNorm, tyro.conf.arg(metavar="{transductive,non-transductive}")] = "transductive"
    """Whose statistics normalise a query: its batch's own, or the support set's."""
    adapt_norm: bool = True
    """Whether the inner loop moves the norms' affine parameters."""
    like: Annotated[
        Like | None,
        tyro.conf.arg(
            metavar="{finn2017,arnold2021,antoniou2019}", help_behavior_hint="(default: the options' own defaults)"
        ),
    ] = None
    """Network and norms as that paper's code has them; options that are given win. It leaves inner_lr alone, and lacks
    antoniou2019's leaky ReLU and what MAML++ has a step."""
    norm_affine: Annotated[
        NormAffine | None, tyro.conf.arg(metavar="{both,shift,none}", help_behavior_hint="(default: both)")
    ] = None
    """Parameters of the norms: scale and shift, the shift alone, or none."""
    norm_epsilon: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: 1e-5)")] = None
    """What a norm adds to a variance."""
    head_start: Annotated[
        HeadStart | None, tyro.conf.arg(metavar="{glorot,normal}", help_behavior_hint="(default: glorot)")
    ] = None
    """How the head's weights are drawn: Glorot uniform, or from N(0, 1)."""
    head_input: Annotated[
        HeadInput | None,
        tyro.conf.arg(metavar="{flatten,mean}", help_behavior_hint="(default: flatten after max-pools, else mean)"),
    ] = None
    """What the head reads of the last feature map: all of it, or its mean over positions."""
    filters: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 64 on grey images, 32 on RGB)")
    ] = None
    """Channels of a convolution; units of a hidden layer, where samples are feature vectors (40 there)."""
    blocks: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 4)")] = None
    """Convolution blocks, those after the fourth keep the size of their feature map; or hidden layers (2). 0 is softmax
    regression on the pixels."""
    linnet: Annotated[tuple[int, ...], _joined(int, "N,N,…"), tyro.conf.arg(help_behavior_hint="(default: none)")] = (
        field(default=(), metadata=LATER)
    )
    """Linear layers of these widths between features and head, without activation (arnold2021), as 256,128,64,64."""
    downsample: Annotated[
        Downsample | None,
        tyro.conf.arg(
            metavar="{stride,max-pool,none}", help_behavior_hint="(default: stride on grey images, max-pool on RGB)"
        ),
    ] = None
    """How a block halves its feature map, if it does."""
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
    update_rule: Annotated[
        str | None, tyro.conf.arg(metavar="RULE", help_behavior_hint="(maml, fomaml, anil; default: sgd)")
    ] = None
    """How a gradient becomes an inner step: sgd, meta_sgd, lslr, lslr_layer, meta_curvature, t_nets, meta_kfo,
    meta_kfo_free, meta_kfo_nonlinear; `metaprobe list update_rules` tells more."""
    rates_start: Annotated[
        float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(meta_sgd, lslr; default: inner_lr)")
    ] = None
    """What an update rule's learned rates start from."""
    rates_clamp: Annotated[
        tuple[float, float] | None,
        _joined(float, "LOW,HIGH"),
        tyro.conf.arg(help_behavior_hint="(meta_sgd, lslr; default: no limits)"),
    ] = None
    """Limits that learned rates are kept in."""
    clusters: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(tsa_maml; default: 3)")] = None
    """How many clusters of tasks, each with an initialisation (the papers' m)."""
    clustered: Annotated[
        Clustered | None, tyro.conf.arg(metavar="{all,body,head}", help_behavior_hint="(tsa_maml; default: all)")
    ] = None
    """Which adapted parameters tasks are clustered by; with a symmetric head the body's."""
    cluster_norms: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="(tsa_maml)")] = (
        field(default=False, metadata=LATER)
    )
    """Count the norms' affine parameters among those, too."""
    cluster_steps: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(tsa_maml; default: 20)")] = (
        None
    )
    """Inner steps after which tasks are clustered and assigned; training keeps to inner_steps."""
    label_orders: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(tsa_maml; default: 1)")] = (
        None
    )
    """Cluster and assign by the mean over so many orders of a task's labels; 1 is the paper's, its own order alone."""
    symmetric_head: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="(tsa_maml)")] = (
        field(default=False, metadata=LATER)
    )
    """Cluster and assign by the body as it adapts under a head of equal rows, whatever the order of the labels."""
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
    val_query: Annotated[int, tyro.conf.arg(help_behavior_hint="(default: as --n-query)")] = field(
        default=15, metadata=LATER
    )
    """Query images of a class in those."""
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
    loss: Annotated[Loss, tyro.conf.Suppress] = field(default="cross-entropy", metadata=LATER)
    """What tasks ask for, as the data have it."""

    def __post_init__(self) -> None:
        least = {"n_way": 2, "val_tasks": 2, "seed": 0}  # an interval needs two tasks
        least |= {
            name: 1 for name in ("n_shot", "n_query", "iterations", "meta_batch", "inner_steps", "val_every", "chunk")
        }
        least |= {"val_query": 1}
        if self.loss == "mse" or self.data.partition(":")[0] in _DECIDING:
            least["n_way"] = 1
        least |= {name: 1 for name in ("filters", "image_size", "clusters", "cluster_tasks")} | {"blocks": 0}
        least |= {"cluster_steps": 1, "label_orders": 1}
        most = {"val_tasks": MOST_TASKS, "cluster_tasks": MOST_TASKS, "inner_steps": MOST_STEPS}
        most |= {"cluster_steps": MOST_STEPS, "label_orders": 1000}
        for name, low in least.items():
            check_whole(name, getattr(self, name), low, most.get(name))
        for name in ("inner_lr", "outer_lr", "clip", "norm_epsilon", "rates_start"):
            check_rate(name, getattr(self, name))
        clamp = self.rates_clamp
        if clamp is not None and not (len(clamp) == 2 and -math.inf < clamp[0] < clamp[1] < math.inf):
            raise MetaprobeError(f"--rates-clamp needs two numbers, the lower one first; got {clamp}")
        if self.update_rule == "sgd":  # one spelling for one run
            object.__setattr__(self, "update_rule", None)
        for name in ("data", "base"):
            if not fits_utf8(getattr(self, name) or ""):
                told = visible(getattr(self, name))
                raise MetaprobeError(f"--{name} {told} is no UTF-8, which a run's config.toml is; rename what it names")
        if self.norm == "one-query":
            told = "--norm one-query is a way of testing (`metaprobe evaluate --norm one-query`)"
            raise MetaprobeError(f"{told}; train with transductive or non-transductive")
        if self.precision == "tf32" and not self.device.startswith("cuda"):
            raise MetaprobeError(f"--precision tf32 is a mode of CUDA devices; got --device {self.device}")
