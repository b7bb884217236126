"""The processes that share a meta-batch, by torchrun's conventions; the only place that knows torch.distributed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from metaprobe.trainers.device import device_named
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.torchrun import LOST_STATUS, end_with_launcher, launched, place_here

__all__ = ["TIMEOUT", "RankLost", "Ranks"]

TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for another: far more than their shares of the work differ by. An end is noticed at once."""


class RankLost(MetaprobeError):
    """Another rank ended or hangs, so that no work can be shared any more (exit status 1)."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        if launched():
            self.exit_code = LOST_STATUS  # the launcher shows the words of the rank that failed first, and returns 1


class Ranks:
    """This process among those that share a run's tasks; use it in a `with` block.

    All ranks must call `sum`, `gather`, `any` and `broadcast` in the same order: each is a meeting point of all, and
    raises `RankLost` when one does not come. One rank alone meets nobody and imports no torch.distributed.

    Args:
        rank: which one this is, from 0.
        size: how many there are.
        device: where the tensors of `sum` travel from: a CPU (by gloo) or a GPU of this rank's own (by nccl).
        neighbours: how many ranks share this machine, this one included.
    """

    def __init__(self, rank: int, size: int, device: torch.device, neighbours: int = 1) -> None:
        self.rank, self.size, self.device, self.neighbours = rank, size, device, neighbours

    @classmethod
    def here(cls, device: str = "cpu") -> Self:
        """Read torchrun's environment variables; without RANK and WORLD_SIZE this is the only rank.

        Args:
            device: as `--device` names it; with "cuda" each of several ranks takes the GPU of its LOCAL_RANK.

        Raises:
            MetaprobeError: a variable is wrong, or there is no such device for this rank.
        """
        place, named = place_here(), device_named(device)
        if place.size > 1 and named.type == "cuda":
            if named.index is not None:
                raise MetaprobeError(
                    f"--device {device} is one GPU, and each of {place.size} ranks needs one; say cuda"
                )
            named = device_named(f"cuda:{place.local}")
        return cls(place.rank, place.size, named, place.neighbours)

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, the one that writes files and shows progress."""
        return self.rank == 0

    def __enter__(self) -> Self:
        end_with_launcher()
        if self.size == 1:
            return self
        import torch.distributed as dist

        # Whose functions hold the group, as a default, that there is when they are first imported, which torch.optim
        # does: it would outlive `__exit__`, and its threads would now and then abort the process as Python ends.
        import torch.distributed.nn.functional

        backend = "gloo"
        if self.device.type == "cuda":
            # What is on the CPU still travels by gloo, which notices at once that a rank ended. A failure of nccl comes
            # as an exception; without this variable its watchdog kills the process.
            backend = "cpu:gloo,cuda:nccl"
            os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
            torch.cuda.set_device(self.device)
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        with self._noticing(f"could not meet the others at {where}"):
            dist.init_process_group(backend, rank=self.rank, world_size=self.size, timeout=TIMEOUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size == 1:
            return
        import torch.distributed as dist

        if error is not None and self.device.type == "cuda" and dist.group.WORLD is not None:
            dist.group.WORLD.abort()  # nccl's orderly end waits for all ranks
        else:
            dist.destroy_process_group()

    def slice_of(self, count: int) -> range:
        """Return which of `count` tasks are this rank's: neighbours, and one more or less than another's at most.

        Raises:
            MetaprobeError: there are fewer tasks than ranks.
        """
        if count < self.size:
            told = f"{count} task{'s' * (count > 1)} cannot be shared by {self.size} ranks, each of which needs one"
            raise MetaprobeError(f"{told}; start fewer ranks, or ask for more tasks (--meta-batch, --val-tasks)")
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Add each tensor up over the ranks, in the order of the ranks: all get the same bits, in every run.

        Args:
            tensors: of any shapes and dtypes, the same on every rank; they travel together as one message.

        Returns:
            The sums, each where its tensor was; with one rank the tensors themselves.
        """
        if self.size == 1:
            return list(tensors)
        # As bytes, so that a loss in double precision travels with gradients in single precision.
        parts = [tensor.detach().to(self.device).reshape(-1).view(torch.uint8) for tensor in tensors]
        if self.device.type == "cuda":
            self.any(False)  # gloo tells of a rank that ended; nccl would wait for it
        rows = [row.split([part.numel() for part in parts]) for row in self._exchange(torch.cat(parts))]
        return [_added(column, tensor) for *column, tensor in zip(*rows, tensors, strict=True)]

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Join the ranks' parts of an array along its last axis, in the order of the ranks.

        Args:
            array: this rank's (k, tasks of this rank) float64; ranks may have unequal numbers of tasks.

        Returns:
            The whole (k, tasks), on every rank.
        """
        if self.size == 1:
            return array
        parts = self._exchange_bytes(np.asarray(array, np.float64).tobytes())
        return np.concatenate([np.frombuffer(part).reshape(len(array), -1) for part in parts], axis=-1)

    def any(self, flag: bool) -> bool:
        """Tell every rank alike whether the flag is set on one of them."""
        if self.size == 1:
            return flag
        return any(row.item() for row in self._exchange(torch.tensor([flag], dtype=torch.uint8)))

    def broadcast(self, text: str) -> str:
        """Return rank 0's text on every rank, once all of them have come here."""
        if self.size == 1:
            return text
        return self._exchange_bytes(text.encode() if self.leads else b"")[0].decode()

    def _exchange_bytes(self, content: bytes) -> list[bytes]:
        lengths = [int(row) for row in self._exchange(torch.tensor([len(content)]))]
        padded = np.frombuffer(content.ljust(max(*lengths, 1), b"\0"), np.uint8)
        rows = self._exchange(torch.from_numpy(padded.copy()))
        return [row[:length].numpy().tobytes() for row, length in zip(rows, lengths, strict=True)]

    def _exchange(self, row: Tensor) -> list[Tensor]:
        """Return what each rank gave: vectors of one length."""
        import torch.distributed as dist

        rows = [torch.empty_like(row) for _ in range(self.size)]
        with self._noticing(f"lost another: it ended, or did not answer for {TIMEOUT.total_seconds() / 60:g} minutes"):
            dist.all_gather(rows, row)
        return rows

    @contextlib.contextmanager
    def _noticing(self, what: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # all that torch.distributed raises when a connection fails is one
            told = f"rank {self.rank} of {self.size} {what}; the same command goes on from what was last saved"
            raise RankLost(told) from error


def _added(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    total, *others = (
        part.clone().view(like.dtype) for part in parts
    )  # cloned: a part may begin where its dtype cannot
    for other in others:
        total += other
    return total.reshape(like.shape).to(like.device)
