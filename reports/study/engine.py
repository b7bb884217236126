"""The steps of a study: each begins once its needs are done, side by side; what failed does not sink the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from typing import Literal

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.execution.workers import Outcome, Processes, Work, Workers, attempt
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["LostEvidence", "Results", "Step", "run_steps", "states"]


class LostEvidence(UnreadableInput):
    """A result is there, and what it rests on is gone or has changed: no page may be made without it."""


@dataclass(frozen=True)
class Step:
    """One step of a study."""

    name: str
    work: Work  # what it does
    needs: tuple[str, ...] = ()  # names of the steps that must be done before
    alone: bool = False  # whether nothing may run beside it


@dataclass(frozen=True)
class Results:
    """The steps of a study, and how they ended by their names, in the order of their declaration."""

    steps: tuple[Step, ...]
    outcomes: Mapping[str, Outcome]

    def works(self) -> Iterator[Work]:
        """Yield what the steps did whose results are there."""
        return (step.work for step in self.steps if self.outcomes[step.name].good)

    def missing(self) -> tuple[tuple[str, Outcome], ...]:
        """Return the steps that failed or were not run, by name."""
        return tuple((name, outcome) for name, outcome in self.outcomes.items() if not outcome.good)


def run_steps(steps: Sequence[Step], data: ImageSet, jobs: int = 1, elsewhere: Workers | None = None) -> Results:
    """Do all steps that are not done, and return how each ended; one that fails takes those with it that need it.

    Of `jobs` processes side by side each has one thread. With 1, or where only one step can be done at the time, it is
    done here, on all cores. What is given as `elsewhere` does all of them instead. The numbers are the same.

    Raises:
        ValueError: steps have one name, need one that there is not, or need each other in a circle.
        LostEvidence: a result is there, and what it rests on is not.
        Interrupted: Ctrl-C or SIGTERM.
    """
    order, place = _order(steps), {step.name: number for number, step in enumerate(steps)}
    ended: dict[str, Outcome] = {}
    ready: list[Step] = []

    def end(step: Step, outcome: Outcome) -> None:
        ended[step.name] = outcome
        order.done(step.name)

    with elsewhere or Processes(data, jobs) as workers:
        while order.is_active():
            if names := order.get_ready():
                for step in (steps[place[name]] for name in names):
                    outcome = _known(step, ended, data)
                    end(step, outcome) if outcome else ready.append(step)
                continue
            ready.sort(key=lambda step: (step.alone, place[step.name]))
            beside = [step for step in ready if not step.alone]
            if workers.here and not workers.running and (workers.most == 1 or len(beside) < 2):
                step = ready.pop(0)
                end(step, attempt(partial(step.work.do, data)))
                continue
            if not (beside or workers.running):
                beside = ready[:1]  # which may have nothing beside it
            for step in beside[: workers.most - len(workers.running)]:
                ready.remove(step)
                workers.begin(step.name, step.work, partial(_known, step, ended, data, "done"))
            for name, outcome in workers.ended():
                end(steps[place[name]], outcome)
    return Results(tuple(steps), {step.name: ended[step.name] for step in steps})


def states(steps: Sequence[Step], data: ImageSet) -> dict[str, str]:
    """Return whether each step is "kept", "to do", "failed" where what is there is damaged, or "not run" for that.

    Nothing is done.
    """
    found: dict[str, str] = {}
    by_name = {step.name: step for step in steps}
    for name in TopologicalSorter({step.name: step.needs for step in steps}).static_order():
        needs = {found[need] for need in by_name[name].needs}
        if needs & {"failed", "not run"}:
            found[name] = "not run"
        elif "to do" in needs or (outcome := _there(by_name[name], data, "kept")) is None:
            found[name] = "to do"
        else:
            found[name] = outcome.ending
    return {name: found[name] for name in by_name}


def _order(steps: Sequence[Step]) -> TopologicalSorter[str]:
    names = [step.name for step in steps]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"steps of a study: a name is used twice: {', '.join(twice)}")
    for step in steps:
        if lacking := set(step.needs).difference(names):
            raise ValueError(f"steps of a study: {step.name!r} needs {min(lacking)!r}, which is no step")
    order = TopologicalSorter({step.name: step.needs for step in steps})
    order.prepare()
    return order


def _known(
    step: Step, ended: Mapping[str, Outcome], data: ImageSet, there: Literal["done", "kept"] = "kept"
) -> Outcome | None:
    """Return how a step ends that need not (`there`) or cannot be done; a damaged file of one run fails that step."""
    for name in step.needs:
        if not ended[name].good:
            told = "failed" if ended[name].ending == "failed" else "was not run"
            return Outcome("not run", f"needs “{name}”, which {told}")
    return _there(step, data, there)


def _there(step: Step, data: ImageSet, there: Literal["done", "kept"]) -> Outcome | None:
    try:
        return Outcome(there) if step.work.is_done(data) else None
    except LostEvidence:
        raise
    except MetaprobeError as error:
        return Outcome("failed", str(error))
