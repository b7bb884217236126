"""What a run is told: frozen dataclasses, read and written without importing torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro.conf

from metaprobe.trainers.adaptation import Adaptation, CgSystem, StepStatistics
from metaprobe.trainers.config_checks import check_config
from metaprobe.trainers.families import Like
from metaprobe.trainers.joined import joined
from metaprobe.trainers.network_config import (
    Activation,
    Downsample,
    HeadInput,
    HeadStart,
    NetworkConfig,
    Norm,
    NormAffine,
    TestNorm,
)
from metaprobe.trainers.plain import LATER, from_mapping, to_mapping
from metaprobe.trainers.task_kinds import Loss

__all__ = [
    "SAID_AS_NONE",
    "Activation",
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
    "joined",
    "to_mapping",
]

SAID_AS_NONE = {"update_rule": "sgd", "activation": "relu", "multi_step_loss": 0, "first_order_until": 0}
SAID_AS_NONE |= {"step_statistics": "batch", "cg_system": "paper"}
"""Options' values that a config keeps as None, so that one run has one spelling."""

Precision = Literal["float32", "tf32", "bf16"]


Colour = Literal["grey", "rgb"]
Clustered = Literal["all", "body", "head"]
AssignTo = Literal["centres", "initialisations"]


@dataclass(frozen=True)
class TrainConfig:
    """One training run: two with equal configs and engines (see `trainers.engine`) end with the same bytes."""

    algorithm: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ALGORITHM")]
    """maml, maml_pp, anil, nil, multiclass, tsa_maml …; `metaprobe list algorithms` tells more."""
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
    outer_lr_floor: Annotated[
        float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(--schedule cosine; default: 0)")
    ] = None
    """What outer_lr falls to."""
    clip: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: no clipping)")] = None
    """Clip every element of the meta-gradient to ± this."""
    clip_norm: Annotated[
        float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: none, of meta_lstm 0.25)")
    ] = None
    """Scale the meta-gradient, after --clip, down to this norm where it is longer; 0 for no limit."""
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
    """Network and norms as that paper's code has them; options that are given win. It leaves inner_lr alone."""
    activation: Annotated[
        Activation | None,
        tyro.conf.arg(metavar="{relu,leaky-relu}", help_behavior_hint="(default: relu, of antoniou2019 leaky-relu)"),
    ] = None
    """What follows a norm: ReLU, or a leaky ReLU of slope 0.01."""
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
    linnet: Annotated[tuple[int, ...], joined(int, "N,N,…"), tyro.conf.arg(help_behavior_hint="(default: none)")] = (
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
    rotate_classes: bool = field(default=False, metadata=LATER)
    """Turn the images of every class of a training task by a multiple of 90°; those of tests stay (MAML++'s code)."""
    base: Annotated[
        str | None, tyro.conf.arg(metavar="CHECKPOINT", help_behavior_hint="(default: freshly drawn weights)")
    ] = None
    """Start from the weights of this checkpoint; tsa_maml and maml_head need one."""
    inner_clip: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(mmaml; default: 20)")] = (
        None
    )
    """Clip every element of an inner gradient to ± this; 0 for no limit."""
    update_rule: Annotated[
        str | None, tyro.conf.arg(metavar="RULE", help_behavior_hint="(maml, fomaml, anil; default: sgd)")
    ] = None
    """How a gradient becomes an inner step: sgd, meta_sgd, lslr, lslr_layer, meta_curvature, t_nets, meta_kfo,
    meta_kfo_free, meta_kfo_nonlinear, of fomaml meta_lstm; `metaprobe list update_rules` tells more."""
    rates_start: Annotated[
        float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(meta_sgd, lslr; default: inner_lr)")
    ] = None
    """What an update rule's learned rates start from."""
    rates_clamp: Annotated[
        tuple[float, float] | None,
        joined(float, "LOW,HIGH"),
        tyro.conf.arg(help_behavior_hint="(meta_sgd, lslr; default: no limits)"),
    ] = None
    """Limits that learned rates are kept in."""
    step_norms: bool = field(default=False, metadata=LATER)
    """A scale and shift of the norms for each inner step, learned by the outer loop alone (of maml and fomaml)."""
    step_statistics: Annotated[
        StepStatistics | None,
        tyro.conf.arg(metavar="{batch,running}", help_behavior_hint="(maml, fomaml; default: batch)"),
    ] = None
    """Whose statistics normalise in a test: each batch's own, as in MAML++'s code, or running ones of each inner step,
    which training keeps (its paper's BNRS)."""
    multi_step_loss: Annotated[
        int | None, tyro.conf.arg(metavar="ITERATION", help_behavior_hint="(maml, fomaml, anil; default: never)")
    ] = None
    """Until that iteration the query losses after all inner steps count, evenly at first and then the last ever more
    (MAML++); 0 for never."""
    first_order_until: Annotated[
        int | None, tyro.conf.arg(metavar="ITERATION", help_behavior_hint="(maml, anil; default: never)")
    ] = None
    """Until that iteration inner gradients are constants in the meta-gradient, as in fomaml (MAML++); 0 for never."""
    prox_lambda: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(imaml; default: 2)")] = (
        None
    )
    """How strongly the inner loop is held near its start: the weight of half the squared distance from it."""
    cg_steps: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(imaml; default: 5)")] = None
    """Steps of conjugate gradients for a meta-gradient."""
    cg_system: Annotated[
        CgSystem | None, tyro.conf.arg(metavar="{paper,code}", help_behavior_hint="(imaml; default: paper)")
    ] = None
    """What they solve: I + H/w, or 2I + H/(w + 10) as the code of its authors does, w being --prox-lambda."""
    fce: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="(matching)")] = field(
        default=False, metadata=LATER
    )
    """Compare full-context embeddings, which two LSTMs make of features and the whole support set."""
    fce_steps: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(matching --fce; default: 3)")
    ] = None
    """How often a query reads the support set for its embedding (the paper's K)."""
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
        for name, usual in SAID_AS_NONE.items():
            if getattr(self, name) == usual:
                object.__setattr__(self, name, None)
        check_config(self)
