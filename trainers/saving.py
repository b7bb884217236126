"""What a run writes while it trains, and how an interrupted one finds its way back."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

from metaprobe.trainers.checkpoint import Checkpoint, fingerprint_of, load_checkpoint, save_checkpoint
from metaprobe.trainers.clustering.file import with_settings
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig
from metaprobe.trainers.engine import Engine, read_engine, write_engine
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.events import EventLog
from metaprobe.trainers.formats.checkpoint_format import FORMAT_VERSION
from metaprobe.trainers.learner import Learner
from metaprobe.trainers.resume import OuterState, load_resume_state, save_resume_state
from metaprobe.trainers.run import CHECKPOINT_NAMES, RunFolder
from metaprobe.trainers.task_kinds import KINDS
from metaprobe.trainers.update_rules import network_part, rule_named, rule_part

__all__ = ["Saver", "refuse_other_origin"]


def refuse_other_origin(folder: RunFolder, saved: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Refuse to go on with what another run left, by the provenance of both.

    Raises:
        MetaprobeError: it was made from other images, or another base.
    """
    for part, told in (("data_fingerprint", "trained on other images"), ("base", "begun from another --base")):
        if saved.get(part) != now.get(part):
            raise MetaprobeError(
                f"{folder.path} was {told}: {part.replace('_', ' ')} {saved.get(part)}, now {now.get(part)}; bring the "
                "old ones back, or choose another --out"
            )


@dataclass
class Saver:
    """The files of a run in progress.

    Of several ranks, which hold equal states, one writes; all read.

    Attributes:
        folder: the run's.
        config, network_config, adaptation, provenance: go into every checkpoint.
        learner: what is trained.
        state: what a resumed run starts from; filled by `load`.
        writes: whether this process is the one that writes.
        metrics: of the latest validation.
        seconds: spent before this call.
        engine_before: how an earlier call computed; "" without one.
        lost: whether this call goes on without the resume state of the earlier one.
        events: where metrics go beside metrics.jsonl, while the run goes on and if that was asked for.
    """

    folder: RunFolder
    config: TrainConfig
    network_config: NetworkConfig
    adaptation: Adaptation
    provenance: dict[str, str | int]
    learner: Learner
    state: OuterState
    writes: bool
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    engine_before: str = ""
    lost: bool = False
    events: EventLog | None = None

    def load(self) -> bool:
        """Read the state of an earlier call; return whether there was one. Changes no file.

        Where it is missing or damaged, the newest whole checkpoint has to do, with a warning.

        Raises:
            UnreadableInput: nothing that is whole is left, or it does not do.
            MetaprobeError: the run was trained on other images, or begun from another base.
        """
        if not self.folder.resume_file.exists():
            first = min(self.config.val_every, self.config.iterations)  # when it is written for the first time
            if not self.folder.checkpoint("last").exists() and len(self.folder.read_metrics()) <= first:
                return False  # killed before that: the run begins anew, and ends as one left alone
            return self._load_newest("is missing")
        try:
            told = load_resume_state(self.folder.resume_file, self.state)
        except UnreadableInput as error:
            return self._load_newest(f"is damaged ({error})")
        refuse_other_origin(self.folder, told, self.provenance)
        self.engine_before = str(told.get("engine", ""))
        if "resumed" in told:  # what a run once lost stays told
            self.provenance["resumed"] = str(told["resumed"])
        return True

    def _load_newest(self, why: str) -> bool:
        """Go on from the newest whole checkpoint, with a new optimiser; return whether there is one past the start.

        Raises:
            UnreadableInput: there is one, and it does not hold all that the run trains; or all are damaged.
        """
        told = f"{self.folder.path}: {self.folder.resume_file.name} {why}"
        found, damaged = self._whole()
        newest = max(found.values(), key=lambda one: one.iteration, default=None)
        if newest is None or not newest.iteration:
            if damaged or self.folder.resume_file.exists():
                told += f", and no whole checkpoint is left{f' ({damaged[0]})' if damaged else ''}"
                raise UnreadableInput(f"{told}; bring a file back, or choose another --out")
            return False
        refuse_other_origin(self.folder, newest.provenance, self.provenance)
        saved = {**newest.params, **newest.rule}
        lacking = [name for name in self.state.params if name not in saved]
        lacking += ["weights and maps apart"] * (rule_named(self.adaptation.rule).computed is not None)
        lacking += ["the tasks that wait for their cluster"] * (self.state.tasks is not None)
        if lacking:
            told += f", and no checkpoint holds {lacking[0]}"
            raise UnreadableInput(f"{told}; bring the file back, or choose another --out")
        with torch.no_grad():
            for name, parameter in self.state.params.items():
                parameter.copy_(saved[name])
        self.state.iteration = newest.iteration
        self.engine_before = str(newest.provenance.get("engine", ""))
        kind = KINDS[self.config.loss]
        if "best" in found and f"val_{kind.metric}" in found["best"].metrics:  # else it is another one's file
            self.state.best = kind.goodness(found["best"].metrics[f"val_{kind.metric}"])
        self.lost = True
        self.provenance["resumed"] = f"iteration {newest.iteration} with a new optimiser"
        told += f"; goes on from the newest whole checkpoint, of iteration {newest.iteration}, with a new optimiser"
        warnings.warn(f"{told}: it will not end as a run left alone", stacklevel=2)
        return True

    def _whole(self) -> tuple[dict[str, Checkpoint], list[str]]:
        """Return the checkpoints that are whole, by name, and of the others why they are not."""
        found, damaged = dict[str, Checkpoint](), list[str]()
        for name in CHECKPOINT_NAMES:
            if self.folder.checkpoint(name).exists():
                try:
                    found[name] = load_checkpoint(self.folder.checkpoint(name))
                except UnreadableInput as error:
                    damaged.append(str(error))
        return found, damaged

    def found(self) -> str:
        """Return what all ranks must agree in: the iteration, the images and the weights, as text."""
        data = self.provenance["data_fingerprint"]
        return f"iteration {self.state.iteration}, data {data}, weights {fingerprint_of(self.state.params)}"

    def engine(self, ranks: int) -> Engine | None:
        """Return the engine that an earlier call chose, None if there is none yet.

        Raises:
            UnreadableInput: a run that has begun has none, or it is damaged.
            MetaprobeError: the run was begun with another number of ranks.
        """
        if not self.folder.engine_file.exists() and not self.folder.resume_file.exists():
            return None
        engine = read_engine(self.folder.engine_file)
        if engine.ranks != ranks:
            told = f"{self.folder.path} was begun with {engine.ranks} rank(s), now there are {ranks}"
            raise MetaprobeError(
                f"{told}; the order of summation, and so the rounding, depends on their number: go on with "
                f"--workers {engine.ranks} (or as many processes of torchrun), or choose another --out"
            )
        if self.engine_before not in ("", str(engine)):
            told = f"{self.folder.engine_file} says {engine}, and the run was computed with {self.engine_before}"
            raise UnreadableInput(f"{told}; put back what it said, or choose another --out")
        return engine

    def keep_engine(self, engine: Engine, seconds: Mapping[Engine, float]) -> None:
        """Write down the engine of a new run."""
        if self.writes:
            write_engine(self.folder.engine_file, engine, seconds)

    @contextlib.contextmanager
    def begun(self, resumed: bool) -> Iterator[None]:
        """Make the files agree with the state: drop what a resumed run will write again, or write the first ones."""
        if self.writes:
            self._begin(resumed)
        try:
            yield
        finally:
            if self.events is not None:
                self.events.close()

    def _begin(self, resumed: bool) -> None:
        if not resumed:
            self.save("start")
        records = self.folder.rewind_metrics(self.state.iteration)
        if len(records) < self.state.iteration:
            told = f"{self.folder.metrics_file} ends at iteration {len(records)}, and {self.state.iteration} are done"
            raise UnreadableInput(f"{told}; bring its lines back, or choose another --out")
        for record in records:
            self.seconds = record["seconds"]
            if "val_iteration" in record:
                self.metrics = {name: value for name, value in record.items() if name.startswith("val_")}
        if resumed and not self._last_is_current():
            self.save("last")
        if self.folder.tensorboard:
            self.events = EventLog(self.folder.events_folder, self.folder.read_records())

    def append(self, record: Mapping[str, float | list[float]]) -> None:
        """Add one line to the metrics."""
        if self.writes:
            self.folder.append_metrics(record)
            if self.events is not None:
                self.events.add(record)

    def save(self, name: str) -> None:
        """Write a checkpoint."""
        if self.writes:
            save_checkpoint(self.folder.checkpoint(name), self._checkpoint())

    def save_last(self) -> None:
        """Write the resume state and the checkpoint `last`; before the first iteration there is nothing to write."""
        if self.writes and self.state.iteration:
            self.folder.keep_metrics()
            if self.events is not None:
                self.events.flush()
            # The resume state goes first: it is complete by itself; `begin` writes `last` again after a crash between.
            save_resume_state(self.folder.resume_file, self.state, self._checkpoint())
            self.save("last")

    def _last_is_current(self) -> bool:
        """Tell whether `last` was written after the resume state; then what made it stays what it says."""
        path = self.folder.checkpoint("last")
        if not path.exists():
            return False
        try:
            last = load_checkpoint(path)
        except UnreadableInput as error:
            if not self.lost:  # else it was told with the resume state
                warnings.warn(f"{error}; it is written anew from {self.folder.resume_file.name}", stacklevel=2)
            return False
        wanted = FORMAT_VERSION, self.state.iteration, self._checkpoint().fingerprint
        return (last.format, last.iteration, last.fingerprint) == wanted

    def _checkpoint(self) -> Checkpoint:
        params = {name: parameter.detach().cpu() for name, parameter in self.learner.network.items()}
        rule = rule_part(params)
        clusters = self.learner.clusters
        config, base = with_settings(self.config, clusters), self.provenance.get("base")
        return Checkpoint(
            network_part(params),
            dataclasses.replace(config, base=str(base)[:12]) if base else config,  # its id: paths are no part
            self.network_config,
            self.adaptation,
            self.state.iteration,
            self.metrics,
            self.provenance,
            clusters and clusters.to("cpu"),
            rule=rule,
        )
