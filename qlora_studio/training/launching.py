"""Starting a job's processes, one a device, through accelerate's launcher, and saying how they ended.

The process that the shim started becomes the parent of all of them: they are forked from it, so that they
hold the attempt's lock, are in its process group, and write to its log. When one of them fails, the launcher
ends the others; this process then ends as the failed one did, so that whoever looks sees the true reason.
"""

import contextlib
import ctypes
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

from qlora_studio.contracts.enums import ExitReason, StopMode
from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.storage import atomic
from qlora_studio.training.attempt import give_back_reserve
from qlora_studio.training.events import EventWriter
from qlora_studio.training.following import read_failure

_PR_SET_PDEATHSIG = 1
_MONITOR_EVERY_S = 0.1


def take_card(spec: WorkerSpec, rank: int = 0) -> None:
    """Let this process see its own CUDA device only, before torch looks for any."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = spec.cards or (visible.split(",") if visible is not None else [str(i) for i in range(rank + 1)])
    os.environ["CUDA_VISIBLE_DEVICES"] = cards[rank] if rank < len(cards) else ""


def launch(spec: WorkerSpec) -> int:
    """Run the attempt in `devices` processes; returns the exit status, or dies of the signal that one did.

    Raises:
        OSError: the processes could not be started.
    """
    n_ranks = spec.train.optimization.devices
    folder = spec.attempt_path / "launcher"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _ask_by_file_when_terminated(spec.attempt_path)
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # they meet in a file: no port is opened
    tempfile.tempdir = str(folder)
    try:
        failed = _start_and_wait(spec, n_ranks, folder / "rendezvous")
    finally:
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)
    return _end(spec, n_ranks, failed)


def _start_and_wait(spec: WorkerSpec, n_ranks: int, rendezvous: Path) -> int:
    """Return the exit status of the process that failed first, 0 if none did."""
    from accelerate import notebook_launcher
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # traces of itself, not of ours
    print(f"Starting {n_ranks} processes, one a device", flush=True)
    try:
        with contextlib.redirect_stdout(None):  # it says "CUDA" whatever the devices are
            notebook_launcher(
                _run_rank,
                (spec,),
                num_processes=n_ranks,
                rdzv_backend="c10d",
                rdzv_endpoint=str(rendezvous),
                rdzv_conf={"store_type": "file"},
                rdzv_id=f"{spec.job_id}-{spec.attempt}",
                monitor_interval=_MONITOR_EVERY_S,
            )
    except ChildFailedError as error:
        return next(iter(error.failures.values())).exitcode
    return 0


def _run_rank(spec: WorkerSpec) -> None:
    """One of the processes; never returns with a failure, for the launcher looks at the exit status."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    _die_with_parent()
    # Here SIGTERM comes from the launcher, when another process has failed.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    tempfile.tempdir, sys.stdout = None, sys.__stdout__
    # For the libraries each process is alone with its device: what is common goes through `Ranks`.
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR"):
        os.environ.pop(name, None)
    take_card(spec, rank)
    from qlora_studio.training.__main__ import run_rank

    status = run_rank(spec, rank, size)
    if status:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        os._exit(status)


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _ask_by_file_when_terminated(attempt_path: Path) -> None:
    """Pass SIGTERM on as `stop.json`, which the first process looks for; an earlier wish stays.

    A thread waits for it, because the launcher puts its own handlers in place, which would end everything.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait_and_ask() -> None:
        signal.sigwait({signal.SIGTERM})
        path = attempt_path / "stop.json"
        if not path.exists():
            atomic.write_text(path, json.dumps({"mode": StopMode.SAVE.value}) + "\n")

    threading.Thread(target=wait_and_ask, name="sigterm", daemon=True).start()


def _end(spec: WorkerSpec, n_ranks: int, failed: int) -> int:
    """Say how the attempt ended, from what its processes left."""
    path = spec.attempt_path / "result.json"
    if path.exists():
        reason = ResultFile.model_validate_json(path.read_bytes()).reason
        return 0 if reason in (ExitReason.OK, ExitReason.USER_STOP) else 1
    failure = read_failure(spec.attempt_path, n_ranks)
    if failure is not None:
        give_back_reserve(spec.attempt_path)
        with EventWriter(spec.attempt_path / "events.jsonl") as events:
            events.emit("error", reason=failure.reason, message=failure.message)
            events.emit("finished", reason=failure.reason)
        result = ResultFile(reason=failure.reason, message=failure.message, step=failure.step)
        atomic.write_text(path, result.model_dump_json(indent=2) + "\n")
        return 1
    if failed < 0:
        print(f"error: one of {n_ranks} processes was ended by signal {-failed}", file=sys.stderr, flush=True)
        if -failed != signal.SIGKILL:
            signal.signal(-failed, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {-failed})
        os.kill(os.getpid(), -failed)
    return failed or 1
