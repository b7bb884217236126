"""What tests of two stores side by side share: stores of the same tasks, and the one row that is meant."""

import functools

import torch
from torch import nn

from metaprobe import probe
from metaprobe.analyses.compare import compare
from metaprobe.analyses.similarity import measures_named
from tests.captures import ADAPTATION, small_network, some_tasks

pooled = functools.partial(compare, over="tasks")
TASKS = 5
THREE = measures_named(["cca", "cka", "debiased_cka"])
QUICK = {"replicates": 0, "permutations": 0}


def capture(path, seed, tasks=None, network=None, adaptation=ADAPTATION, **options):
    network = network or small_network(seed=seed)
    tasks = some_tasks(TASKS) if tasks is None else tasks
    return probe.capture(network, None, tasks, out=path, adaptation=adaptation, raw=True, **options)


def the(table, **wanted):
    (row,) = [row for row in table.rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return row


class Strided(nn.Module):
    """A convolution whose map is finer one way, and a head."""

    def __init__(self, stride, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(1, 4, 3, stride=stride, padding=1)
            self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean(dim=(2, 3)))


def strided(stride, seed=0):
    return Strided(stride, seed).to(torch.float64)
