"""Workers: order, the same bits whatever their number, thread counts that come back, errors that come through."""

import contextlib
import itertools
import threading
import time

import pytest
import torch
from torch import nn

from metaprobe.trainers.adapt import adapt
from metaprobe.trainers.parallel import TaskWorkers, one_thread
from tests.captures import small_network, some_tasks


@contextlib.contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_chunks():
    def late_first(_, place):
        time.sleep(0.02 * (3 - place) if place < 3 else 0)
        return place

    with threads(3), TaskWorkers(nn.Linear(1, 1)) as workers:
        assert list(workers.map(late_first, range(12))) == list(range(12))
        assert list(workers.map(late_first, ())) == []
        assert list(workers.map(late_first, range(2))) == [0, 1]  # a second time in the same block


def test_as_many_workers_as_threads_work_at_once_each_with_its_own_network_and_one_thread():
    network = nn.Linear(2, 2)
    for count in (1, 3):
        barrier = threading.Barrier(count)

        def meet(own, _, barrier=barrier):
            barrier.wait(timeout=10)
            assert torch.equal(own.weight, network.weight)
            return own, torch.get_num_threads(), threading.get_ident()

        with threads(count), TaskWorkers(network) as workers:
            found = list(workers.map(meet, range(count)))
        assert len({identity for _, _, identity in found}) == count
        assert len({id(own) for own, _, _ in found} | {id(network)}) == count + 1
        assert {used for _, used, _ in found} == {1}


def test_one_thread_and_three_give_the_same_bits():
    network = small_network(dtype=torch.float32)
    params, tasks = dict(network.named_parameters()), some_tasks(6, dtype=torch.float32)

    def adapted(own, chunk):
        return adapt(own, params, chunk.support, inner_lr=0.1, steps=3).params

    found = []
    for count in (1, 3):
        with threads(count), TaskWorkers(network) as workers:
            parts = list(workers.map(adapted, [tasks[i : i + 2] for i in range(0, 6, 2)]))
        found.append({name: torch.cat([part[name] for part in parts]) for name in params})
    assert all(torch.equal(found[0][name], found[1][name]) for name in params)
    alone = [adapted(network, tasks[i : i + 2]) for i in range(0, 6, 2)]  # and the same as without workers
    assert all(torch.equal(found[0][name], torch.cat([part[name] for part in alone])) for name in params)


def test_the_network_outside_is_left_alone():
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()

    def spoil(own, _):
        with torch.no_grad():
            own.weight.zero_()

    with TaskWorkers(network) as workers:
        list(workers.map(spoil, range(3)))
    assert torch.equal(network.weight, before)


class Broken(Exception):
    pass


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_comes_through_and_the_thread_count_comes_back(count):
    done = []

    def fails(_, place):
        if place == 1:
            raise Broken("in chunk 1")
        done.append(place)
        return place

    def run(function, chunks):
        with TaskWorkers(nn.Linear(1, 1)) as workers:
            for result in workers.map(function, chunks):
                assert result == 0
            assert torch.get_num_threads() == 1
            raise Broken("outside")

    with threads(count):  # which looks at the count afterwards
        for function, chunks, told in (
            (fails, range(4), "in chunk 1"),
            (fails, [0, 0], "outside"),
            (fails, broken_source(), "from the chunks"),
        ):
            with pytest.raises(Broken, match=told):
                run(function, chunks)
            assert torch.get_num_threads() == count
    assert 0 in done
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tasks")]


def broken_source():
    yield 0
    raise Broken("from the chunks")


def test_one_thread_nests_and_says_what_was_allowed():
    with threads(3):
        with one_thread() as allowed, one_thread() as inner:
            assert (allowed, inner, torch.get_num_threads()) == (3, 1, 1)
        assert torch.get_num_threads() == 3
        with pytest.raises(Broken), one_thread():
            raise Broken
        assert torch.get_num_threads() == 3


def test_chunks_are_drawn_as_they_are_needed():
    drawn = itertools.count()

    def chunks():
        for _ in range(100):
            yield next(drawn)

    with threads(1), TaskWorkers(nn.Linear(1, 1)) as workers:
        results = workers.map(lambda _, place: place, chunks())
        next(results)
        assert next(drawn) < 20
        results.close()
