"""Measures put to the test on learners: numbers done again by hooks of our own, and measures that must fail."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch

from metaprobe.analyses.freezing import TestPlan
from metaprobe.analyses.known_answers import QUESTIONS, known_answers
from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.probe.cli import main
from metaprobe.trainers.adapt import adapt, query_logits
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.interval_coverage import interval_of
from tests.reference_measures import REFERENCES
from tests.test_dissimilarity import LAYERS, patterns_of
from tests.test_weight_distance import IMAGESET, NETWORK, written

PLAN = TestPlan(tasks=12, n_query=14, seed=4, chunk=5)
NAMES = [question.name for question in QUESTIONS]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return written(tmp_path_factory.mktemp("known") / "a.safetensors")[0]


@pytest.fixture(scope="module")
def answers(path):
    return known_answers(path, IMAGESET, PLAN)


@pytest.fixture(scope="module")
def maps(path):
    """Maps of every task before adaptation, after one step and after ten, by layer."""
    params = dict(build_network(NETWORK, 6).named_parameters())
    network, sampler, found = build_network(NETWORK, 0), EpisodeSampler(IMAGESET, "test", 3, 2, 14, 4), []
    for task in range(PLAN.tasks):
        tasks = sampler.batch([task])
        found.append([maps_of(network, params, tasks)])
        for steps in (1, 10):
            after = adapt(network, params, tasks.support, inner_lr=0.3, steps=steps).params
            found[-1].append(maps_of(network, after, tasks))
    return found


def maps_of(network, params, tasks):
    sizes = {"conv1": 4, "conv2": 2, "conv3": 1, "conv4": 1}
    flat = patterns_of(network, params, tasks)
    return {name: flat[name].reshape(len(flat[name]), 4, sizes[name], sizes[name]) for name in LAYERS}


def rows(block):
    return block.transpose(0, 2, 3, 1).reshape(-1, block.shape[1]).astype(np.float64)


def one(answers, question, measure):
    (found,) = [found for found in answers if (found.question, found.measure) == (question, measure)]
    return found


@pytest.mark.parametrize("name", ["linear_cka", "gulp", "debiased_rbf_cka"])
def test_more_steps_are_compared_by_the_interval_of_the_paired_difference(answers, maps, name):
    of_images = MEASURES[name].needs == "images"
    values = []
    for before, *after in maps:
        shape = (lambda block: block.reshape(len(block), -1).astype(np.float64)) if of_images else rows
        values.append([REFERENCES[name](shape(before["conv4"]), shape(late["conv4"])) for late in after])
    first, second = np.array(values).T
    found = one(answers, "more inner steps", name)
    assert (found.first, found.second) == pytest.approx((first.mean(), second.mean()), abs=2e-4)
    apart = first - second
    half = interval_of(apart, (-np.inf, np.inf))
    assert (found.low, found.high) == pytest.approx(half, abs=2e-3)
    assert (found.difference, found.tasks) == (pytest.approx(apart.mean(), abs=2e-4), PLAN.tasks)
    low, high = (found.low, found.high) if MEASURES[name].higher_is_more_similar else (-found.high, -found.low)
    assert found.result == ("passed" if low > 1e-5 else "failed" if high < 0 else "undecided")


def test_neighbours_are_the_mean_over_layers_the_coarser_map_repeated(answers, maps):
    size = {name: maps[0][0][name].shape[-1] for name in LAYERS}

    def alike(before, x, y):
        times = size[x] // size[y]
        coarse = before[y].repeat(times, axis=2).repeat(times, axis=3)
        return REFERENCES["linear_cka"](rows(before[x]), rows(coarse))

    pairs = [("conv1", "conv2", "conv3"), ("conv2", "conv3", "conv4")]
    found = one(answers, "neighbour layers", "linear_cka")
    for number, place in ((found.first, 1), (found.second, 2)):
        expected = [np.mean([alike(before, three[0], three[place]) for three in pairs]) for before, *_ in maps]
        assert number == pytest.approx(np.mean(expected), abs=1e-5)


def test_what_is_the_same_in_two_questions_is_the_same_number(answers):
    for name in MEASURES:
        asked = {question: one(answers, question, name) for question in NAMES}
        assert asked["more inner steps"].second == asked["exchanged images"].first == asked["permuted units"].second
        assert asked["exchanged images"].second == asked["shuffled labels"].second
        defined = [found for found in asked.values() if found.result != "undefined"]
        assert all(found.low <= found.difference <= found.high for found in defined)
        assert asked["permuted units"].result in ("passed", "undefined")
        assert asked["exchanged images"].result in ("passed", "undefined")
    assert [found.question for found in answers[:: len(MEASURES)]] == NAMES


def spectrum(pair):
    """The same for images in any order."""
    x, y = (np.linalg.svd(side.raw, compute_uv=False) for side in (pair.x, pair.y))
    size = min(len(x), len(y))
    return pair.defined(min(1.0, float(x[:size] @ y[:size] / (np.linalg.norm(x) * np.linalg.norm(y)))))


def in_place(pair):
    """Another one for units in another order."""
    size = min(pair.x.live, pair.y.live)
    return pair.defined(float(np.diag(pair.product(pair.x.unit, pair.y.unit))[:size].mean()))


def upside_down(pair):
    """A distance that calls itself a similarity."""
    return pair.defined(1 - MEASURES["linear_cka"].compute(pair).value)


@pytest.mark.parametrize(
    ("compute", "question"),
    [(spectrum, "exchanged images"), (in_place, "permuted units"), (upside_down, "exchanged images")],
)
def test_a_wrong_measure_fails_the_question_that_is_meant_for_it(path, compute, question):
    right = MEASURES["linear_cka"]
    answers = known_answers(path, IMAGESET, PLAN, [dataclasses.replace(right, name="wrong", compute=compute), right])
    assert one(answers, question, "wrong").result == "failed"
    assert one(answers, question, "linear_cka").result == "passed"
    others = {found.question: found.result for found in answers if found.measure == "wrong"}
    assert others["permuted units"] == ("failed" if compute is in_place else "passed")


def test_the_same_weights_with_permuted_units_are_what_permuted_activations_stand_for():
    params = {name: value.detach() for name, value in build_network(NETWORK, 6).named_parameters()}
    order = torch.tensor([2, 0, 3, 1])
    turned = {name: value[order] if name.startswith("conv4.") else value for name, value in params.items()}
    turned["head.weight"] = params["head.weight"].reshape(3, 4, -1)[:, order].reshape(3, -1)
    network, tasks = build_network(NETWORK, 0), EpisodeSampler(IMAGESET, "test", 3, 2, 14, 4).batch([0])
    found = []
    for start in (params, turned):
        after = adapt(network, start, tasks.support, inner_lr=0.3, steps=10).params
        found.append((maps_of(network, start, tasks)["conv4"], maps_of(network, after, tasks)["conv4"]))
        with torch.no_grad():
            found[-1] += (query_logits(network, after, tasks.support, tasks.query, transductive=True).numpy(),)
    (before, after, logits), (_, permuted, same) = found
    assert permuted == pytest.approx(after[:, order.numpy()], abs=1e-4) and same == pytest.approx(logits, abs=1e-3)
    for name, measure in MEASURES.items():
        shape = (lambda block: block.reshape(len(block), -1)) if measure.needs == "images" else rows
        own, other = (measure.function(shape(before), shape(block)).value for block in (after, permuted))
        assert other == pytest.approx(own, abs=1e-3), name


def test_what_is_not_defined_or_not_decided_says_why(path):
    few = dataclasses.replace(PLAN, tasks=2, n_query=2)
    answers = known_answers(path, IMAGESET, few)
    found = one(answers, "more inner steps", "mutual_knn")
    assert (found.result, found.first, found.low) == ("undefined", None, None)
    assert found.reason == "2 of 2 tasks have none: 6 samples are too few, mutual_knn needs at least 21"
    alone = known_answers(path, IMAGESET, dataclasses.replace(PLAN, tasks=1), [MEASURES["linear_cka"]])
    assert {found.reason for found in alone} == {"one task has no interval"}
    assert {found.result for found in alone} == {"undecided"} and all(found.low is None for found in alone)


def test_a_learner_whose_head_alone_adapts_is_asked_about_its_head(tmp_path):
    head = written(tmp_path / "a.safetensors", layers=("head",))[0]
    found = known_answers(head, IMAGESET, PLAN, [MEASURES["linear_cka"]])
    assert one(found, "more inner steps", "linear_cka").first < 1
    assert one(found, "exchanged images", "linear_cka").result == "passed"


def test_the_command_trains_a_learner_and_tells(capsys, tmp_path):
    """Some seconds of training, twelve tasks: no measure says the contrary of what is known."""
    table = tmp_path / "known.csv"
    words = ["list", "measures", "--known-answers", "--tasks", "12"]
    assert main([*words, "--csv", str(table), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told) == len(MEASURES) * len(QUESTIONS) and {one["tasks"] for one in told} == {12}
    assert "failed" not in {one["result"] for one in told} and not [one for one in told if one["result"] == "undefined"]
    assert sum(one["result"] == "passed" for one in told) > 0.8 * len(told)
    with open(table, newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["result"] for row in read] == [one["result"] for one in told] and list(read[0]) == list(told[0])
    assert float(read[0]["first"]) == told[0]["first"]


def test_the_command_says_what_its_options_belong_to(capsys):
    assert main(["list", "algorithms", "--known-answers"]) == 2
    assert "--known-answers tests measures, not algorithms" in capsys.readouterr().err
    for words in (["--tasks", "3"], ["--csv", "a.csv"], ["--checkpoint", "a.safetensors"], ["--data-root", "."]):
        assert main(["list", "measures", *words]) == 2
        assert f"{words[0]} goes with `metaprobe list measures --known-answers`" in capsys.readouterr().err


def test_the_list_tells_other_names_and_what_is_alike(capsys):
    assert main(["list", "measures", "--json"]) == 0
    told = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert told["linear_cka"]["also"] == "cka, rv" and told["procrustes"]["also"] == "bures"
    assert (told["gulp"]["range"], told["gulp"]["alike"], told["cknna"]["needs"]) == ("0 … ∞", "0", "images")
    assert all(row["summary"] for row in told.values()) and list(told) == list(MEASURES)
