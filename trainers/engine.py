"""How a run computes: tasks in a chunk, the scheme of its meta-gradient, compiled or not; chosen once, then kept.

No layout wins everywhere: folding tasks into one pass saves calls on small images and spoils caches on large ones. The
numbers agree but for rounding, so a run keeps one engine from its first iteration to its last.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import tomli_w
import torch
from torch import Tensor

from metaprobe.trainers.config import TrainConfig, from_mapping, to_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.files import write_text
from metaprobe.trainers.formats.strict_toml import read_toml
from metaprobe.trainers.ranks import Ranks

__all__ = ["Engine", "Gradient", "Trials", "choose_engine", "graph_bytes", "read_engine", "write_engine"]

_SHARE_OF_MEMORY = 0.5  # for the graphs of all workers; the rest is for what is not kept, and for others
_AMPLE = 192 << 20  # bytes of a chunk's graph on a CPU: its maps overflow caches, and calls cost nothing beside them
_GAIN = 0.9  # share of a chunk's time that one of twice its size, and memory, may take for a larger one to be tried
_NEAR = 1.05  # times the best time: what is not slower is as fast, and the least memory decides


Gradient = Literal["unrolled", "sweep"]


@dataclass(frozen=True)
class Engine:
    """The way to compute that a run keeps.

    Attributes:
        chunk: tasks that one worker adapts at once.
        gradient: "unrolled" or "sweep"; see `trainers.meta_gradient`.
        compiled: whether the meta-gradient is compiled.
        ranks: processes that share a meta-batch; rounding depends on how many.
    """

    chunk: int
    gradient: Gradient
    compiled: bool = False
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.ranks < 1:
            raise MetaprobeError(
                f"an engine needs chunks of at least one task and one rank; got chunk={self.chunk}, ranks={self.ranks}"
            )

    def __str__(self) -> str:
        words = [f"chunks of {self.chunk} task{'s' * (self.chunk > 1)}", self.gradient]
        words += ["compiled"] * self.compiled + [f"{self.ranks} ranks"] * (self.ranks > 1)
        return ", ".join(words)


@dataclass(frozen=True)
class Trials:
    """What choosing an engine needs of a run.

    Attributes:
        compute: makes one meta-gradient of this rank's share of the first meta-batch, and waits for it.
        held: (gradient scheme) → bytes that autograd keeps for one task.
        tasks: this rank's share of a meta-batch.
        workers: of this rank; each holds a chunk.
        ranks: that share the meta-batch.
    """

    compute: Callable[[Engine], object]
    held: Callable[[Gradient], int]
    tasks: int
    workers: int
    ranks: Ranks

    def largest(self, number: float) -> float:
        """Return the largest of all ranks' numbers, so that all decide alike."""
        return float(self.ranks.gather(np.array([[number]])).max())


def choose_engine(config: TrainConfig, trials: Trials) -> tuple[Engine, dict[Engine, float]]:
    """Choose the engine of a new run: what its config names, else what fits the memory, then what is fastest.

    The graphs of all inner steps are kept if those of a chunk fit into half of the memory that is free now. The chunk
    is doubled from one task for as long as that saves a tenth of the time, on a CPU not beyond a graph of 192 MiB; the
    smallest is taken that is within a twentieth of the fastest. Where other programs disturb, what is close is timed
    again, in turns, and the least of its times counts. Compiled or not is a question of time alone.

    Returns:
        The engine, and the seconds that a meta-gradient took with each one tried.
    """
    # All ranks meet in `largest`: they must come here equally often, and decide on equal numbers.
    device = trials.ranks.device
    sharing = trials.workers * (1 if device.type == "cuda" else trials.ranks.neighbours)
    room = -trials.largest(-_SHARE_OF_MEMORY * _free_memory(device) / sharing)  # that of the poorest rank
    fair = int(trials.largest(-(-trials.tasks // trials.workers)))  # more would leave a worker without tasks
    scheme = config.gradient
    if scheme == "auto":
        scheme = "unrolled" if (config.chunk or 1) * trials.largest(trials.held("unrolled")) <= room else "sweep"
    chunks = [config.chunk]
    if config.chunk is None:
        held = max(1, trials.largest(trials.held(scheme)))
        most = room if device.type == "cuda" else min(room, _AMPLE)
        chunks = [2**power for power in range(fair.bit_length()) if power == 0 or 2**power * held <= most]
        chunks += [fair] if chunks[-1] < fair <= most / held else []
    engines = [Engine(chunk or 1, scheme, ranks=trials.ranks.size) for chunk in chunks]
    seconds: dict[Engine, float] = {}
    for before, tried in itertools.pairwise(engines):
        for one in (before, tried):
            if one not in seconds:
                _time([one], trials, seconds)
        if seconds[tried] > _GAIN * seconds[before]:
            _time([before, tried], trials, seconds)
            if seconds[tried] > _GAIN * seconds[before]:
                break
    least = min(seconds.values(), default=math.inf)
    best = next((one for one in engines if seconds.get(one, math.inf) <= _NEAR * least), engines[0])
    if config.compile:
        compiled = dataclasses.replace(best, compiled=True)
        _time([best, compiled], trials, seconds)
        best = min(best, compiled, key=lambda tried: seconds[tried])
    return best, seconds


def graph_bytes(compute: Callable[[], object]) -> int:
    """Return the most bytes of tensors that autograd keeps at once for a computation, each storage counted once."""
    ledger = _Ledger()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Held(ledger, tensor), lambda held: held.tensor):
        compute()
    return ledger.most


class _Ledger:
    """Counts what graphs hold at a time."""

    def __init__(self) -> None:
        self.holders: Counter[int] = Counter()  # by address
        self.now = self.most = 0

    def change(self, tensor: Tensor, by: int) -> None:
        storage = tensor.untyped_storage()
        before = self.holders[storage.data_ptr()]
        self.holders[storage.data_ptr()] = before + by
        self.now += storage.nbytes() * ((before + by > 0) - (before > 0))
        self.most = max(self.most, self.now)


class _Held:
    """A tensor in a graph, from when it is saved there until the graph lets it go."""

    def __init__(self, ledger: _Ledger, tensor: Tensor) -> None:
        self.ledger, self.tensor = ledger, tensor.detach()  # an output itself would hold its graph, which holds it
        ledger.change(self.tensor, 1)

    def __del__(self) -> None:
        self.ledger.change(self.tensor, -1)


def write_engine(path: Path, engine: Engine, seconds: Mapping[Engine, float]) -> None:
    """Write the choice and what it was made from, as TOML."""
    tried = [to_mapping(one) | {"seconds": round(taken, 4)} for one, taken in seconds.items()]
    write_text(path, tomli_w.dumps(to_mapping(engine) | ({"tried": tried} if tried else {})))


def read_engine(path: Path) -> Engine:
    """Read the engine of an earlier call.

    Raises:
        UnreadableInput: it is missing or damaged.
    """
    if not path.exists():
        raise UnreadableInput(f"{path} is missing, so the run cannot go on as it began; bring it back")
    values = read_toml(path)
    values.pop("tried", None)
    return from_mapping(Engine, values, str(path))


def _time(engines: Sequence[Engine], trials: Trials, seconds: dict[Engine, float]) -> None:
    """Time meta-gradients in turns, two of each engine after one to warm up, and keep the least that each has taken.

    It is that of the slowest rank, and infinite where a GPU has too little memory.
    """
    for number in range(3):
        for engine in engines:
            began = time.perf_counter()
            try:
                trials.compute(engine)
            except torch.OutOfMemoryError:
                seconds[engine] = math.inf
            else:
                taken = math.inf if number == 0 else time.perf_counter() - began
                seconds[engine] = min(seconds.get(engine, math.inf), taken)
    seconds |= {engine: trials.largest(seconds[engine]) for engine in engines}


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [psutil.virtual_memory().available]
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.exists() and (most := limit.read_text().strip()) != "max":  # a container's own limit
        free.append(int(most) - int(used.read_text()))
    return min(free)
