"""Steps on workers of a real scheduler, and as jobs of submitit: the same numbers, what is lost and found."""

import dataclasses
import os
import re
import socket
import threading
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from metaprobe.probe.cli import main
from metaprobe.reports.study.engine import Step, run_steps
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.execution.schedulers import DaskWorkers, SlurmJobs, workers_at
from metaprobe.trainers.execution.sent import Polled, Source
from metaprobe.trainers.run import RunFolder
from tests.conftest import make_imageset
from tests.schedulers import Note, free_port, scheduler_on, wait_for, with_tests, workers_of
from tests.tiny_study import planned_third, working_in, write_pictures


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The working folder, with pictures."""
    base = tmp_path_factory.mktemp("elsewhere")
    write_pictures(base)
    with working_in(base):
        yield base


@pytest.fixture(scope="module")
def planned(place):
    """The third study in the folder "there": its first training, and a test of it."""
    planned = planned_third(Path("there"))
    steps = tuple(step for step in planned.steps if step.name in ("train maml-seed0", "accuracy of maml-seed0"))
    return dataclasses.replace(planned, steps=steps)


@pytest.fixture(scope="module")
def source(planned):
    return Source.here(planned.options.config("maml", 0), None, planned.images)


def endings(results):
    return {name: outcome.ending for name, outcome in results.outcomes.items()}


def test_a_scheduler_gives_the_same_numbers_and_a_step_whose_worker_was_killed_to_another(place, planned, source):
    pytest.importorskip("distributed")
    steps = [
        *planned.steps,
        Step("killed", Note(place / "killed", "killed")),
        Step("alone", Note(place / "a"), alone=True),
    ]
    with scheduler_on(free_port()) as (address, _), workers_of(address, 2) as processes:
        results = run_steps(steps, planned.images, elsewhere=DaskWorkers(address, source))
        pids = [process.pid for process in processes]
        assert endings(results) == dict.fromkeys(endings(results), "done"), results.missing()
        first, second = (int((place / name).read_text()) for name in ("killed.begun", "killed"))
        assert {first, second} == set(pids) and int((place / "a").read_text()) == second
    here = planned_third(Path("here"))
    assert not run_steps([step for step in here.steps if step.name in endings(results)], here.images).missing()
    for file in (Path("maml-seed0/measured/accuracy.csv"), RunFolder(Path("maml-seed0")).checkpoint("last")):
        assert (place / "here" / file).read_bytes() == (place / "there" / file).read_bytes()


def test_a_scheduler_that_is_killed_ends_with_a_sentence_and_the_same_command_goes_on(place, planned, source):
    pytest.importorskip("distributed")
    port = free_port()
    steps = [Step("quick", Note(place / "quick")), Step("slow", Note(place / "slow", "slow"), ("quick",))]
    with scheduler_on(port) as (address, process), workers_of(address, 1):

        def kill():
            wait_for((place / "slow.begun").exists)
            process.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(MetaprobeError, match=f"the scheduler {address} was lost; what was done is kept, and the"):
            run_steps(steps, planned.images, elsewhere=DaskWorkers(address, source))
        killer.join()
    with scheduler_on(port) as (address, _), workers_of(address, 1):
        results = run_steps(steps, planned.images, elsewhere=DaskWorkers(address, source))
    assert endings(results) == {"quick": "kept", "slow": "done"}


def test_a_client_that_forgets_what_it_had_handed_over_does_not_wait_for_ever(source, monkeypatch):
    pytest.importorskip("distributed")
    workers = DaskWorkers("tcp://127.0.0.1:9", source)
    workers.running[Future()] = "never"
    monkeypatch.setattr(workers, "_client", SimpleNamespace(status="connecting"))
    with pytest.raises(MetaprobeError, match=r"the scheduler tcp://127\.0\.0\.1:9 was lost"):
        next(workers.ended())


def test_workers_of_several_threads_are_refused(place, planned, source):
    pytest.importorskip("distributed")
    from distributed import Client, LocalCluster

    local = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0")
    with local as cluster, Client(cluster) as client:
        client.wait_for_workers(1)
        workers = DaskWorkers(cluster.scheduler_address, source)
        with pytest.raises(MetaprobeError, match=r"has workers of 2 threads.*begin them with .*--nthreads 1"):
            run_steps([Step("never", Note(place / "never"))], planned.images, elsewhere=workers)


def test_jobs_of_submitit_do_steps_and_one_that_is_killed_fails(place, planned, source, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", with_tests())
    steps = [Step("good", Note(place / "good")), Step("bad", Note(place / "bad", "killed"))]
    jobs = SlurmJobs(place / "slurm", ["timeout_min=5"], source, cluster="local")
    results = run_steps(steps, planned.images, elsewhere=jobs)
    assert endings(results) == {"good": "done", "bad": "failed"}
    assert int((place / "good").read_text()) != os.getpid()
    assert "without a result: " in results.outcomes["bad"].reason


def test_a_job_that_ran_out_of_time_is_begun_again(place, source):
    pytest.importorskip("submitit")
    jobs = SlurmJobs(place / "debug", [], source, cluster="debug")
    jobs.begin("again", Note(place / "again"), lambda: None)
    ((job, _),) = jobs.running.items()
    delayed = job.submission().function.checkpoint()
    assert delayed.function is job.submission().function and delayed.args == ()


class Asked(Polled):
    """Does each step when asked for its end."""

    def _submit(self, sent):
        future = Future()
        future.set_result(None)
        future.sent = sent
        return future

    def _outcome(self, one):
        return one.sent()

    def __exit__(self, *error):
        pass


@dataclasses.dataclass(frozen=True)
class Late:
    """Leaves what is seen here as it stands: nothing for a while, then half of it, which is an error, then all."""

    path: Path
    seen: tuple[bool | None, ...]

    def is_done(self, data):
        looks = len(self.path.read_text()) if self.path.exists() else 0
        if not looks:
            return False
        self.path.write_text("." * (looks + 1))
        if (found := self.seen[min(looks, len(self.seen)) - 1]) is None:
            raise UnreadableInput("half of it is missing")
        return found

    def do(self, data):
        self.path.write_text(".")


def test_what_is_done_elsewhere_is_waited_for_until_it_is_seen_here(tmp_path, planned, source, monkeypatch, capsys):
    monkeypatch.setattr("metaprobe.trainers.execution.sent._LOOK", 0.01)
    steps = [
        Step("late", Late(tmp_path / "late", (False, None, True))),
        Step("after", Note(tmp_path / "after"), ("late",)),
    ]
    assert endings(run_steps(steps, planned.images, elsewhere=Asked(source))) == {"late": "done", "after": "done"}
    begun, ended, *rest = capsys.readouterr().err.splitlines()
    assert begun == "late: handed over" and rest[0] == "after: handed over"
    for told, name in ((ended, "late"), (rest[1], "after")):
        assert re.fullmatch(rf"{name}: done after \d+ s on {socket.gethostname()}", told)
    assert len((tmp_path / "late").read_text()) == 4
    monkeypatch.setattr("metaprobe.trainers.execution.sent._GRACE", 0.1)
    steps = [Step("never", Late(tmp_path / "never", (False,))), Step("after", Note(tmp_path / "a"), ("never",))]
    steps += [Step("half", Late(tmp_path / "half", (None,)))]
    results = run_steps(steps, planned.images, elsewhere=Asked(source))
    assert endings(results) == {"never": "failed", "after": "not run", "half": "failed"}
    told = f"{socket.gethostname()} says it is done, and it is not seen here: --out must be on a folder that all "
    assert f"never: failed after 0 s on {socket.gethostname()}\n" in capsys.readouterr().err
    assert results.outcomes["never"].reason == f"{told}machines share"
    assert results.outcomes["half"].reason == f"{told}machines share (half of it is missing)"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("where", "slurm", "told"),
    [
        ("local:0", (), "N of --scheduler local:N must be at least 1; got 0"),
        ("local:99999", (), "N of --scheduler local:N must be at least 1 and at most 1024; got 99999"),
        ("local:two", (), r"--scheduler must be local:4, tcp://HOST:PORT or slurm; got local:two"),
        ("tcp://127.0.0.1:9", ("a=b",), "--slurm is of --scheduler slurm"),
        ("slurm", ("partition",), "as KEY=VALUE; got partition"),
        ("slurm", (), "--scheduler slurm: .*srun"),
    ],
)
def test_what_cannot_be_is_refused(place, source, where, slurm, told):
    pytest.importorskip("submitit")
    with pytest.raises(MetaprobeError, match=told):
        workers_at(where, source, place / "refused", 1, slurm)


def test_an_extra_that_is_missing_is_told(place, source, monkeypatch):
    for name, where in (("distributed", "local:2"), ("submitit", "slurm")):
        monkeypatch.setitem(__import__("sys").modules, name, None)
        with pytest.raises(MetaprobeError, match=rf"--scheduler needs {name}: pip install 'metaprobe\["):
            workers_at(where, source, place / "missing")


def test_a_machine_without_the_folder_or_with_other_data_says_so(place, source):
    gone = dataclasses.replace(source, folder=place / "gone")
    with pytest.raises(MetaprobeError, match=r"cannot enter .*gone.*all machines must see that folder"):
        gone.begin()
    other = Source.here(TrainConfig("maml", "class_folder:pictures"), None, make_imageset())
    with pytest.raises(MetaprobeError, match=r"has other versions than here .* data .* begin its workers anew"):
        other.begin()


def test_a_worker_with_another_version_of_a_plug_in_is_refused(place, source, monkeypatch):
    here = dataclasses.replace(source, versions=(*source.versions[:2], "metaprobe-mine 1.2", source.versions[-1]))
    told = r"plug-ins or the data \(metaprobe .*, torch .*, metaprobe-mine 1.3, .*; expected .*, metaprobe-mine 1.2, "
    for found in (["metaprobe-mine 1.3"], []):
        monkeypatch.setattr("metaprobe.trainers.execution.sent.homes_of_plugins", lambda found=found: found)
        with pytest.raises(MetaprobeError, match=told if found else r"plug-ins .*; expected .*metaprobe-mine 1.2, "):
            here.begin()
    monkeypatch.setattr("metaprobe.trainers.execution.sent.homes_of_plugins", lambda: ["metaprobe-mine 1.2"])
    assert Source.here(source.config, None, here.begin()).versions == here.versions


def test_a_worker_that_lives_on_sees_that_the_data_changed(place, source, monkeypatch):
    old, new = make_imageset(seed=1), make_imageset(seed=2)
    found = [old, new]
    loaded = lru_cache(maxsize=1)(lambda config, data_root: found.pop(0))
    monkeypatch.setattr("metaprobe.trainers.execution.sent._loaded", loaded)
    for data in (old, old, new, new):
        assert Source.here(source.config, None, data).begin() is data


def test_a_cluster_that_no_client_reaches_is_closed_and_workers_have_time_to_end(source, monkeypatch):
    distributed = pytest.importorskip("distributed")
    closed = []
    cluster = SimpleNamespace(close=lambda **how: closed.append(how))
    client = SimpleNamespace(status="closed", close=lambda **how: None, cluster=cluster, nthreads=lambda: {"a": 1})

    def unreachable(where):
        raise OSError("no answer")

    monkeypatch.setattr(distributed, "LocalCluster", lambda **how: cluster)
    monkeypatch.setattr(distributed, "Client", unreachable)
    with (
        pytest.raises(MetaprobeError, match="no scheduler of dask answers at --scheduler local:2: no answer"),
        DaskWorkers("local:2", source) as workers,
    ):
        workers.begin("never", Note(Path("never")), lambda: None)
    assert len(closed) == 1
    monkeypatch.setattr(distributed, "Client", lambda where: client)
    with DaskWorkers("local:2", source) as workers:
        monkeypatch.setattr(workers, "_client", workers._connect())
    assert closed[1:] == [{"timeout": 30}]


def test_the_command_line_hands_it_on(place, capsys):
    assert main(["study", "third", "--slurm", "a=b"]) == 2
    assert "--slurm is of --scheduler slurm; got no --scheduler" in capsys.readouterr().err
    pytest.importorskip("submitit")
    assert main(["study", "third", "--scheduler", "slurm", "--slurm", "timeout_min=240"]) == 2
    assert "error: --scheduler slurm: " in capsys.readouterr().err
    assert not list(place.glob("runs/*/maml*"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--scheduler", "foo"), "--scheduler must be local:4, tcp://HOST:PORT or slurm; got foo"),
        (("--slurm", "a=b"), "--slurm is of --scheduler slurm; got no --scheduler"),
    ],
)
def test_a_dry_run_refuses_what_the_study_would(place, capsys, given, told):
    assert main(["study", "third", "--dry-run", *given]) == 2
    assert told in capsys.readouterr().err
    assert not (place / "runs").exists()
