"""Two learners timed in turn, by inner steps and stage of training, against a clock that the test holds."""

import dataclasses

import pytest

from metaprobe.analyses.testing import timing
from metaprobe.analyses.testing.step_timing import time_by_steps
from metaprobe.trainers.errors import MetaprobeError
from tests.test_training import tiny

MAML = tiny(iterations=9)
PLUS = dataclasses.replace(MAML, update_rule="lslr", multi_step_loss=5, first_order_until=3)


@pytest.fixture
def seen(monkeypatch):
    """Which meta-gradient was timed, in order; each takes as many seconds as it has inner steps, of MAML++ half."""
    found = []

    def timed(work, device):
        learner = work.func.__self__
        work()
        adaptation = learner._executor.adaptation
        found.append((adaptation.rule, adaptation.steps, adaptation.first_order, bool(adaptation.loss_weights)))
        return adaptation.steps * (0.5 if adaptation.rule == "lslr" else 1.0)

    monkeypatch.setattr(timing, "seconds_of", timed)
    return found


def test_rows_are_medians_over_rounds_and_ratios_of_the_same_round(toy, seen):
    told = []
    table = time_by_steps({"maml": MAML, "plus": PLUS}, toy, (1, 2), rounds=6, advance=told.append)
    rows = {(row.measure, row.learner, row.inner_steps, row.view): row for row in table.rows}
    assert len(rows) == len(table.rows) == 2 * 2 * 3 and sum(told) == 6 * 2 * 2
    for steps in (1, 2):
        for stage in ("first", "last"):
            ratio = rows["iteration_ratio", "plus", steps, stage]
            assert (ratio.value, ratio.low, ratio.high, ratio.n) == (0.5, 0.5, 0.5, 6)
            assert rows["iteration_seconds", "maml", steps, stage].value == steps
            assert "unrolled" in str(ratio.source) or "sweep" in str(ratio.source)
    assert ("iteration_ratio", "maml", 1, "first") not in rows


def test_each_stage_is_the_computation_of_its_iteration_and_takes_turns(toy, seen):
    time_by_steps({"maml": MAML, "plus": PLUS}, toy, (2,), rounds=2)
    first, last = seen[:6], seen[6:]  # a round that warms up, and two
    assert set(first) == {("sgd", 2, False, False), ("lslr", 2, True, True)}
    assert set(last) == {("sgd", 2, False, False), ("lslr", 2, False, False)}
    assert [rule for rule, *_ in first] in (["lslr", "sgd", "sgd", "lslr", "lslr", "sgd"],
                                            ["sgd", "lslr", "lslr", "sgd", "sgd", "lslr"])  # fmt: skip


def test_what_cannot_be_timed_is_told(toy):
    with pytest.raises(MetaprobeError, match="two learners and at least one round; got 1 and 6"):
        time_by_steps({"maml": MAML}, toy, (1,), rounds=6)
    assert timing.median_interval([1.0] * 6) == (1.0, 1.0)
