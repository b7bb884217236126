"""Chunks of tasks on the cores of one machine: one core a chunk, never several cores an operation."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch
from torch import nn

from metaprobe.trainers.allocator import reserve_for_thread

__all__ = ["TaskWorkers", "one_thread"]

Network = TypeVar("Network", bound=nn.Module)
Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


@contextlib.contextmanager
def one_thread() -> Iterator[int]:
    """Let torch use one thread an operation for the length of the block; yields how many it was allowed before.

    Operations on few-shot tasks are too small to share: beside another busy process two threads an operation were
    measured no faster than one, and once five times slower. One also makes results independent of their number.
    """
    allowed = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield allowed
    finally:
        torch.set_num_threads(allowed)


class TaskWorkers(Generic[Network]):
    """As many workers as torch may use threads, each with its own copy of a network; use it in a `with` block.

    What a worker computes does not depend on how many there are: the same bits come from one core and from ten.
    torch releases Python's lock inside its operations, so threads are enough. On a GPU there is one worker.

    Args:
        network: copied for each worker, since `functional_call` swaps weights in place.

    Attributes:
        network: as given.
        count: workers, known inside the block.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._own = threading.local()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        allowed = self._stack.enter_context(one_thread())
        cards = {parameter.device for parameter in self.network.parameters() if parameter.device.type == "cuda"}
        self.count = 1 if cards else allowed
        self._card = next(iter(cards), None)
        self._ahead = 2 * self.count
        self._pool = ThreadPoolExecutor(self.count, "tasks", initializer=self._begin)
        self._stack.callback(self._pool.shutdown, cancel_futures=True)  # an error or Ctrl-C does not wait for the rest
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def map(self, function: Callable[[Network, Chunk], Result], chunks: Iterable[Chunk]) -> Iterator[Result]:
        """Yield `function(network, chunk)` for each chunk, in the order of the chunks.

        Chunks are drawn as workers come free, two a worker, so that a long stream of them takes little memory.
        """
        pending: deque[Future[Result]] = deque()
        for chunk in chunks:
            pending.append(self._pool.submit(lambda chunk=chunk: function(self._own.network, chunk)))
            if len(pending) > self._ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _begin(self) -> None:
        torch.set_num_threads(1)  # OpenMP keeps the number for each thread apart
        reserve_for_thread()
        if self._card is not None:
            torch.cuda.set_device(self._card)  # which each thread has of its own, too
        self._own.network = copy.deepcopy(self.network)
