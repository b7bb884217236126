"""Full-context embeddings of matching networks: against torch's own LSTMs in float64, and from training to a probe."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metaprobe.analyses.freezing import TestPlan, freeze
from metaprobe.analyses.testing.accuracy import accuracy_of
from metaprobe.analyses.weight_distance import weight_distance
from metaprobe.probe import open_store
from metaprobe.probe.capturing.from_checkpoint import capture_checkpoint
from metaprobe.probe.inspection.diff import diff_files
from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.probe.inspection.views import inspection_grids
from metaprobe.trainers.algorithms import ALGORITHMS, check_options
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.networks.full_context import full_context
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.rule_parameters import begin_rule
from metaprobe.trainers.run import RunFolder
from tests.reference_networks import features
from tests.test_meta_gradients import TOLERANCE, problem, worst
from tests.test_training import tiny

MATCHING, READS = ALGORITHMS["matching"], 4
PLAN = TestPlan(tasks=3, n_query=2, per_task=True)


def case(norm="transductive", downsample="max-pool"):
    """A network and its embeddings away from their drawn weights, tasks, and how it adapts."""
    network, params, tasks = problem(downsample, norm)
    config = TrainConfig("matching", "toy", n_way=3, n_shot=2, fce=True, fce_steps=READS)
    adaptation = MATCHING.adaptation(config, network.layer_names)
    generator = torch.Generator().manual_seed(7)
    own = {
        name: (1.5 * value + 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)).requires_grad_()
        for name, value in begin_rule(network, adaptation, config).items()
    }
    return network, {**params, **own}, tasks, adaptation


def filled(module, values):
    """A module of torch's in float64, its weights those given in order, none a copy."""
    names = [name for name, _ in module.named_parameters()]
    return lambda *inputs: torch.func.functional_call(module, dict(zip(names, values, strict=True)), inputs)


def in_context(params, support, query):
    """g and f of one task, by torch's bidirectional LSTM and its LSTM cell, one query at a time."""
    width = support.shape[1]
    own = {name.removeprefix("fce."): value for name, value in params.items() if name.startswith("fce.")}
    none = torch.zeros(4 * width, dtype=torch.float64)  # torch has a second bias
    parts = ("input.weight", "state.weight", "bias")
    both = [value for way in ("forward", "backward") for value in (*(own[f"{way}.{part}"] for part in parts), none)]
    lstm = filled(nn.LSTM(width, width, bidirectional=True).double(), both)
    known = support + lstm(support)[0].unflatten(1, (2, width)).sum(1)
    cell = filled(nn.LSTMCell(2 * width, width).double(), [*(own[f"read.{part}"] for part in parts), none])
    found = []
    for x in query:
        h, c = torch.zeros_like(x), torch.zeros_like(x)
        for _ in range(READS):
            scores = torch.stack([h @ g for g in known])
            shares = torch.softmax(scores, 0)
            read = torch.stack([share * g for share, g in zip(shares, known, strict=True)]).sum(0)
            made, c = cell(torch.cat([x, read]), (h, c))
            h = made + x
        found.append(h)
    return known, torch.stack(found)


@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
def test_embeddings_loss_and_gradient_equal_torchs_lstms(norm):
    network, params, tasks, adaptation = case(norm)
    ours = MATCHING.meta_gradient(network, params, tasks, adaptation, norm == "transductive", False)
    loss = torch.zeros((), dtype=torch.float64)
    for task in range(len(tasks)):
        support, query = tasks.support.images[task], tasks.query.images[task]
        known = features(params, support, "max-pool")
        both = torch.cat([support, query])
        asked = features(params, both, "max-pool", len(support))[len(support) :]
        asked = features(params, query, "max-pool") if norm == "transductive" else asked
        g, f = in_context(params, known, asked)
        mine = full_context(params, known[None], asked[None], READS)
        for made, wanted in zip(mine, (g, f), strict=True):
            torch.testing.assert_close(made[0], wanted, rtol=0, atol=1e-12)
        assert min(float((a - b).detach().abs().max()) for a, b in ((g, known), (f, asked))) > 0.1
        cosines = F.cosine_similarity(f[:, None], g[None], dim=2)
        logits = torch.stack([cosines[:, tasks.support.labels[task] == way].sum(1) for way in range(3)], dim=1)
        loss = loss + F.cross_entropy(logits, tasks.query.labels[task])
    names = [name for name in params if not name.startswith("head.")]
    theirs = dict(zip(names, torch.autograd.grad(loss, [params[name] for name in names]), strict=True))
    assert float(ours.loss) == pytest.approx(float(loss.detach()), abs=TOLERANCE)
    assert set(ours.gradients) == set(names)
    assert worst(ours.gradients, theirs) < TOLERANCE
    assert min(float(theirs[name].abs().max()) for name in names if name.startswith("fce.")) > 1e-6


def test_the_order_of_the_support_set_counts_and_that_of_the_queries_does_not():
    _, params, _, _ = case()
    support, query = torch.randn(2, 3, 6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    known, asked = full_context(params, support, query, READS)
    turned, other = full_context(params, support.flip(1), query, READS)
    assert float((turned.flip(1) - known).detach().abs().max()) > 1e-3
    assert float((other - asked).detach().abs().max()) > 1e-4
    torch.testing.assert_close(full_context(params, support, query.flip(1), READS)[1].flip(1), asked)


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("fce") / "run")
    train(dataclasses.replace(tiny(), algorithm="matching", fce=True), toy, folder.path)
    return folder


def test_embeddings_are_trained_kept_and_shown(run):
    start, last = (load_checkpoint(run.checkpoint(which)) for which in ("start", "last"))
    assert last.adaptation.fce_steps == 3
    assert all(not torch.equal(last.rule[name], start.rule[name]) for name in last.rule)
    assert {name.split(".")[1] for name in last.rule} == {"forward", "backward", "read"}
    assert last.untrained().fingerprint == start.fingerprint  # what is drawn is drawn again
    rows = {row[0]: row[1] for row in inspection_grids(inspect_file(run.checkpoint("last")))[0].rows}
    assert rows["parameters"] == sum(value.numel() for value in last.params.values())
    assert rows["numbers of its full-context embeddings"] == sum(value.numel() for value in last.rule.values())
    difference = diff_files(run.checkpoint("start"), run.checkpoint("last"))
    assert {"fce.forward", "fce.backward", "fce.read"} <= {layer.name for layer in difference.layers if layer.different}


def test_tests_compare_what_training_compared_and_probes_see_the_network(run, toy, tmp_path):
    last = load_checkpoint(run.checkpoint("last"))
    plain = dataclasses.replace(last, rule={}, adaptation=dataclasses.replace(last.adaptation, fce_steps=0))
    own, other = ([row.value for row in accuracy_of(one, toy, PLAN, head="matching").rows] for one in (last, plain))
    assert own != other
    for head in ("own", "nil"):  # which read features
        assert (
            accuracy_of(last, toy, PLAN, head=head).rows[1].value
            == accuracy_of(plain, toy, PLAN, head=head).rows[1].value
        )
    assert accuracy_of(last, toy, dataclasses.replace(PLAN, norm="one-query"), head="matching").rows[0].n == 3
    assert {row.algorithm for row in freeze(run.checkpoint("last"), toy, PLAN, nil_head=True).rows} == {
        "matching",
        "random",
    }
    moved = {
        row.layer: row.value for row in weight_distance(run.checkpoint("last"), toy, PLAN).rows if row.task is None
    }
    assert set(moved) >= {"conv1", "head"} and moved["conv1"] == 0
    with open_store(capture_checkpoint(run.checkpoint("last"), toy, tmp_path / "a.h5", tasks=2, n_query=2)) as store:
        assert store.layers == last.network().layer_names


def test_a_run_that_breaks_off_ends_with_the_same_bytes(run, toy, tmp_path):
    config = run.read_config()
    folder, append = RunFolder(tmp_path / "run"), RunFolder.append_metrics

    def killed(self, record):
        if record["iteration"] == 2:
            raise KeyboardInterrupt
        append(self, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, toy, folder.path)
    train(config, toy, folder.path)
    assert folder.checkpoint("last").read_bytes() == run.checkpoint("last").read_bytes()


def test_what_has_no_such_embeddings_refuses_them(run, tmp_path):
    with pytest.raises(MetaprobeError, match="--fce is an option of matching; nil has none"):
        check_options(ALGORITHMS["nil"], TrainConfig("nil", "toy", fce=True))
    with pytest.raises(MetaprobeError, match="--fce-steps 2 is of full-context embeddings; add --fce"):
        TrainConfig("matching", "toy", fce_steps=2)
    with pytest.raises(MetaprobeError, match="--fce-steps must be at least 1"):
        TrainConfig("matching", "toy", fce=True, fce_steps=0)
    last = load_checkpoint(run.checkpoint("last"))
    lacking = {name: value for name, value in last.rule.items() if name != "fce.read.bias"}
    save_checkpoint(tmp_path / "a.safetensors", dataclasses.replace(last, rule=lacking))
    with pytest.raises(UnreadableInput, match=r"full-context embeddings is incomplete: fce.read.bias is not there"):
        load_checkpoint(tmp_path / "a.safetensors")
