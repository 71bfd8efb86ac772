"""How a dataset's files get in: fetched, looked at, read. Shown on its page until it is ready."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field, replace

import reflex as rx

from qlora_studio.contracts.enums import DatasetStatus, Role
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset
from qlora_studio.db.models.user import User
from qlora_studio.services import datasets
from qlora_studio.services.access import Action
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.dataset_mapping import DatasetMappingState
from qlora_studio.state.datasets import fetched_text
from qlora_studio.state.resources import LOOK_EVERY_S
from qlora_studio.state.watching import Watch

_PACE_WINDOW_S = 6.0
_FETCHED = ("url", "cloud", "hub")
_FROM = {
    "url": "the web",
    "cloud": "cloud storage",
    "hub": "the Hugging Face Hub",
    "folder": "the server's folder",
    "upload": "your upload",
    "example": "the studio",
    "feedback": "your feedback",
}


@dataclass(frozen=True)
class IntakeView:
    """How far a dataset is on its way in, formatted. `percent` is -1 while nobody knows the end.

    `has_files`: all of them are here, so that their columns can be looked at.
    """

    id: str = ""
    status: str = ""
    kind: str = ""
    origin: str = ""
    error: str = ""
    has_files: bool = False
    is_fetching: bool = False
    percent: int = 0
    progress: str = ""
    pace: str = ""


@dataclass
class Pace:
    """How quickly a count grows, over the last seconds."""

    samples: deque[tuple[float, float]] = field(default_factory=deque)

    def per_second(self, value: float, now: float) -> float:
        """Take in a count at a time in seconds; 0 until two are known, or after the count fell."""
        if self.samples and value < self.samples[-1][1]:
            self.samples.clear()
        self.samples.append((now, value))
        while len(self.samples) > 2 and now - self.samples[0][0] > _PACE_WINDOW_S:
            self.samples.popleft()
        since, before = self.samples[0]
        return (value - before) / (now - since) if now > since else 0.0


class DatasetIntakeState(rx.State):
    """Progress of fetching and of taking in, with what stops them and starts them again."""

    intake: IntakeView = IntakeView()
    is_sending: bool = False
    _watch_id: int = 0

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show how far the dataset of the address is."""
        self.is_sending = False
        try:
            self.intake = intake_view(await asyncio.to_thread(_dataset, actor, self.dataset_id), Pace())
        except NotFound:
            self.intake = IntakeView()

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Keep the progress fresh until the dataset is ready."""
        watch, pace, dataset_id = Watch(self), Pace(), self.dataset_id
        await watch.take_over()
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            try:
                view = intake_view(await asyncio.to_thread(_dataset, actor, dataset_id), pace)
            except NotFound:
                return
            if view != self.intake:
                is_here = has_just_come(self.intake, view)
                async with self:
                    if not watch.is_newest:
                        return
                    self.intake = view
                if is_here:
                    yield DatasetMappingState.look(True)
            if view.status == DatasetStatus.READY:
                return

    @rx.event
    @authorized(Role.TRAINER)
    async def stop(self, actor: User):
        """Stop fetching or taking in; what came so far stays."""
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(_cancel, actor, self.dataset_id)
        finally:
            self.is_sending = False

    @rx.event
    @authorized(Role.TRAINER)
    async def start_again(self, actor: User):
        """Fetch what is missing and take the files in once more."""
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(_start, actor, self.dataset_id)
        finally:
            self.is_sending = False


def has_just_come(before: IntakeView, now: IntakeView) -> bool:
    """Whether files have been fetched since the last look, even if all of it fell between the two."""
    waits = DatasetStatus.AWAITING_FILES.value
    return now.kind in _FETCHED and now.status == waits and before.status != waits


def intake_view(dataset: Dataset, pace: Pace) -> IntakeView:
    """Format how far a dataset is; `pace` has seen it before."""
    kind = str(dataset.source.get("kind", ""))
    fetched = dataset.source.get("fetched") or {}
    is_busy = dataset.status is DatasetStatus.PROCESSING
    is_fetching = is_busy and kind in _FETCHED and not dataset.progress_total
    view = IntakeView(
        id=dataset.id,
        status=dataset.status.value,
        kind=kind,
        origin=_FROM.get(kind, ""),
        error=dataset.error or "",
        has_files=kind in ("upload", "folder") or 0 < (fetched.get("total") or 0) <= fetched.get("bytes", 0),
        is_fetching=is_fetching,
    )
    if not is_busy:
        return view
    return _fetching(view, dataset, pace) if is_fetching else _reading(view, dataset, pace)


def _fetching(view: IntakeView, dataset: Dataset, pace: Pace) -> IntakeView:
    fetched = dataset.source.get("fetched") or {}
    done, total = int(fetched.get("bytes") or 0), fetched.get("total")
    speed = pace.per_second(done, time.monotonic())
    return replace(
        view,
        percent=100 * done // total if total else -1,
        progress=fetched_text(dataset) or "Asking for it",
        pace=_pace(f"{formats.size(speed)}/s", speed, (total or done) - done),
    )


def _reading(view: IntakeView, dataset: Dataset, pace: Pace) -> IntakeView:
    done, total = dataset.progress_done, dataset.progress_total
    speed = pace.per_second(done, time.monotonic())
    if not total:
        return replace(view, percent=-1, progress="Looking at the files")
    return replace(
        view,
        percent=100 * done // total,
        progress=f"{done:,} of {formats.count(total, 'file')}, {formats.hours(dataset.duration_s)} of audio",
        pace=_pace(f"{speed:,.0f} clips a second", speed, total - done),
    )


def _pace(text: str, per_second: float, left: float) -> str:
    if per_second < 0.5:
        return ""
    return f"{text}, {formats.duration(max(1, round(left / per_second)))} left" if left > 0 else text


def _dataset(actor: User, dataset_id: str) -> Dataset:
    with engine.read() as session:
        return datasets.get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)


def _cancel(actor: User, dataset_id: str) -> None:
    with engine.write() as session:
        datasets.cancel(session, actor=actor, dataset_id=dataset_id)


def _start(actor: User, dataset_id: str) -> None:
    with engine.write() as session:
        datasets.start_ingest(session, actor=actor, dataset_id=dataset_id)
