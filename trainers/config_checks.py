"""Whether what a run is told can be: numbers in their limits, options that go together. No torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from metaprobe.trainers.errors import MetaprobeError, flag_of
from metaprobe.trainers.formats.text import fits_utf8, visible
from metaprobe.trainers.limits import MOST_STEPS, MOST_TASKS, check_rate, check_whole, fits_float32

if TYPE_CHECKING:
    from metaprobe.trainers.config import TrainConfig

__all__ = ["check_config"]

_DECIDING = ("sinusoid", "tasks")  # data that decide what a task is


def check_config(config: TrainConfig) -> None:
    """Refuse a run with a number out of its limits, or with options that contradict each other.

    Raises:
        MetaprobeError: as above.
    """
    least = {"n_way": 2, "val_tasks": 2, "seed": 0}  # an interval needs two tasks
    least |= {
        name: 1 for name in ("n_shot", "n_query", "iterations", "meta_batch", "inner_steps", "val_every", "chunk")
    }
    least |= {"val_query": 1}
    if config.loss == "mse" or config.data.partition(":")[0] in _DECIDING:
        least["n_way"] = 1
    least |= {name: 1 for name in ("filters", "image_size", "clusters", "cluster_tasks")} | {"blocks": 0}
    least |= {
        "cg_steps": 1,
        "fce_steps": 1,
        "cluster_steps": 1,
        "label_orders": 1,
        "multi_step_loss": 0,
        "first_order_until": 0,
    }
    most = {"val_tasks": MOST_TASKS, "cluster_tasks": MOST_TASKS, "inner_steps": MOST_STEPS}
    most |= {"cg_steps": MOST_STEPS, "fce_steps": MOST_STEPS, "cluster_steps": MOST_STEPS, "label_orders": 1000}
    for name, low in least.items():
        check_whole(name, getattr(config, name), low, most.get(name))
    rates = ("inner_lr", "outer_lr", "clip", "norm_epsilon", "rates_start", "outer_lr_floor", "prox_lambda")
    for name in rates:
        check_rate(name, getattr(config, name))
    for name in ("clip_norm", "inner_clip"):  # 0 turns an algorithm's own off
        if (bound := getattr(config, name)) is not None and not (bound == 0 or fits_float32(bound)):
            raise MetaprobeError(f"{flag_of(name)} must be above 0 and finite, or 0 for no limit; got {bound}")
    floor = config.outer_lr_floor
    if floor is not None and not (config.schedule == "cosine" and floor <= config.outer_lr):
        told = f"got --schedule {config.schedule} and {floor:g}, with --outer-lr {config.outer_lr:g}"
        raise MetaprobeError(f"--outer-lr-floor is what --schedule cosine falls to, from --outer-lr; {told}")
    if config.fce_steps is not None and not config.fce:
        raise MetaprobeError(
            f"--fce-steps {config.fce_steps} is of full-context embeddings; add --fce, or leave it out"
        )
    clamp = config.rates_clamp
    if clamp is not None and not (len(clamp) == 2 and -math.inf < clamp[0] < clamp[1] < math.inf):
        raise MetaprobeError(f"--rates-clamp needs two numbers, the lower one first; got {clamp}")
    for name in ("data", "base"):
        if not fits_utf8(getattr(config, name) or ""):
            told = visible(getattr(config, name))
            raise MetaprobeError(f"--{name} {told} is no UTF-8, which a run's config.toml is; rename what it names")
    if config.norm == "one-query":
        told = "--norm one-query is a way of testing (`metaprobe evaluate --norm one-query`)"
        raise MetaprobeError(f"{told}; train with transductive or non-transductive")
    if config.precision == "tf32" and not config.device.startswith("cuda"):
        raise MetaprobeError(f"--precision tf32 is a mode of CUDA devices; got --device {config.device}")
