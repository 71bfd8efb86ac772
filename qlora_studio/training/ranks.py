"""The processes that train one job together, one a device.

Each holds the whole model. All of them draw the same batches in the same order; each learns from its share of
a batch's clips, and what they learnt is summed before the optimiser's step. So a job on two devices takes the
same steps as on one, with the same losses; `docs/decisions/0004-several-devices.md` says why it is done so.

The first process does everything else as well: it measures, saves and reports while the others wait.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from qlora_studio.training import models, randomness
from qlora_studio.training.batches import rows_of
from qlora_studio.training.failures import ModelNotUsable, RanksParted

# They wait for the first one's evaluations, however long: the launcher notices who dies, not a clock.
_PATIENCE = timedelta(days=30)


class Ranks:
    """This process's place among those of the job: `rank` of `size`. By default it is alone.

    Args:
        meeting: a file that does not exist yet, by which the processes find one another; no network port.
        device: "cuda" or "cpu"; gradients on CUDA go through NCCL.

    Raises:
        ModelNotUsable: some processes have a CUDA device and some have none.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, *, meeting: Path | None = None, device: str = "cpu"
    ) -> None:
        self.rank = rank
        self.size = size
        self.has_parted = False
        self._gradients: Any = None
        if size == 1:
            return
        assert meeting is not None, "several processes need a place to meet"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine: nothing listens to the network
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
        with _parting():
            store = dist.FileStore(str(meeting), size)  # type: ignore[attr-defined]
            store.set_timeout(_PATIENCE)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_PATIENCE)
            n_cuda = torch.tensor([int(device == "cuda")])
            dist.all_reduce(n_cuda)
            if 0 < n_cuda.item() < size:
                raise ModelNotUsable(f"This job asks for {size} devices and there are {n_cuda.item()}.")
            if device == "cuda":
                self._gradients = dist.new_group(backend="nccl", timeout=_PATIENCE)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.size == 1

    def share(self, batch: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Return this process's rows of a batch, and whether there are any.

        Without any (an epoch's last batch may have fewer clips than there are devices) it is the first row,
        to be counted as nothing: every process does the same work.
        """
        if self.is_alone:
            return batch, True
        n_rows = len(batch["labels"])
        has_rows = self.rank < n_rows
        rows = slice(self.rank, None, self.size) if has_rows else slice(0, 1)
        return rows_of(batch, rows), has_rows

    @contextlib.contextmanager
    def own_randomness(self, seed: int, step: int, part: int) -> Iterator[None]:
        """Inside, dropout and the like differ from process to process.

        It depends on seed, rank, step and part of the step alone, so that a resumed run repeats it; outside,
        all processes go on drawing the same numbers.
        """
        if self.is_alone:
            yield
            return
        name = f"{seed}/{self.rank}/{step}/{part}".encode()
        with randomness.kept():
            models.seed_everything(int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "big"))
            yield

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum the gradients of all processes in place; a missing one counts as zero."""
        if self.is_alone:
            return
        trained = [p for p in parameters if p.requires_grad]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._together([p.grad for p in trained if p.grad is not None], dist.all_reduce)

    def sum_of(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a number over all processes."""
        total = value.detach().clone()
        if not self.is_alone:
            with _parting():
                dist.all_reduce(total, group=self._gradients)
        return total

    def copy_from_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Put the first process's values into these tensors, so that all begin alike."""
        if not self.is_alone:
            self._together(list(tensors), lambda flat, group: dist.broadcast(flat, src=0, group=group))

    def _together(self, tensors: list[torch.Tensor], work: Any) -> None:
        """Do one exchange for all tensors of a type: many small ones take longer than a large one."""
        for kind in sorted({t.dtype for t in tensors}, key=str):
            some = [t for t in tensors if t.dtype == kind]
            flat = torch.cat([t.detach().reshape(-1) for t in some])
            with _parting():
                work(flat, group=self._gradients)
            for tensor, summed in zip(some, flat.split([t.numel() for t in some]), strict=True):
                tensor.detach().copy_(summed.view_as(tensor))

    def agree(self, decision: bool) -> bool:
        """Return the first process's decision, in all of them; they wait for it here."""
        if self.is_alone:
            return decision
        answer = torch.tensor([int(decision)])
        with _parting():
            dist.broadcast(answer, src=0)
        return bool(answer.item())

    def part(self) -> None:
        """End the common work in good order. The first process goes on alone."""
        if not self.is_alone:
            with _parting():
                dist.barrier()
            dist.destroy_process_group()
        self.has_parted = True


ALONE = Ranks()


@contextlib.contextmanager
def _parting() -> Iterator[None]:
    """Whatever the backend says when the others are gone, it means that they are gone."""
    try:
        yield
    except RuntimeError as error:
        raise RanksParted(str(error)) from error
