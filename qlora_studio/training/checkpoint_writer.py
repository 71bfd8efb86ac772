"""Saving checkpoints while the training goes on."""

from concurrent.futures import Future, ThreadPoolExecutor, wait

import psutil

from qlora_studio.storage import checkpoints
from qlora_studio.training.attempt import Attempt
from qlora_studio.training.run_state import RunState
from qlora_studio.training.saving import raise_disk_full
from qlora_studio.training.snapshot import Snapshot
from qlora_studio.training.trainer import StudioSteps

COPY_SHARE = 0.25  # of the free memory; a copy that takes more is not made, and the training waits


class CheckpointWriter:
    """Copies a step's state in the step, and leaves writing, syncing and hashing to a thread.

    One save is under way at a time; the next waits for it. A checkpoint counts, and is announced, once it is
    whole: nothing sees it before. What goes wrong in the thread is raised by the next call of any method here
    but `settle`.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None
        self._has_told = False

    def save(self, trainer: StudioSteps, state: RunState, step: int) -> None:
        """Begin to save the checkpoint of a step.

        Raises:
            DiskFull: this save, or the one before, found no space; older checkpoints are untouched.
        """
        self.wait()
        snapshot, run = Snapshot(trainer), state.to_json()
        protect = -1 if state.best_step is None else state.best_step
        if snapshot.n_bytes > COPY_SHARE * psutil.virtual_memory().available:
            self._tell_once()
            self._write(snapshot, run, step, protect)
            return
        snapshot.copy()
        self._under_way = self._thread.submit(self._write, snapshot, run, step, protect)

    def wait(self) -> None:
        """Wait until the save under way is whole.

        Raises:
            DiskFull: it found no space.
        """
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()

    def settle(self) -> None:
        """Wait until nothing is under way; what went wrong is raised later."""
        if self._under_way is not None:
            wait([self._under_way])

    def raise_if_failed(self) -> None:
        """Raise what the last save ran into, if it is over.

        Raises:
            DiskFull: it found no space.
        """
        if self._under_way is not None and self._under_way.done():
            self.wait()

    def _write(self, snapshot: Snapshot, run: dict[str, object], step: int, protect: int) -> None:
        state: dict[str, object] = {"run": run}
        try:
            path, size = checkpoints.save(
                self._attempt.checkpoints_path,
                step=step,
                fill=lambda folder: state.update(trainer=snapshot.fill(folder)),
                state=state,
                protect=protect,
            )
        except Exception as error:
            raise_disk_full(error, self._attempt, needed=snapshot.n_bytes)
            raise
        self._attempt.events.emit("checkpoint", step=step, name=path.name, size_bytes=size)

    def _tell_once(self) -> None:
        if not self._has_told:
            print("There is little memory: the training waits while a checkpoint is written.", flush=True)
            self._has_told = True
