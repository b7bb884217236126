"""Engines: the same meta-gradient from every one, how one is chosen, kept and refused, and what it holds in memory."""

import dataclasses

import pytest
import torch

from metaprobe.trainers import engine as engine_module
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.device import device_named, exact_float32, peak_memory
from metaprobe.trainers.engine import Engine, Trials, choose_engine, graph_bytes, read_engine, write_engine
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.executor import Executor
from metaprobe.trainers.networks import convolve_in
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.ranks import Ranks
from metaprobe.trainers.run import RunFolder
from tests import reference_maml as reference
from tests.test_meta_gradients import TOLERANCE, problem, worst
from tests.test_parallel import threads
from tests.test_training import tiny


def executed(engine, name="maml", norm="transductive", n_threads=1, n_tasks=5, steps=2, layers=None):
    network, params, tasks = problem(norm=norm, n_tasks=n_tasks)
    algorithm = ALGORITHMS[name]
    adaptation = algorithm.adaptation(TrainConfig(name, "toy", inner_lr=0.2, inner_steps=steps), network.layer_names)
    adaptation = dataclasses.replace(adaptation, layers=layers or adaptation.layers)
    transductive = norm == "transductive"
    with threads(n_threads), TaskWorkers(network) as workers:
        found = Executor(algorithm, adaptation, transductive, workers).gradient(params, tasks, engine)
    names = [p for p in params if p.partition(".")[0] in adaptation.layers]
    loss, theirs = reference.meta_gradient(
        params, tasks, names, 0.2, steps, name == "fomaml", "max-pool", transductive
    )  # fmt: skip
    assert float(found.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert worst(found.gradients, theirs) < TOLERANCE
    return found


@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
@pytest.mark.parametrize("name", ["maml", "fomaml", "anil"])
@pytest.mark.parametrize("gradient", ["unrolled", "sweep"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 8])
def test_every_chunk_and_scheme_gives_the_reference_meta_gradient(chunk, gradient, name, norm):
    one = executed(Engine(chunk, gradient), name, norm)
    several = executed(Engine(chunk, gradient), name, norm, n_threads=3)
    assert all(torch.equal(one.gradients[p], several.gradients[p]) for p in one.gradients)


def test_a_compiled_gradient_is_the_reference_one():
    # Two layers and one step, since compiling takes long. Of five tasks in chunks of two, the last is not compiled.
    engine = Engine(2, "unrolled", compiled=True)
    executed(engine, norm="non-transductive", n_threads=2, steps=1, layers=("conv4", "head"))


def test_a_compiler_that_fails_is_told(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no C++ compiler here")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(MetaprobeError, match=r"--compile: .* no C\+\+ compiler here"):
        executed(Engine(2, "unrolled", compiled=True))


def held(gradient, steps):
    network, params, tasks = problem(n_tasks=1)
    algorithm = ALGORITHMS["maml"]
    adaptation = algorithm.adaptation(TrainConfig("maml", "toy", inner_steps=steps), network.layer_names)
    with TaskWorkers(network) as workers:
        return Executor(algorithm, adaptation, True, workers).held(params, tasks, gradient)


def test_graphs_grow_with_the_steps_when_unrolled_and_not_in_a_sweep():
    assert held("unrolled", 12) > 2.5 * held("unrolled", 4)
    assert held("sweep", 12) == held("sweep", 4)
    assert held("sweep", 4) < held("unrolled", 4)


def test_graph_bytes_counts_each_storage_once():
    x = torch.ones(1000, dtype=torch.float64, requires_grad=True)
    assert graph_bytes(lambda: (x * x, x[:500].exp())) == 8000 + 4000
    assert graph_bytes(lambda: x.detach() * 2) == 0

    def one_after_the_other():
        for _ in range(3):
            torch.autograd.grad((x * x.sin()).sum(), x)

    assert graph_bytes(one_after_the_other) == 2 * 8000  # x and its sine, and then again


class Clock:
    """Engines that take the seconds that they are told to, one after the other."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, self.tried = 0.0, seconds, []
        monkeypatch.setattr(engine_module.time, "perf_counter", lambda: self.now)

    def compute(self, engine):
        self.tried.append((engine.chunk, engine.compiled))
        self.now += self.seconds[engine.chunk, engine.compiled]

    def choose(self, tasks=16, workers=1, held=lambda gradient: 1, device="cpu", **options):
        trials = Trials(self.compute, held, tasks, workers, Ranks(0, 1, torch.device(device)))
        return choose_engine(TrainConfig("maml", "toy", **options), trials)


def test_the_fastest_chunk_is_chosen_and_larger_ones_are_given_up(monkeypatch):
    clock = Clock(monkeypatch, {(1, False): 4.0, (2, False): 2.0, (4, False): 1.0, (8, False): 1.05})
    engine, seconds = clock.choose()
    assert engine == Engine(4, "unrolled")
    assert {tried.chunk: taken for tried, taken in seconds.items()} == pytest.approx({1: 4.0, 2: 2.0, 4: 1.0, 8: 1.05})


def test_memory_decides_between_chunks_that_are_about_as_fast(monkeypatch):
    clock = Clock(monkeypatch, {(1, False): 1.0, (2, False): 0.96, (4, False): 0.1})
    assert clock.choose()[0].chunk == 1
    assert {chunk for chunk, _ in clock.tried} == {1, 2}  # 4 would hold still more, for all that is known to no avail
    clock = Clock(monkeypatch, {(1, False): 4.0, (2, False): 1.7, (4, False): 1.52, (8, False): 1.5, (16, False): 1.5})
    assert clock.choose()[0].chunk == 4
    clock = Clock(monkeypatch, {(1, False): 1.0, (2, False): 0.94, (4, False): 0.1})
    assert clock.choose()[0].chunk == 2


def test_what_another_program_slows_down_is_timed_again(monkeypatch):
    clock = Clock(monkeypatch, {(1, False): 1.0, (2, False): 0.5, (4, False): 0.6})
    quiet = Clock.compute

    def compute(engine):
        quiet(clock, engine)
        clock.now += 5.0 * (engine.chunk == 2 and clock.tried.count((2, False)) <= 3)

    clock.compute = compute
    assert clock.choose()[0].chunk == 2


def test_no_worker_is_left_without_tasks_and_what_is_asked_for_is_not_timed(monkeypatch):
    clock = Clock(monkeypatch, {(n, False): 1 / n for n in range(1, 9)})
    assert clock.choose(tasks=12, workers=2)[0].chunk == 6
    clock.tried.clear()
    assert clock.choose(tasks=2, workers=2) == (Engine(1, "unrolled"), {})
    assert clock.choose(chunk=7, gradient="sweep") == (Engine(7, "sweep"), {})
    assert clock.tried == []


def test_memory_bounds_the_chunk_and_decides_the_scheme(monkeypatch):
    monkeypatch.setattr(engine_module, "_free_memory", lambda device: 1000)
    clock = Clock(monkeypatch, {(n, False): 1 / n for n in range(1, 17)})
    assert clock.choose(held=lambda gradient: 100)[0] == Engine(4, "unrolled")
    assert clock.choose(held={"unrolled": 501, "sweep": 200}.get)[0] == Engine(2, "sweep")
    assert clock.choose(held={"unrolled": 501, "sweep": 200}.get, gradient="unrolled")[0] == Engine(1, "unrolled")
    assert clock.choose(held={"unrolled": 200, "sweep": 200}.get, chunk=3)[0] == Engine(3, "sweep")


def test_no_chunk_is_tried_on_a_cpu_whose_graph_is_beyond_all_caches(monkeypatch):
    monkeypatch.setattr(engine_module, "_free_memory", lambda device: 2**40)
    clock = Clock(monkeypatch, {(n, False): 1 / n for n in range(1, 17)})
    assert clock.choose(held=lambda gradient: 40 << 20)[0] == Engine(4, "unrolled")
    clock.tried.clear()
    assert clock.choose(held=lambda gradient: 300 << 20) == (Engine(1, "unrolled"), {})
    assert clock.tried == []
    assert clock.choose(held=lambda gradient: 300 << 20, device="cuda")[0] == Engine(16, "unrolled")


def test_a_gpu_that_is_too_small_for_a_chunk_ends_the_search(monkeypatch):
    clock = Clock(monkeypatch, {(1, False): 1.0, (2, False): 0.5})

    def compute(engine):
        if engine.chunk > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        Clock.compute(clock, engine)

    clock.compute = compute
    assert clock.choose()[0].chunk == 2
    assert clock.choose(held=lambda gradient: 2**62 if gradient == "unrolled" else 1)[0] == Engine(2, "sweep")


def test_compiled_only_where_it_pays(monkeypatch):
    clock = Clock(monkeypatch, {(4, False): 1.0, (4, True): 0.8})
    assert clock.choose(chunk=4, compile=True)[0] == Engine(4, "unrolled", compiled=True)
    clock = Clock(monkeypatch, {(4, False): 1.0, (4, True): 1.2})
    assert clock.choose(chunk=4, compile=True)[0] == Engine(4, "unrolled")


def test_an_engine_is_written_and_read_back(tmp_path):
    engine, other = Engine(8, "sweep", True, 2), Engine(4, "unrolled")
    write_engine(tmp_path / "engine.toml", engine, {other: 1.25, engine: 1.0})
    assert read_engine(tmp_path / "engine.toml") == engine
    assert "seconds = 1.25" in (tmp_path / "engine.toml").read_text()
    assert str(engine) == "chunks of 8 tasks, sweep, compiled, 2 ranks"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("chunk = 4\n", "missing"),
        ('chunk = "four"\ngradient = "sweep"\n', "chunk is 'four'"),
        ('chunk = 4\ngradient = "guess"\n', "gradient is 'guess'"),
        ('chunk = 0\ngradient = "sweep"\n', "at least one task"),
        ("chunk = [\n", "not TOML"),
        ("chunk = " + "[" * 8000, "nested more than 16 deep"),
        ("chunk." * 2000 + "a = 1", "nested more than 16 deep"),
        ("chunk = " + "9" * 5000, "not TOML: Exceeds the limit"),
        ("#" * 20_000, "more than 16,384 bytes"),
    ],
)
def test_a_damaged_engine_is_refused(tmp_path, content, told):
    (tmp_path / "engine.toml").write_text(content)
    with pytest.raises(UnreadableInput, match=told):
        read_engine(tmp_path / "engine.toml")


def test_a_run_times_engines_once_and_keeps_the_choice(tmp_path, toy, monkeypatch, capfd):
    config = tiny(chunk=None, meta_batch=4, iterations=2)
    last = train(config, toy, tmp_path / "run")
    assert "engine: chunks of " in capfd.readouterr().err
    chosen = read_engine(RunFolder(tmp_path / "run").engine_file)
    assert last.provenance["engine"] == str(chosen)
    assert last.provenance["precision"] == "float32"

    monkeypatch.setattr("metaprobe.trainers.outer_loop.choose_engine", None)  # would fail if asked
    train(config, toy, tmp_path / "run")
    again = tmp_path / "again"  # another run with the engine of the first gives its bytes
    again.mkdir()
    RunFolder(again).config_file.write_bytes(RunFolder(tmp_path / "run").config_file.read_bytes())
    RunFolder(again).engine_file.write_bytes(RunFolder(tmp_path / "run").engine_file.read_bytes())
    train(config, toy, again)
    first, second = (RunFolder(tmp_path / run).checkpoint("last").read_bytes() for run in ("run", "again"))
    assert first == second


def test_a_run_without_its_engine_or_with_other_ranks_does_not_go_on(tmp_path, toy):
    train(tiny(iterations=1), toy, tmp_path)
    file = RunFolder(tmp_path).engine_file
    engine = read_engine(file)
    file.unlink()
    with pytest.raises(UnreadableInput, match=r"engine\.toml is missing.*bring it back"):
        train(tiny(iterations=1), toy, tmp_path)
    write_engine(file, dataclasses.replace(engine, ranks=2), {})
    with pytest.raises(MetaprobeError, match=r"begun with 2 rank\(s\), now there are 1.*--workers 2"):
        train(tiny(iterations=1), toy, tmp_path)


def test_the_peak_memory_of_a_run_is_recorded(tmp_path, toy):
    train(tiny(iterations=1), toy, tmp_path)
    (record,) = RunFolder(tmp_path).read_metrics()
    assert 50 < record["peak_memory_mb"] < 50_000
    assert peak_memory(device_named("cpu")) >= (record["peak_memory_mb"] - 1) * 1e6


def test_bf16_convolutions_are_near_float32_ones_and_labelled(tmp_path, toy):
    network, params, tasks = problem()
    adaptation = ALGORITHMS["fomaml"].adaptation(TrainConfig("fomaml", "toy", inner_steps=1), network.layer_names)
    exact = ALGORITHMS["fomaml"].meta_gradient(network, params, tasks, adaptation, True, False)
    convolve_in(torch.bfloat16, network)
    rough = ALGORITHMS["fomaml"].meta_gradient(network, params, tasks, adaptation, True, False)
    assert 1e-5 < abs(float(rough.loss - exact.loss)) < 0.3
    assert rough.gradients["conv1.conv.weight"].dtype == torch.float64
    last = train(tiny(iterations=1, precision="bf16"), toy, tmp_path)
    assert (last.provenance["precision"], last.config.precision) == ("bf16", "bf16")
    assert last.params["conv1.conv.weight"].dtype == torch.float32
    for device in ("cpu", "cpu:0"):
        with pytest.raises(MetaprobeError, match=f"tf32 is a mode of CUDA devices; got --device {device}"):
            tiny(precision="tf32", device=device)


def test_exact_float32_puts_the_switches_back():
    before = (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic)
    with exact_float32():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.deterministic
    with exact_float32(but_tf32=True):
        assert torch.backends.cudnn.allow_tf32
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == before
