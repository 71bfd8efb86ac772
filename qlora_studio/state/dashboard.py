"""The dashboard: counts, jobs under way, the machine, what happened last, and the next step."""

import asyncio
from dataclasses import dataclass
from typing import Any

import reflex as rx

from qlora_studio.contracts.enums import ACTIVE_STATUSES, JobStatus, Role
from qlora_studio.core import devices
from qlora_studio.db import engine as db
from qlora_studio.db.models.audit import AuditEvent
from qlora_studio.db.models.user import User
from qlora_studio.jobs import metrics, queue
from qlora_studio.services import audit, datasets, jobs, models, overview, system
from qlora_studio.services.job_schemas import JobView, percent_of
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.charts import sparkline_path
from qlora_studio.state.watching import Watch
from qlora_studio.storage import layout

_LIVE = (*ACTIVE_STATUSES, JobStatus.QUEUED)
_VERBS = {
    "create": "added", "update": "changed", "delete": "deleted", "register": "added", "submit": "launched",
    "stop": "stopped", "resume": "resumed", "clone": "cloned", "ingest": "took in", "check": "checked",
    "log_in": "signed in", "log_out": "signed out", "finish": "finished", "download": "downloaded",
}  # fmt: skip
_ICONS = {
    "dataset": "audio-lines",
    "model": "box",
    "job": "chart-spline",
    "adapter": "layers",
    "user": "user",
}


@dataclass(frozen=True)
class LiveJob:
    """A job that waits or runs."""

    id: str
    name: str
    what: str
    status: str
    percent: float
    is_running: bool
    progress: str
    left: str
    headline: str
    spark: str


@dataclass(frozen=True)
class Activity:
    """One line of what happened."""

    id: str
    icon: str
    text: str
    name: str
    href: str
    relative: str
    exact: str


@dataclass(frozen=True)
class Meter:
    """One bar of the machine panel."""

    name: str
    text: str
    percent: float


@dataclass(frozen=True)
class Overview:
    """Everything that the page shows, read in one go."""

    counts: dict[str, str]
    hints: dict[str, str]
    live: list[LiveJob]
    activity: list[Activity]
    meters: list[Meter]
    machine: str
    queue: str
    has_dataset: bool
    has_model: bool
    has_job: bool
    is_dataset_busy: bool
    is_moving: bool
    train_href: str


class DashboardState(rx.State):
    """Refreshed by a background loop while the page is open."""

    _watch_id: int = 0
    counts: dict[str, str] = {}
    hints: dict[str, str] = {}
    live: list[LiveJob] = []
    activity: list[Activity] = []
    meters: list[Meter] = []
    machine: str = ""
    queue: str = ""
    has_dataset: bool = False
    has_model: bool = False
    has_job: bool = False
    is_dataset_busy: bool = False
    is_loading: bool = True
    is_adding_dataset: bool = False
    is_adding_model: bool = False
    train_href: str = "/training/new"

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show everything as it is now."""
        self._show(await asyncio.to_thread(_read, actor))

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Keep the page true: each second while something moves, each four seconds otherwise."""
        watch = Watch(self)
        await watch.take_over()
        is_moving = True
        while await watch.goes_on(every_s=1.0 if is_moving else 4.0):
            found = await asyncio.to_thread(_read, actor)
            is_moving = found.is_moving
            async with self:
                if watch.is_newest:
                    self._show(found)

    @rx.event
    @authorized(Role.TRAINER)
    async def add_example_dataset(self, actor: User):
        """Add the embedded recordings."""
        self.is_adding_dataset = True
        yield
        try:
            await asyncio.to_thread(_add_example_dataset, actor)
        finally:
            self.is_adding_dataset = False
        self._show(await asyncio.to_thread(_read, actor))
        yield rx.toast.success("The example dataset is being taken in")

    @rx.event
    @authorized(Role.TRAINER)
    async def add_starter_model(self, actor: User):
        """Add the embedded model."""
        self.is_adding_model = True
        yield
        try:
            await asyncio.to_thread(_add_starter_model, actor)
        finally:
            self.is_adding_model = False
        self._show(await asyncio.to_thread(_read, actor))
        yield rx.toast.success("The starter model is ready")

    def _show(self, found: Overview) -> None:
        for name in _SHOWN:
            if getattr(self, name) != getattr(found, name):  # only what changed travels to the page
                setattr(self, name, getattr(found, name))
        self.is_loading = False


_SHOWN = (
    "counts", "hints", "live", "activity", "meters", "machine", "queue",
    "has_dataset", "has_model", "has_job", "is_dataset_busy", "train_href",
)  # fmt: skip


def _add_example_dataset(actor: User) -> None:
    with db.write() as session:
        datasets.add_example(session, actor=actor)


def _add_starter_model(actor: User) -> None:
    with db.write() as session:
        models.add_starter(session, actor=actor)


def _read(actor: User) -> Overview:
    with db.read() as session:
        counts = overview.count_all(session, actor=actor)
        live, _ = jobs.list_jobs(session, actor=actor, statuses=_LIVE, sort="created_at", page_size=6)
        events = [e for e in audit.recent(session, actor=actor, limit=30) if _is_telling(e)][:8]
        n_running, n_queued = system.count_queue(session)
        is_paused = queue.read_state(session).is_paused
        mine = datasets.list_datasets(session, actor=actor, page_size=1)[0]
        bases = models.list_models(session, actor=actor, page_size=1)[0]
    machine = system.read_machine()
    succeeded = counts.jobs.get(JobStatus.SUCCEEDED, 0)
    first = [f"dataset={d.id}" for d in mine[:1]] + [f"model={m.id}" for m in bases[:1]]
    return Overview(
        counts={
            "datasets": formats.count(counts.n_datasets),
            "models": formats.count(counts.n_models),
            "jobs": formats.count(counts.n_jobs),
            "adapters": formats.count(counts.n_adapters),
        },
        hints={
            "datasets": f"{formats.count(counts.n_clips, 'clip')}, {formats.hours(counts.audio_s)} of audio",
            "models": f"{counts.n_ready_models} ready to train",
            "jobs": f"{counts.n_active_jobs} under way, {succeeded} succeeded",
            "adapters": "from finished jobs",
        },
        live=[_live_job(view) for view in live],
        activity=[_activity(event) for event in events],
        meters=_meters(machine),
        machine=machine.gpus[0].name if machine.gpus else machine.cpu_name,
        queue=f"{n_running} running, {n_queued} waiting, "
        + ("paused" if is_paused else formats.count(devices.count_slots(), "slot")),
        has_dataset=counts.n_ready_datasets > 0,
        has_model=counts.n_ready_models > 0,
        has_job=counts.n_jobs > 0,
        is_dataset_busy=counts.n_processing_datasets > 0,
        is_moving=counts.n_active_jobs > 0 or counts.n_processing_datasets > 0,
        train_href="/training/new" + (f"?{'&'.join(first)}" if first else ""),
    )


def _live_job(view: JobView) -> LiveJob:
    job = view.job
    series = metrics.query(layout.run_path(job.id) / "metrics", ["loss"], max_points=160).get("loss")
    values: list[Any] = list(series.value) if series is not None else []
    loss = job.last_metrics.get("loss")
    is_running = job.status in ACTIVE_STATUSES
    steps = f"Step {job.step:,} of {job.total_steps:,}" if job.total_steps else job.phase or "Getting ready"
    place = f"Number {view.queue_position} in the queue" if view.queue_position else steps
    return LiveJob(
        id=job.id,
        name=job.name,
        what=f"{view.model_name} on {view.dataset_name}",
        status=job.status.value,
        percent=percent_of(job),
        is_running=is_running,
        progress=steps if is_running else place,
        left=f"{formats.duration(job.eta_s)} left" if is_running and job.eta_s is not None else "",
        headline=f"loss {formats.number(loss, 3)}" if isinstance(loss, float | int) else "",
        spark=sparkline_path(values),
    )


def _is_telling(event: AuditEvent) -> bool:
    return event.action not in {"account.log_in", "account.log_out"}


def _activity(event: AuditEvent) -> Activity:
    kind, _, verb = event.action.rpartition(".")
    at = formats.when(event.at)
    paths = {"dataset": "/datasets/", "model": "/models/", "job": "/training/", "adapter": "/adapters/"}
    is_there = event.object_type in paths and verb != "delete"
    thing = {"user": "account", "job": "training"}.get(event.object_type, event.object_type or kind)
    if event.action in {"job.create", "job.submit"}:
        verb = "submit"
    return Activity(
        id=str(event.id),
        icon=_ICONS.get(event.object_type, "circle-dot"),
        text=f"{thing.capitalize()} {_VERBS.get(verb, verb.replace('_', ' '))}",
        name=event.object_name,
        href=paths[event.object_type] + event.object_id if is_there else "",
        relative=at.relative,
        exact=at.exact,
    )


def _meters(machine: system.Machine) -> list[Meter]:
    used_disk = machine.disk_bytes - machine.disk_free_bytes
    found = [
        Meter(
            "Processor",
            f"{machine.cpu_percent:.0f} % of {formats.count(machine.n_cores, 'core')}",
            machine.cpu_percent,
        ),
        Meter(
            "Memory",
            f"{formats.size(machine.memory_used_bytes)} of {formats.size(machine.memory_bytes)}",
            _share(machine.memory_used_bytes, machine.memory_bytes),
        ),
        Meter("Disk", f"{formats.size(machine.disk_free_bytes)} free", _share(used_disk, machine.disk_bytes)),
    ]
    for gpu in machine.gpus:
        text = f"{formats.size(gpu.memory_used_bytes)} of {formats.size(gpu.memory_bytes)}"
        found.append(Meter(gpu.name, text, _share(gpu.memory_used_bytes, gpu.memory_bytes)))
    return found


def _share(part: float, whole: float) -> float:
    return round(100 * part / whole, 1) if whole else 0.0
