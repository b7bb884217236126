"""The benchmark of training: everybody does the same work, operations are counted right, and the command runs."""

import importlib.util
import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests import reference_maml, reference_rules
from tests.benchmarks import training
from tests.benchmarks.contender import Contender
from tests.benchmarks.ours import Ours
from tests.benchmarks.peers import PEERS
from tests.benchmarks.results import Row, verdicts
from tests.benchmarks.work import RULES, TESTS, TRAINS, Work

SMALL = {"n_query": 2, "filters": 4, "steps": 3, "tasks": 3, "dtype": "float64"}
VARIANTS = {"stride": 28, "max-pool": 16}


def work_of(kind, downsample):
    return Work(kind, image_size=VARIANTS[downsample], downsample=downsample, **SMALL)


def reference(work):
    """The same by the plain reference: the meta-gradient, or each task's query loss."""
    network, tasks = work.problem()
    params = dict(network.named_parameters())
    head = ("head.weight", "head.bias")
    if work.trains:
        names = head if work.kind == "anil" else tuple(params)
        first_order = work.kind == "fomaml"
        options = (names, work.inner_lr, work.steps, first_order, work.downsample, True)
        return list(reference_maml.meta_gradient(params, tasks, *options)[1].values())
    names = tuple(params) if work.kind == "full" else head
    losses = []
    for task in range(len(tasks)):
        support = tasks.support.images[task], tasks.support.labels[task]
        adapted = reference_maml.adapt(params, *support, names, work.inner_lr, work.steps, True, work.downsample)
        logits = reference_maml.conv4(adapted, tasks.query.images[task], work.downsample)
        losses.append(torch.nn.functional.cross_entropy(logits, tasks.query.labels[task]).detach())
    return losses


@pytest.fixture(scope="module")
def results():
    """What everybody is compared with, computed once: the reference's results; for NIL, which it lacks, ours."""
    return {
        (kind, downsample): ours(work) if kind == "nil" else reference(work)
        for kind in (*TRAINS, *TESTS)
        for downsample in VARIANTS
        for work in (work_of(kind, downsample),)
    }


def ours(work, engine=""):
    contender = Ours(work, engine, threads=1)
    try:
        return contender()
    finally:
        contender.close()


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, its.view_as(mine), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("downsample", VARIANTS)
@pytest.mark.parametrize("kind", [*TRAINS, *TESTS])
@pytest.mark.parametrize("name", PEERS)
def test_peers_do_the_same_work(name, kind, downsample, results):
    if library := PEERS[name].library:
        pytest.importorskip(library)
    contender = PEERS[name](work_of(kind, downsample))
    contender()
    assert_same(contender(), results[kind, downsample])  # the second time as the first


@pytest.mark.parametrize("engine", ["", "unrolled:2", "sweep:1"])
@pytest.mark.parametrize("kind", TRAINS)
def test_ours_does_the_same_work(kind, engine, results):
    for downsample in VARIANTS:
        assert_same(ours(work_of(kind, downsample), engine), results[kind, downsample])


@pytest.mark.parametrize("kind", RULES)
def test_ours_does_the_work_of_a_rule(kind):
    work = Work(kind, image_size=28, **SMALL)
    contender = Ours(work, "sweep:1", threads=1)
    network, tasks = work.problem()
    params = dict(network.named_parameters())
    xi = {name: value for name, value in contender.params.items() if name not in params}
    options = (list(params), work.inner_lr, work.steps, False, work.downsample, True)
    try:
        assert_same(contender(), list(reference_rules.meta_gradient(kind, params, xi, tasks, *options)[1].values()))
    finally:
        contender.close()


def test_rules_are_held_against_plain_maml():
    took = {"maml": 2.0, "meta_kfo": 3.0, "t_nets": 2.2}
    rows = [Row("rules", kind, Contender("ours"), 1, seconds=[seconds] * 2) for kind, seconds in took.items()]
    told = {line[1]: (line[4], line[6]) for line in verdicts(rows)}
    assert told == {"meta_kfo": ("1.50", "no"), "t_nets": ("1.10", "yes")}


@pytest.mark.parametrize("kind", ["full", "frozen"])
def test_ours_tests_the_same_way(kind, results):
    for downsample in VARIANTS:
        assert_same(ours(work_of(kind, downsample)), results[kind, downsample])


@pytest.mark.parametrize("downsample", VARIANTS)
@pytest.mark.parametrize("kind", [*TRAINS, *TESTS])
def test_operations_are_counted_as_torch_counts_them(kind, downsample):
    """But for what torch's derivative of a convolution's derivative computes without need: up to a tenth."""
    work = work_of(kind, downsample)
    contender = PEERS["sequential"](work)
    with FlopCounterMode(display=False) as counter:
        contender()
    counted = counter.get_total_flops()
    assert work.flops <= counted <= 1.1 * work.flops
    if kind in ("fomaml", *TESTS):
        assert counted == pytest.approx(work.flops, rel=1e-3)


def test_the_command_runs_and_lists_what_is_missing(tmp_path, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "learn2learn" else found(name))
    words = "--workloads tiny --work fomaml,frozen --contenders ours,learn2learn,sequential --rounds 2 --threads 1"
    words += " --seconds 0.01"
    training.main([*words.split(), "--json", f"{tmp_path}/all.json", "--tsv", f"{tmp_path}/all.tsv"])
    out = capsys.readouterr().out
    rows = json.loads((tmp_path / "all.json").read_text())["rows"]
    assert [(row["kind"], row["contender"]["name"]) for row in rows] == [
        (kind, name) for kind in ("fomaml", "frozen") for name in ("ours", "learn2learn", "sequential", "matmul")
    ]
    for row in rows:
        if row["contender"]["name"] == "learn2learn":
            assert row["error"] == "not installed" and row["seconds"] == []
        else:
            assert row["error"] is None and len(row["seconds"]) == 2 and min(row["seconds"]) > 0 and row["flops"] > 0
    assert rows[0]["engine"] and rows[0]["engine"] in out
    assert out.count("not installed") == 2 and "GFLOP/s" in out
    assert (tmp_path / "all.tsv").read_text().count("\n") == 1 + len(rows)
