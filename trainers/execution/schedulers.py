"""Steps past one machine: workers of dask.distributed, or jobs of SLURM. Both unpickle what they are sent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.execution.sent import Polled, Sent, Source
from metaprobe.trainers.execution.workers import Outcome, Workers, check_jobs
from metaprobe.trainers.interrupt import Interrupted

__all__ = ["DaskWorkers", "SlurmJobs", "workers_at"]


class DaskWorkers(Polled):
    """Workers of a scheduler of dask.distributed, which gives a step to another where one dies; begun when needed.

    Args:
        address: of the scheduler, or "local:4" for so many workers of its own on this machine.
    """

    def __init__(self, address: str, source: Source, most: int = sys.maxsize) -> None:
        super().__init__(source, most)
        kind, _, count = address.partition(":")
        local = kind == "local" and count.isascii() and count.isdigit()
        if not local and "://" not in address:
            raise MetaprobeError(f"--scheduler must be local:4, tcp://HOST:PORT or slurm; got {address}")
        self._address, self._local = address, int(count) if local else 0
        self._client: Any = None
        self._tells = not local
        if local:
            check_jobs(self._local, "N of --scheduler local:N")
        _import("distributed", "dask")

    def _submit(self, sent: Sent) -> Any:
        self._client = self._client or self._connect()
        return self._client.submit(sent, pure=False)

    def _connect(self) -> Any:
        from distributed import Client, LocalCluster

        # dask's own limit would end a worker that takes more than its share of the memory
        how = {"threads_per_worker": 1, "memory_limit": None, "dashboard_address": "127.0.0.1:0"}
        where = LocalCluster(n_workers=self._local, **how) if self._local else self._address
        try:
            client: Any = Client(where)
        except (OSError, ValueError) as error:
            if not isinstance(where, str):
                where.close()
            raise MetaprobeError(f"no scheduler of dask answers at --scheduler {self._address}: {error}") from error
        threads = client.nthreads().values()
        if any(count != 1 for count in threads):
            client.close()
            told = f"--scheduler {self._address} has workers of {max(threads)} threads, and a step takes a process"
            raise MetaprobeError(f"{told}; begin them with `dask worker {self._address} --nworkers N --nthreads 1`")
        if not threads:
            sys.stderr.write(f"{self._address} has no workers yet; steps begin when one joins\n")
        return client

    def _check(self) -> None:
        if self._client.status != "running":  # a client that loses it while steps are handed over does not cancel them
            raise self._lost()

    def _lost(self) -> MetaprobeError:
        told = f"the scheduler {self._address} was lost; what was done is kept"
        return MetaprobeError(f"{told}, and the same command goes on once a scheduler answers")

    def _outcome(self, one: Any) -> Outcome:
        try:
            return one.result()
        except CancelledError as error:
            raise self._lost() from error
        except Interrupted:
            raise
        except Exception as error:  # of workers that died one after another, or lack what the step is made of
            return Outcome("failed", f"{type(error).__name__}: {error}")

    def __exit__(self, *error: object) -> None:
        if (client := self._client) is None:
            return
        if client.status == "running":
            client.cancel([*self.running])
        client.close(timeout=10)
        if client.cluster is not None:
            client.cluster.close(timeout=30)  # workers are killed, with a warning, where they take longer


class SlurmJobs(Polled):
    """Jobs of SLURM, one a step, through submitit.

    Args:
        folder: of their logs.
        options: parameters of `submitit.AutoExecutor`, "KEY=VALUE" each.
        cluster: what submitit calls where they run.
    """

    def __init__(
        self, folder: Path, options: Sequence[str], source: Source, most: int = sys.maxsize, cluster: str = "slurm"
    ) -> None:
        super().__init__(source, most)
        submitit = _import("submitit", "slurm")
        given = {"name": "metaprobe", "timeout_min": 24 * 60} | dict(map(_option, options))  # its own limit is 5
        try:
            self._executor = submitit.AutoExecutor(folder.absolute(), cluster)
            self._executor.update_parameters(**given)
        except (RuntimeError, NameError, AssertionError) as error:  # no SLURM here, or a parameter that is not known
            raise MetaprobeError(f"--scheduler slurm: {str(error).splitlines()[0]}") from error

    def _submit(self, sent: Sent) -> Any:
        from submitit.core.utils import FailedSubmissionError

        try:
            return self._executor.submit(sent)
        except FailedSubmissionError as error:
            raise MetaprobeError(f"SLURM refused a job ({error}); --jobs 100 submits no more at once") from error

    def _outcome(self, one: Any) -> Outcome:
        from submitit.core.utils import UncompletedJobError

        try:
            return one.result()
        except UncompletedJobError:
            return Outcome("failed", f"job {one.job_id} ended as {one.state} without a result: {one.paths.stderr}")

    def __exit__(self, *error: object) -> None:
        for job in self.running:
            job.cancel()


def _option(told: str) -> tuple[str, str | int]:
    name, equals, value = told.partition("=")
    if not (name and equals):
        raise MetaprobeError(f"--slurm takes parameters of submitit as KEY=VALUE; got {told}")
    return name, int(value) if value.isascii() and value.isdigit() else value


def _import(module: str, extra: str) -> Any:
    try:
        return __import__(module)
    except ModuleNotFoundError as error:
        raise MetaprobeError(f"--scheduler needs {module}: pip install 'metaprobe[{extra}]'") from error


def workers_at(scheduler: str, source: Source, folder: Path, jobs: int = 1, slurm: Sequence[str] = ()) -> Workers:
    """Return what does steps at a scheduler: "local:4", "tcp://HOST:PORT", or "slurm".

    Args:
        scheduler: which.
        source: for whoever does the steps.
        folder: of the logs of SLURM's jobs.
        jobs: steps at once; 1 for as many as there are.
        slurm: see `SlurmJobs`.

    Raises:
        MetaprobeError: it is none of these, or what it needs is not installed.
    """
    check_jobs(jobs)
    most = sys.maxsize if jobs == 1 else jobs
    if scheduler == "slurm":
        return SlurmJobs(folder, slurm, source, most)
    if slurm:
        raise MetaprobeError(f"--slurm is of --scheduler slurm; got --scheduler {scheduler}")
    return DaskWorkers(scheduler, source, most)
