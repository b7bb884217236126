"""The outer loop: optimiser, schedule, validation, checkpoints, resume."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metaprobe.trainers.algorithms import Algorithm, algorithm_named, check_options
from metaprobe.trainers.beginning import begin_clusters, begin_learner, begin_network, check_room, network_config_for
from metaprobe.trainers.checkpoint import Checkpoint, load_checkpoint
from metaprobe.trainers.clustering.finding import Search
from metaprobe.trainers.clustering.stream import AssignedTasks, ConsecutiveTasks
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.device import exact_float32, peak_memory
from metaprobe.trainers.disk import told_when_full
from metaprobe.trainers.engine import Engine, Trials, choose_engine
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import evaluate
from metaprobe.trainers.executor import Executor
from metaprobe.trainers.files import alone_in
from metaprobe.trainers.interrupt import Interrupted, stop_on_interrupt
from metaprobe.trainers.intervals import half_width
from metaprobe.trainers.networks import convolve_in
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.progress import ProgressLine, SilentProgress
from metaprobe.trainers.provenance import provenance
from metaprobe.trainers.ranks import RankLost, Ranks
from metaprobe.trainers.resume import OuterState
from metaprobe.trainers.run import TASK_LOSS, RunFolder, task_metric
from metaprobe.trainers.saving import Saver
from metaprobe.trainers.stages import heaviest_stage, outer_rate, stage_of
from metaprobe.trainers.step_statistics import follow
from metaprobe.trainers.task_kinds import CLASSIFICATION, KINDS
from metaprobe.trainers.tasks.data import Data, check_data, queries_of, task_sampler
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["Diverged", "train"]

VALIDATION_SEED = 0  # of the validation tasks: the same ones in every run, whatever its seed


class Diverged(MetaprobeError):
    """The loss or the meta-gradient is no longer a number (exit status 1)."""

    exit_code = 1


def train(config: TrainConfig, data: Data, out: Path | str, tensorboard: bool = False) -> Checkpoint:
    """Meta-train, from the start or from where an earlier call in the same folder stopped.

    A run that was killed at any moment and called again ends with the same weights, byte for byte, as one left alone.

    Args:
        config: the run.
        data: what `config.data` names.
        out: the run's folder.
        tensorboard: write metrics there as TensorBoard reads them, too.

    Returns:
        The last checkpoint.

    Raises:
        MetaprobeError: the config does not fit the data or the folder.
        Diverged: the loss or the meta-gradient is NaN or infinite.
        Interrupted: Ctrl-C or SIGTERM; the run is saved.
        DiskFull: there is no room to save it.
        RankLost: another of the processes that share the work ended; what was last saved is whole.
    """
    with told_when_full(f"the run {out}"), Ranks.here(config.device) as ranks:
        try:
            run = _Run(config, data, RunFolder(Path(out), tensorboard), ranks)
            with alone_in(run.folder.path) if ranks.leads else contextlib.nullcontext():
                return run.to_the_end()
        except torch.OutOfMemoryError as error:
            told = f"{config.device} has too little memory for this run: {error}"
            raise MetaprobeError(f"{told}. Try --gradient sweep or --chunk 1, in another --out") from error


class _Run:
    def __init__(self, config: TrainConfig, data: Data, folder: RunFolder, ranks: Ranks) -> None:
        self.config, self.folder, self.ranks, self.data, self.kind = config, folder, ranks, data, KINDS[config.loss]
        self.algorithm: Algorithm = algorithm_named(config.algorithm)
        check_data(config, data)
        check_options(self.algorithm, config, ranks.size)
        self.share, self.val_share = ranks.slice_of(config.meta_batch), ranks.slice_of(config.val_tasks)
        self.tasks = self.algorithm.batches(config, data, ranks.device)
        validation = (config.n_way, config.n_shot, queries_of(data, config.val_query, told=False), VALIDATION_SEED)
        self.validation = task_sampler(data, "val", *validation, ranks.device)
        if ranks.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(ranks.device)  # what `peak_memory` tells is of this run
        self.network_config = network_config_for(config, data)
        check_room(config, self.network_config, len(self.share), ranks.device)
        network, base = begin_network(config, self.algorithm, self.network_config)
        self.network = network.to(ranks.device)
        convolve_in(torch.bfloat16 if config.precision == "bf16" else None, self.network)
        self.adaptation = self.algorithm.adaptation(config, self.network.layer_names)
        self.provenance = provenance(data.fingerprint, config.seed, config.device) | {"precision": config.precision}
        self.provenance |= {"base": base} if base else {}

    def to_the_end(self) -> Checkpoint:
        config = self.config
        if self.ranks.leads:
            self.folder.claim(config)
        label = f"{config.algorithm} on {config.data} in {self.folder.path.name}"
        exact = exact_float32(but_tf32=config.precision == "tf32")
        with stop_on_interrupt() as self.stop, exact, TaskWorkers(self.network) as self.workers:
            heaviest = heaviest_stage(config, self.adaptation)
            self.executor = Executor(self.algorithm, heaviest, config.norm == "transductive", self.workers)
            self._begin()
            resumed = self.saver.load()
            self._agree()
            shown = ProgressLine if self.ranks.leads else SilentProgress
            with shown(label, config.iterations, self.state.iteration, "tasks", config.meta_batch) as bar:
                self.engine = self.saver.engine(self.ranks.size) or self._choose_engine(bar)
                bar.say(f"engine: {self.engine}")
                self.saver.provenance["engine"] = str(self.engine)
                self.ranks.broadcast("")  # all have read what an earlier call left; now rank 0 may write
                with self.saver.begun(resumed):
                    self._iterate(bar)
        self.ranks.broadcast("")  # rank 0 has written the last checkpoint
        if self.stop.asked:  # in the last iteration: whoever asked wants what comes after it to stop, too
            raise Interrupted(f"stopped; the run in {self.folder.path} had just ended, and is whole")
        return load_checkpoint(self.folder.checkpoint("last"))

    def _begin(self) -> None:
        """Make what is trained, its optimiser, and the stream of its tasks."""
        config = self.config
        params = dict(self.network.named_parameters())
        search = Search(config, params, self.tasks, self.adaptation, self.workers, self.folder.path)
        clusters = begin_clusters(self.algorithm, search, self.folder, self.provenance, self.stop)
        beside = self.algorithm.beside(config, self.data, self.network)
        self.learner = begin_learner(config, self.network, self.adaptation, beside, clusters)
        trained = self.learner.params
        self.state = OuterState(trained, torch.optim.Adam(trained.values(), lr=config.outer_lr))
        if clusters is None:
            self.stream = ConsecutiveTasks(self.tasks, config.meta_batch, self.share)
        else:
            self.stream = AssignedTasks(self.tasks, config.meta_batch, clusters.count, self._assign)
            self.state.tasks = self.stream
        parts = (self.folder, config, self.network_config, self.adaptation, self.provenance, self.learner, self.state)
        self.saver = Saver(*parts, writes=self.ranks.leads)

    def _assign(self, tasks: Tasks) -> list[int]:
        """Return the cluster of each task, as the clusters are now."""
        clusters = self.learner.clusters
        assert clusters is not None
        chunks = [tasks[first : first + self.engine.chunk] for first in range(0, len(tasks), self.engine.chunk)]
        parts = self.workers.map(lambda network, chunk: clusters.assign(network, chunk.support).tolist(), chunks)
        return [cluster for part in parts for cluster in part]

    def _iterate(self, bar: ProgressLine) -> None:
        config, state = self.config, self.state
        self.began, stopping = time.monotonic() - self.saver.seconds, self.ranks.any(self.stop.asked)
        while state.iteration < config.iterations and not stopping:
            try:
                loss, score, stopping = self._step()
            except RankLost:
                self.saver.save_last()  # the iterations before this one; validations that fail are made again
                raise
            bar.advance(f"loss {loss:.3f}" + f"  accuracy {score:.1f} %" * (self.kind is CLASSIFICATION))
            self._record({"train_loss": loss, f"train_{self.kind.metric}": score})
        if state.iteration < config.iterations:
            self.saver.save_last()
            raise Interrupted(
                f"stopped at iteration {state.iteration} of {config.iterations}; everything is saved in "
                f"{self.folder.path}; the same command goes on from there"
            )

    def _agree(self) -> None:
        """Refuse ranks that did not find the same run: their gradients would not belong together."""
        mine, lead = self.saver.found(), self.ranks.broadcast(self.saver.found())
        if self.ranks.any(mine != lead):
            raise MetaprobeError(
                f"the ranks do not begin alike: rank 0 at {lead}; rank {self.ranks.rank} at {mine}. Ranks on several "
                "machines need one --out folder that all see, and the same data"
            )

    def _choose_engine(self, bar: ProgressLine) -> Engine:
        """Time engines on the first meta-batch, which changes nothing, and write the choice down."""
        params, tasks = self.learner.of(0), ConsecutiveTasks(self.tasks, self.config.meta_batch, self.share).take(0)[1]
        trials = Trials(
            compute=lambda engine: float(self.executor.gradient(params, tasks, engine).loss),  # waits for a GPU
            held=lambda gradient: self.executor.held(params, tasks, gradient),
            tasks=len(tasks),
            workers=self.workers.count,
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
        record: dict[str, float | list[float]] = {"iteration": iteration} | numbers | (self._validate() if due else {})
        if due:
            peak = self.ranks.gather(np.array([[peak_memory(self.ranks.device)]], dtype=np.float64)).max()
            record["peak_memory_mb"] = round(peak / 1e6)  # of the rank that took most
        self.saver.append(record | {"seconds": round(time.monotonic() - self.began, 3)})
        for name, share in (("third", 1 / 3), ("two-thirds", 2 / 3)):
            if iteration == math.ceil(share * config.iterations):
                self.saver.save(name)
        if due:
            self.saver.save_last()

    def _step(self) -> tuple[float, float, bool]:
        """Take one outer step; return the mean query loss, the metric in its unit, and whether a stop was asked."""
        config, state = self.config, self.state
        cluster, tasks = self.stream.take(state.iteration)
        params = self.learner.of(cluster)
        stage = stage_of(config, self.adaptation, state.iteration)
        part = self.executor.gradient(params, tasks, self.engine, stage)
        stop = torch.tensor(float(self.stop.asked))  # travels along, so that all ranks stop after the same step
        by_name = part.gradients | part.statistics
        *sums, loss, score, stops = self.ranks.sum([*by_name.values(), part.loss, part.score, stop])
        means = {name: total / config.meta_batch for name, total in zip(by_name, sums, strict=True)}
        state.optimiser.zero_grad()  # what has no gradient in this step is not stepped
        for name in part.gradients:  # contiguous, as the weights and Adam's moments lie, fresh or resumed
            params[name].grad = means[name].contiguous()
        self.learner.clip(config.clip, config.clip_norm)
        for group in state.optimiser.param_groups:
            group["lr"] = outer_rate(config, state.iteration)
        state.iteration += 1
        gradients = [value.grad for value in state.params.values() if value.grad is not None]
        self._refuse_non_finite({"loss": float(loss)}, "meta-gradient", gradients)
        state.optimiser.step()
        self.learner.clamp()
        follow(params, {name: means[name] for name in part.statistics})
        self._refuse_non_finite({}, "weights", state.params.values())
        return float(loss) / config.meta_batch, self.kind.scale * float(score) / config.meta_batch, bool(stops)

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

    def _validate(self) -> dict[str, float | list[float]]:
        """Score the fixed validation tasks; keep the checkpoint when it is the best so far."""
        result = evaluate(
            self.network,
            self.learner.start,
            self.validation,
            self.adaptation,
            tasks=len(self.val_share),
            first=self.val_share.start,
            head=self.algorithm.head,
            transductive=self.config.norm == "transductive",
            chunk=self.engine.chunk,
            workers=self.workers,
        )
        score, loss = self.ranks.gather(np.stack([result.score, result.loss]))
        metrics = {"val_iteration": self.state.iteration}
        for name, values in (("val_loss", loss), (f"val_{self.kind.metric}", score)):
            metrics |= {name: float(values.mean()), f"{name}_half_width": half_width(values)}
        self._refuse_non_finite({"validation loss": metrics["val_loss"]})
        self.saver.metrics = metrics
        if (goodness := self.kind.goodness(metrics[f"val_{self.kind.metric}"])) > self.state.best:
            self.state.best = goodness
            self.saver.save("best")
        return metrics | {task_metric(self.kind): score.round(4).tolist(), TASK_LOSS: loss.round(6).tolist()}
