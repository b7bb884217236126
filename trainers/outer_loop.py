"""The outer loop: optimiser, schedule, validation, checkpoints, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from trainers.algorithms import Algorithm, MetaGradient, algorithm_named
from trainers.checkpoint import Checkpoint, fingerprint_of, load_checkpoint, save_checkpoint
from trainers.config import Adaptation, NetworkConfig, TrainConfig
from trainers.device import device_named
from trainers.errors import MetaprobeError, UnreadableInput
from trainers.evaluate import evaluate, half_width
from trainers.formats.checkpoint_format import read_metadata
from trainers.interrupt import stop_on_interrupt
from trainers.networks import TaskNetwork, build_network
from trainers.parallel import TaskWorkers
from trainers.progress import ProgressLine
from trainers.provenance import provenance
from trainers.resume import OuterState, load_resume_state, save_resume_state
from trainers.run import RunFolder
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
    """
    run = _Run(config, imageset, RunFolder(Path(out)))
    return run.to_the_end()


class _Run:
    def __init__(self, config: TrainConfig, imageset: ImageSet, folder: RunFolder) -> None:
        self.config, self.folder = config, folder
        self.algorithm: Algorithm = algorithm_named(config.algorithm)
        device = device_named(config.device)
        shape = (config.n_way, config.n_shot)
        self.tasks = EpisodeSampler(imageset, "train", *shape, config.n_query, config.seed, device)
        self.validation = EpisodeSampler(imageset, "val", *shape, VALIDATION_QUERIES, VALIDATION_SEED, device)
        self.network_config = network_config_for(config, imageset)
        self.network = build_network(self.network_config, config.seed).to(device)
        self.adaptation: Adaptation = self.algorithm.adaptation(config, self.network.layer_names)
        self.provenance = provenance(imageset.fingerprint, config.seed, config.device)
        params = dict(self.network.named_parameters())
        self.state = OuterState(params, torch.optim.Adam(params.values(), lr=config.outer_lr))
        self.metrics: dict[str, float] = {}  # of the latest validation
        self.seconds = 0.0  # spent before this call
        folder.claim(config)

    def to_the_end(self) -> Checkpoint:
        self._begin()
        config, state = self.config, self.state
        marks = {"third": math.ceil(config.iterations / 3), "two-thirds": math.ceil(2 * config.iterations / 3)}
        label = f"{config.algorithm} on {config.data}"
        began = time.monotonic() - self.seconds
        bar = ProgressLine(label, config.iterations, state.iteration, "tasks", config.meta_batch)
        with stop_on_interrupt() as stop, bar, TaskWorkers(self.network) as self.workers:
            while state.iteration < config.iterations and not stop.asked:
                loss, accuracy = self._step()
                bar.advance(f"loss {loss:.3f}  accuracy {accuracy:.1f} %")
                record = {"iteration": state.iteration, "train_loss": loss, "train_accuracy": accuracy}
                done = state.iteration == config.iterations
                if state.iteration % config.val_every == 0 or done:
                    record |= self._validate()
                self.folder.append_metrics(record | {"seconds": round(time.monotonic() - began, 3)})
                for name, iteration in marks.items():
                    if iteration == state.iteration:
                        self._save(name)
                if state.iteration % config.val_every == 0 or done:
                    self._save_last()
            if stop.asked and state.iteration < config.iterations:
                self._save_last()
                raise Interrupted(
                    f"stopped at iteration {state.iteration} of {config.iterations}; everything is saved in "
                    f"{self.folder.path}; the same command goes on from there"
                )
        return load_checkpoint(self.folder.checkpoint("last"))

    def _begin(self) -> None:
        if not self.folder.resume_file.exists():
            if (last := self.folder.checkpoint("last")).exists():
                raise UnreadableInput(
                    f"{self.folder.path} has {last.name} but not {self.folder.resume_file.name}, so it cannot be "
                    "resumed, and starting anew would overwrite it; bring the file back, or choose another --out"
                )
            self._save("start")
            self.folder.rewind_metrics(0)
            return
        saved = load_resume_state(self.folder.resume_file, self.state)
        if saved["data_fingerprint"] != self.provenance["data_fingerprint"]:
            raise MetaprobeError(
                f"{self.folder.path} was trained on other images: data fingerprint {saved['data_fingerprint']}, now "
                f"{self.provenance['data_fingerprint']}; bring the old ones back, or choose another --out"
            )
        for record in self.folder.rewind_metrics(self.state.iteration):
            self.seconds = record["seconds"]
            if "val_iteration" in record:
                self.metrics = {name: value for name, value in record.items() if name.startswith("val_")}
        if not self._last_is_current():
            self._save("last")

    def _last_is_current(self) -> bool:
        """Tell whether `last` was written after the resume state; then what made it stays what it says."""
        path = self.folder.checkpoint("last")
        if not path.exists():
            return False
        last = read_metadata(path)
        return (last.iteration, last.fingerprint) == (self.state.iteration, fingerprint_of(self.state.params))

    def _step(self) -> tuple[float, float]:
        """Take one outer step; return the mean query loss (nats) and accuracy (percent) before it."""
        config, state = self.config, self.state
        first = state.iteration * config.meta_batch
        tasks = self.tasks.batch(range(first, first + config.meta_batch))
        transductive = config.norm == "transductive"
        chunks = [tasks[start : start + config.chunk] for start in range(0, config.meta_batch, config.chunk)]

        def gradient_of(network: TaskNetwork, chunk: Tasks) -> MetaGradient:
            return self.algorithm.meta_gradient(network, state.params, chunk, self.adaptation, transductive)

        loss = accuracy = 0.0
        sums = {name: torch.zeros_like(parameter) for name, parameter in state.params.items()}
        for part in self.workers.map(gradient_of, chunks):
            loss, accuracy = loss + part.loss, accuracy + part.accuracy
            for name, gradient in part.gradients.items():
                sums[name] += gradient
        for name, parameter in state.params.items():
            mean = sums[name] / config.meta_batch
            parameter.grad = mean if config.clip is None else mean.clamp(-config.clip, config.clip)
        self._set_rate()
        state.iteration += 1
        gradients = [parameter.grad for parameter in state.params.values() if parameter.grad is not None]
        self._refuse_non_finite({"loss": loss}, "meta-gradient", gradients)
        state.optimiser.step()
        self._refuse_non_finite({}, "weights", state.params.values())
        return loss / config.meta_batch, 100 * accuracy / config.meta_batch

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
            self.adaptation,
            tasks=self.config.val_tasks,
            transductive=self.config.norm == "transductive",
            chunk=self.config.chunk,
            workers=self.workers,
        )
        metrics = {"val_iteration": self.state.iteration}
        for name, values in (("val_loss", result.loss), ("val_accuracy", result.accuracy)):
            metrics |= {name: float(values.mean()), f"{name}_half_width": half_width(values)}
        self._refuse_non_finite({"validation loss": metrics["val_loss"]})
        self.metrics = metrics
        if metrics["val_accuracy"] > self.state.best_accuracy:
            self.state.best_accuracy = metrics["val_accuracy"]
            self._save("best")
        return metrics

    def _save_last(self) -> None:
        # The resume state goes first: it is complete by itself, and `_begin` writes `last` again after a crash between.
        save_resume_state(self.folder.resume_file, self.state, self._checkpoint())
        self._save("last")

    def _save(self, name: str) -> None:
        save_checkpoint(self.folder.checkpoint(name), self._checkpoint())

    def _checkpoint(self) -> Checkpoint:
        params = {name: parameter.detach().cpu() for name, parameter in self.state.params.items()}
        return Checkpoint(
            params,
            self.config,
            self.network_config,
            self.adaptation,
            self.state.iteration,
            self.metrics,
            self.provenance,
        )
