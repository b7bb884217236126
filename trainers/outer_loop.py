"""The outer loop: optimiser, schedule, validation, checkpoints, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainers.algorithms import Algorithm, algorithm_named
from trainers.checkpoint import Checkpoint, load_checkpoint
from trainers.config import NetworkConfig, TrainConfig
from trainers.device import exact_float32, peak_memory
from trainers.engine import Engine, Trials, choose_engine
from trainers.errors import MetaprobeError
from trainers.evaluate import evaluate, half_width
from trainers.executor import Executor
from trainers.interrupt import stop_on_interrupt
from trainers.networks import build_network, convolve_in
from trainers.parallel import TaskWorkers
from trainers.progress import ProgressLine, SilentProgress
from trainers.provenance import provenance
from trainers.ranks import RankLost, Ranks
from trainers.resume import OuterState
from trainers.run import RunFolder
from trainers.saving import Saver
from trainers.tasks.episodes import EpisodeSampler, Tasks
from trainers.tasks.imageset import ImageSet

__all__ = ["Diverged", "Interrupted", "network_config_for", "train"]

VALIDATION_SEED = 0  # of the validation tasks: the same ones in every run, whatever its seed
VALIDATION_QUERIES = 15


class Diverged(MetaprobeError):
    """The loss or the meta-gradient is no longer a number (exit status 1)."""

    exit_code = 1


class Interrupted(MetaprobeError):
    """A stop was asked for; everything is saved (exit status 130)."""

    exit_code = 130


def network_config_for(config: TrainConfig, imageset: ImageSet) -> NetworkConfig:
    """Return the network that a run builds: the papers' Omniglot variant on grey images, their RGB one otherwise."""
    grey = imageset.channels == 1
    return NetworkConfig(
        name="conv4",
        n_way=config.n_way,
        channels=imageset.channels,
        image_size=imageset.image_size,
        filters=(64 if grey else 32) if config.filters is None else config.filters,
        downsample=config.downsample or ("stride" if grey else "max-pool"),
        norm=config.norm,
    )


def train(config: TrainConfig, imageset: ImageSet, out: Path | str) -> Checkpoint:
    """Meta-train, from the start or from where an earlier call in the same folder stopped.

    A run that was killed at any moment and called again ends with the same weights, byte for byte, as one left alone.

    Args:
        config: the run.
        imageset: what `config.data` names.
        out: the run's folder.

    Returns:
        The last checkpoint.

    Raises:
        MetaprobeError: the config does not fit the data or the folder.
        Diverged: the loss or the meta-gradient is NaN or infinite.
        Interrupted: Ctrl-C or SIGTERM; the run is saved.
        RankLost: another of the processes that share the work ended; what was last saved is whole.
    """
    with Ranks.here(config.device) as ranks:
        try:
            return _Run(config, imageset, RunFolder(Path(out)), ranks).to_the_end()
        except torch.OutOfMemoryError as error:
            told = f"{config.device} has too little memory for this run: {error}"
            raise MetaprobeError(f"{told}. Try --gradient sweep or --chunk 1, in another --out") from error


class _Run:
    def __init__(self, config: TrainConfig, imageset: ImageSet, folder: RunFolder, ranks: Ranks) -> None:
        self.config, self.folder, self.ranks = config, folder, ranks
        self.share, self.val_share = ranks.slice_of(config.meta_batch), ranks.slice_of(config.val_tasks)
        shape = (config.n_way, config.n_shot)
        self.tasks = EpisodeSampler(imageset, "train", *shape, config.n_query, config.seed, ranks.device)
        self.validation = EpisodeSampler(imageset, "val", *shape, VALIDATION_QUERIES, VALIDATION_SEED, ranks.device)
        if ranks.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(ranks.device)  # what `peak_memory` tells is of this run
        network_config = network_config_for(config, imageset)
        self.network = build_network(network_config, config.seed).to(ranks.device)
        convolve_in(torch.bfloat16 if config.precision == "bf16" else None, self.network)
        self.algorithm: Algorithm = algorithm_named(config.algorithm)
        adaptation = self.algorithm.adaptation(config, self.network.layer_names)
        params = dict(self.network.named_parameters())
        self.state = OuterState(params, torch.optim.Adam(params.values(), lr=config.outer_lr))
        made_by = provenance(imageset.fingerprint, config.seed, config.device) | {"precision": config.precision}
        self.saver = Saver(folder, config, network_config, adaptation, made_by, self.state, writes=ranks.leads)
        self.saver.claim()

    def to_the_end(self) -> Checkpoint:
        config, state = self.config, self.state
        label = f"{config.algorithm} on {config.data}"
        exact = exact_float32(but_tf32=config.precision == "tf32")
        with stop_on_interrupt() as self.stop, exact, TaskWorkers(self.network) as workers:
            options = (self.saver.adaptation, config.norm == "transductive", workers)
            self.executor = Executor(self.algorithm, state.params, *options)
            resumed = self.saver.load()
            self._agree()
            shown = ProgressLine if self.ranks.leads else SilentProgress
            with shown(label, config.iterations, state.iteration, "tasks", config.meta_batch) as bar:
                self.engine = self.saver.engine(self.ranks.size) or self._choose_engine(bar)
                bar.say(f"engine: {self.engine}")
                self.saver.provenance["engine"] = str(self.engine)
                self.ranks.broadcast("")  # all have read what an earlier call left; now rank 0 may write
                self.saver.begin(resumed)
                self._iterate(bar)
        self.ranks.broadcast("")  # rank 0 has written the last checkpoint
        return load_checkpoint(self.folder.checkpoint("last"))

    def _iterate(self, bar: ProgressLine) -> None:
        config, state = self.config, self.state
        self.began, stopping = time.monotonic() - self.saver.seconds, self.ranks.any(self.stop.asked)
        while state.iteration < config.iterations and not stopping:
            try:
                loss, accuracy, stopping = self._step()
            except RankLost:
                self.saver.save_last()  # the iterations before this one; validations that fail are made again
                raise
            bar.advance(f"loss {loss:.3f}  accuracy {accuracy:.1f} %")
            self._record({"train_loss": loss, "train_accuracy": accuracy})
        if state.iteration < config.iterations:
            self.saver.save_last()
            raise Interrupted(
                f"stopped at iteration {state.iteration} of {config.iterations}; everything is saved in "
                f"{self.folder.path}; the same command goes on from there"
            )

    def _agree(self) -> None:
        """Refuse ranks that did not find the same run: their gradients would not belong together."""
        mine, lead = self.saver.begun(), self.ranks.broadcast(self.saver.begun())
        if self.ranks.any(mine != lead):
            raise MetaprobeError(
                f"the ranks do not begin alike: rank 0 at {lead}; rank {self.ranks.rank} at {mine}. Ranks on several "
                "machines need one --out folder that all see, and the same data"
            )

    def _choose_engine(self, bar: ProgressLine) -> Engine:
        """Time engines on the first meta-batch, which changes nothing, and write the choice down."""
        tasks = self._tasks_of(0)
        trials = Trials(
            compute=lambda engine: float(self.executor.gradient(tasks, engine).loss),  # a number: a GPU has finished
            held=lambda gradient: self.executor.held(tasks, gradient),
            tasks=len(tasks),
            workers=self.executor.workers.count,
            ranks=self.ranks,
        )
        engine, seconds = choose_engine(self.config, trials)  # where all ranks meet: none still looks for the file
        tried = ", ".join(f"{one.chunk}{' compiled' * one.compiled} {taken:.3g}" for one, taken in seconds.items())
        if tried:
            bar.say(f"engines tried, seconds an iteration by chunk: {tried}")
        self.saver.keep_engine(engine, seconds)
        return engine

    def _record(self, numbers: dict[str, float]) -> None:
        """Write an iteration's numbers; validate and save when it is time to."""
        config, iteration = self.config, self.state.iteration
        due = iteration % config.val_every == 0 or iteration == config.iterations
        record = {"iteration": iteration} | numbers | (self._validate() if due else {})
        if due:
            peak = self.ranks.gather(np.array([[peak_memory(self.ranks.device)]], dtype=np.float64)).max()
            record["peak_memory_mb"] = round(peak / 1e6)  # of the rank that took most
        self.saver.append(record | {"seconds": round(time.monotonic() - self.began, 3)})
        for name, share in (("third", 1 / 3), ("two-thirds", 2 / 3)):
            if iteration == math.ceil(share * config.iterations):
                self.saver.save(name)
        if due:
            self.saver.save_last()

    def _tasks_of(self, iteration: int) -> Tasks:
        """Return this rank's share of an iteration's meta-batch."""
        first = iteration * self.config.meta_batch
        return self.tasks.batch(range(first + self.share.start, first + self.share.stop))

    def _step(self) -> tuple[float, float, bool]:
        """Take one outer step; return the mean query loss (nats), accuracy (percent), and whether a stop was asked."""
        config, state = self.config, self.state
        part = self.executor.gradient(self._tasks_of(state.iteration), self.engine)
        stop = torch.tensor(float(self.stop.asked))  # travels along, so that all ranks stop after the same step
        *sums, loss, accuracy, stops = self.ranks.sum([*part.gradients.values(), part.loss, part.accuracy, stop])
        for parameter, gradient in zip(state.params.values(), sums, strict=True):
            mean = gradient / config.meta_batch
            mean = mean.contiguous()  # as the weights and Adam's moments lie, fresh or resumed
            parameter.grad = mean if config.clip is None else mean.clamp(-config.clip, config.clip)
        self._set_rate()
        state.iteration += 1
        gradients = [parameter.grad for parameter in state.params.values() if parameter.grad is not None]
        self._refuse_non_finite({"loss": float(loss)}, "meta-gradient", gradients)
        state.optimiser.step()
        self._refuse_non_finite({}, "weights", state.params.values())
        return float(loss) / config.meta_batch, 100 * float(accuracy) / config.meta_batch, bool(stops)

    def _set_rate(self) -> None:
        config, progress = self.config, self.state.iteration / self.config.iterations
        share = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1.0
        for group in self.state.optimiser.param_groups:
            group["lr"] = config.outer_lr * share

    def _refuse_non_finite(self, numbers: Mapping[str, float], what: str = "", tensors: Iterable[Tensor] = ()) -> None:
        """Stop before anything that is not a number is saved."""
        told = [f"the {name} is {value}" for name, value in numbers.items() if not math.isfinite(value)]
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):
            told.append(f"the {what} holds NaN or Inf")
        if not told:
            return
        last = self.folder.checkpoint("last")
        good = last if last.exists() else self.folder.checkpoint("start")
        raise Diverged(
            f"{told[0]} at iteration {self.state.iteration} of {self.config.iterations}; the last good checkpoint is "
            f"{good}. Try a smaller --outer-lr or --inner-lr, or --clip 10, in another --out"
        )

    def _validate(self) -> dict[str, float]:
        """Score the fixed validation tasks; keep the checkpoint when it is the best so far."""
        result = evaluate(
            self.network,
            self.state.params,
            self.validation,
            self.saver.adaptation,
            tasks=len(self.val_share),
            first=self.val_share.start,
            transductive=self.config.norm == "transductive",
            chunk=self.engine.chunk,
            workers=self.executor.workers,
        )
        accuracy, loss = self.ranks.gather(np.stack([result.accuracy, result.loss]))
        metrics = {"val_iteration": self.state.iteration}
        for name, values in (("val_loss", loss), ("val_accuracy", accuracy)):
            metrics |= {name: float(values.mean()), f"{name}_half_width": half_width(values)}
        self._refuse_non_finite({"validation loss": metrics["val_loss"]})
        self.saver.metrics = metrics
        if metrics["val_accuracy"] > self.state.best_accuracy:
            self.state.best_accuracy = metrics["val_accuracy"]
            self.saver.save("best")
        return metrics
