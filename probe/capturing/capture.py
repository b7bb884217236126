"""What a network's layers say before and after it adapts to tasks, streamed into a store."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from metaprobe.probe.capturing.choosing import ChannelAxis, told
from metaprobe.probe.capturing.fitting import check_module, split_weights
from metaprobe.probe.capturing.passes import Passes
from metaprobe.probe.capturing.recording import Recorder
from metaprobe.probe.capturing.untouched import untouched
from metaprobe.probe.layers import patterns_of
from metaprobe.probe.store.metadata import MOST_PARTS, RawOptions, StoreMetadata
from metaprobe.probe.store.writing import StoreWriter
from metaprobe.trainers.adapt import layers_of
from metaprobe.trainers.checkpoint import fingerprint_of
from metaprobe.trainers.clustering.clusters import Clusters, Start
from metaprobe.trainers.clustering.file import cluster_tensors
from metaprobe.trainers.config import Adaptation, TrainConfig
from metaprobe.trainers.device import exact_float32
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.files import replacing
from metaprobe.trainers.formats.checkpoint_format import CheckpointMetadata
from metaprobe.trainers.interrupt import Interrupted, StopRequest, stop_on_interrupt
from metaprobe.trainers.networks import ModuleNetwork, TaskNetwork, folds_tasks
from metaprobe.trainers.networks.naming import chosen_parameters, is_within
from metaprobe.trainers.parallel import one_thread
from metaprobe.trainers.provenance import provenance
from metaprobe.trainers.tasks.episodes import Tasks
from metaprobe.trainers.update_rules import network_part, rule_part

__all__ = ["Origin", "capture"]


@dataclass(frozen=True)
class Origin:
    """Where a capture's weights and tasks come from, as far as the caller knows; kept in the store.

    Attributes:
        checkpoint: what the checkpoint says about itself.
        data: name of the image set. data_fingerprint: its hash. split: of it.
        task_seed: of the sampler.
    """

    checkpoint: CheckpointMetadata | None = None
    data: str = ""
    data_fingerprint: str = ""
    split: str = ""
    task_seed: int | None = None


def capture(
    network: nn.Module,
    params: Start | None,
    tasks: Tasks | Iterable[Tasks],
    *,
    out: Path | str = "capture.h5",
    adaptation: Adaptation | None = None,
    layers: str | Sequence[str] = "*",
    steps: Literal["last", "all"] = "last",
    transductive: bool = True,
    raw: bool | RawOptions = False,
    n_tasks: int | None = None,
    channel_axis: ChannelAxis = None,
    sketch_rows: int = 20_000,
    seed: int = 0,
    chunk: int = 4,
    origin: Origin | None = None,
    advance: Callable[[int], None] | None = None,
) -> Path:
    """Adapt to tasks and store, for each layer, how the same query samples look before and after.

    For every task: adapt on the support set; pass the query set through the parameters before (x) and after each wanted
    step (y); keep the joint moments of [x|y] per layer, task and step, a sketch of aligned rows, and, with `raw`, every
    activation. The module is left as it was found, also when an error ends the capture. The same capture twice gives
    the same bytes.

    Args:
        network: a `TaskNetwork` (tasks run folded), or any module that maps (sample, …) to logits (run task by task, in
            the train or eval mode it is in).
        params: initialisation by name, copied first; buffers may be among them (a `state_dict`), and the parameters of
            the adaptation's update rule; what is not named is the network's own. None: all its own. `Clusters`: of each
            task the initialisation that it is assigned to.
        tasks: a batch, or a stream of batches of which one at a time is held.
        out: the store, written whole or not at all.
        adaptation: how to adapt, at least one step; its `layers` are names or globs at any depth
            (`trainers.networks.naming`). None: all layers, with the inner rate and steps that `TrainConfig` has by
            default.
        layers: names or globs, as text with commas or a sequence; see `probe.layers.modules_chosen`. What a glob
            chooses and cannot be captured is left out, with a warning; it and the reason are kept in the store.
        steps: moments after the last inner step only, or after each.
        transductive: normalise queries with their own statistics, else with the support set's (`TaskNetwork` only).
        raw: also store whole activations.
        n_tasks: how many tasks a stream holds; needed when it has no length.
        channel_axis: where features are in outputs of more than two axes, counted with the samples in front: an axis
            for all, or by names and globs of layers, `{"blocks.*": -1}`. Else it goes by rule: 1 after a convolution,
            −1 of tokens (`probe.capturing.describing`).
        sketch_rows: most rows of a sketch.
        seed: picks the sketch's rows, together with the tasks, and seeds what is random in a module (dropout).
        chunk: tasks at once; the knob for memory.
        origin: where weights and tasks come from.
        advance: called with the number of tasks just done.

    Returns:
        The path of the store.

    Raises:
        MetaprobeError: a pattern matches nothing, parameters or tasks do not fit, activations are not finite, or the
            store cannot be written.
        Interrupted: Ctrl-C or SIGTERM; nothing of the store is left.
    """
    check_module(network, tasks if isinstance(tasks, Tasks) else None)
    if adaptation is None:
        adaptation = Adaptation(_moving(network), TrainConfig.inner_lr, TrainConfig.inner_steps)
    _refuse_impossible(network, adaptation, transductive)
    total, patterns = _count(tasks, n_tasks), patterns_of(layers)
    start, buffers = _copies(network, params)
    wanted = (adaptation.steps,) if steps == "last" else tuple(range(1, adaptation.steps + 1))
    if (parts := len(wanted) * len(layers_of(network))) > MOST_PARTS:  # what a store's reader takes
        raise MetaprobeError(f"steps='all' of {len(wanted):,} are {parts:,} layers × steps; at most {MOST_PARTS:,}")
    origin = origin or Origin()
    plan = StoreMetadata(
        fingerprint=_fingerprint(start) if origin.checkpoint is None else origin.checkpoint.fingerprint,
        checkpoint=origin.checkpoint,
        data=origin.data,
        data_fingerprint=origin.data_fingerprint,
        split=origin.split,
        task_seed=origin.task_seed,
        adaptation=adaptation,
        normalisation=_normalisation(network, adaptation, transductive),
        n_tasks=total,
        n_query=0,
        n_support=0,
        n_way=0,
        steps=wanted,
        sketch_rows=sketch_rows,
        sketch_seed=seed,
        layers=(),
        raw=RawOptions() if raw is True else (raw or None),
        provenance=provenance(origin.data_fingerprint, seed, _device(network)),
    )
    # One thread for torch and BLAS: on matrices this small more only wait, and the bytes would depend on their number.
    with (
        exact_float32(),
        one_thread(),
        threadpool_limits(1),
        untouched(network, buffers) as rewind,
        stop_on_interrupt() as stop,
        replacing(out) as temporary,
    ):
        passes = Passes(network, start, adaptation, patterns, wanted, transductive, seed, rewind, channel_axis)
        batches = _chunks(tasks, chunk if folds_tasks(network) else 1)
        _stream(batches, passes, plan, temporary, advance, stop)
    if stop.asked:  # during the last task: whoever asked wants what comes after it to stop, too
        raise Interrupted(f"stopped; {out} had just been captured, and is whole")
    return Path(out)


def _stream(
    batches: Iterator[Tasks],
    passes: Passes,
    plan: StoreMetadata,
    path: Path,
    advance: Callable[[int], None] | None,
    stop: StopRequest,
) -> None:
    """Record every batch; what the first one shows (layers, sizes) completes the plan."""
    recorder, done = None, 0
    with contextlib.ExitStack() as stack:
        for batch in batches:
            if done + len(batch) > plan.n_tasks:
                raise MetaprobeError(f"the stream holds more tasks than n_tasks={plan.n_tasks}, which were announced")
            before, after = passes.of(batch)
            if recorder is None:
                metadata = dataclasses.replace(
                    plan,
                    n_query=batch.query.images.shape[1],
                    n_support=batch.support.images.shape[1],
                    n_way=batch.class_ids.shape[1],
                    layers=passes.layers,
                    left_out=passes.left_out,
                )
                if passes.left_out:
                    warnings.warn(f"the capture leaves out {told(passes.left_out)}", stacklevel=3)
                recorder = Recorder(stack.enter_context(StoreWriter(path, metadata, stop)), metadata)
            recorder.record(done, batch, before, after)
            done += len(batch)
            if advance:
                advance(len(batch))
            if stop.asked and done < plan.n_tasks:
                so_far = f"stopped after {done} of {plan.n_tasks} tasks"
                raise Interrupted(f"{so_far}; nothing is left of this capture, the same command begins it anew")
        if done < plan.n_tasks:
            raise MetaprobeError(f"the stream ended after {done} tasks; n_tasks={plan.n_tasks} were announced")


def _refuse_impossible(network: nn.Module, adaptation: Adaptation, transductive: bool) -> None:
    if adaptation.steps < 1:
        raise MetaprobeError("a capture compares before with after; the adaptation takes no step, give it at least 1")
    if not transductive and not isinstance(network, TaskNetwork):
        raise MetaprobeError(
            f"transductive=False asks for the support set's statistics; {type(network).__name__} normalises in its own "
            "way (train or eval mode), leave the argument out"
        )


def _count(tasks: Tasks | Iterable[Tasks], n_tasks: int | None) -> int:
    if isinstance(tasks, Tasks):
        found = len(tasks)
    elif isinstance(tasks, Sequence):
        found = sum(len(batch) for batch in tasks)
    elif n_tasks is None:
        raise MetaprobeError("how many tasks a stream holds cannot be seen from outside; give n_tasks")
    else:
        found = n_tasks
    if found < 1 or (n_tasks is not None and n_tasks != found):
        raise MetaprobeError(f"expected {'at least one task' if n_tasks is None else n_tasks}, got {found}")
    return found


def _chunks(tasks: Tasks | Iterable[Tasks], chunk: int) -> Iterator[Tasks]:
    for batch in (tasks,) if isinstance(tasks, Tasks) else tasks:
        for first in range(0, len(batch), chunk):
            yield batch[first : first + chunk]


def _copies(network: nn.Module, params: Start | None) -> tuple[Start, dict[str, Tensor]]:
    """Return copies of all parameters before adaptation, and of the buffers that were given; clusters as they are."""
    if isinstance(params, Clusters):
        own = dict(network.named_parameters())
        found, expected = ({n: tuple(v.shape) for n, v in part.items()} for part in (params.base, own))
        if found != expected:
            name = min(set(found.items()) ^ set(expected.items()))[0]
            differs = f"{name} is {found.get(name, 'not there')}, expected {expected.get(name, 'no such parameter')}"
            raise MetaprobeError(f"the clusters do not fit the network: {differs}")
        return params, {}
    weights, buffers = split_weights(network, network_part(params or {}))
    return weights | {name: value.detach().clone() for name, value in rule_part(params or {}).items()}, buffers


def _moving(network: nn.Module) -> tuple[str, ...]:
    """Return the layers that adapt where none are named: those with a parameter that may move."""
    moving = chosen_parameters(network, None)
    return tuple(layer for layer in layers_of(network) if any(is_within(name, layer) for name in moving))


def _normalisation(network: nn.Module, adaptation: Adaptation, transductive: bool) -> str:
    kept = adaptation.step_statistics == "running"
    if kept or (isinstance(network, ModuleNetwork) and network.norm == "running"):
        return "running"
    if isinstance(network, TaskNetwork):
        return "transductive" if transductive else "non-transductive"
    return "as in train mode" if network.training else "as in eval mode"


def _device(network: nn.Module) -> str:
    return str(next((value.device for value in network.parameters()), "cpu"))


def _fingerprint(start: Start) -> str:
    if not isinstance(start, Clusters):
        return fingerprint_of(start)
    return fingerprint_of(dict(start.base) | cluster_tensors(start))
