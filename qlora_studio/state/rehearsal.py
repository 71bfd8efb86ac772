"""“Try one step” on the wizard's review page."""

import asyncio
from dataclasses import dataclass

import reflex as rx

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import Conflict, NotFound, StudioError
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import drafts, rehearsals
from qlora_studio.services.drafts import Draft
from qlora_studio.services.rehearsals import Rehearsal
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.watching import Watch
from qlora_studio.state.wizard import WizardState, typed_draft

LOOK_EVERY_S = 0.4


@dataclass(frozen=True)
class FoundRow:
    """One figure of the step that was tried, beside the forecast's."""

    name: str
    foretold: str
    found: str


@dataclass(frozen=True)
class RehearsalView:
    """Where it is, in words. `tone` is empty as long as it goes on."""

    label: str = ""
    tone: str = ""
    sentence: str = ""


class RehearsalState(rx.State):
    """The card “Try one step”."""

    view: RehearsalView = RehearsalView()
    rows: list[FoundRow] = []
    is_busy: bool = False
    can_wait: bool = False  # it was refused because a job runs
    _rehearsal_id: str = ""
    _watch_id: int = 0

    @rx.event
    @authorized(Role.TRAINER)
    async def start(self, actor: User):
        """Try a step of the job as it is typed; refuses while jobs have all devices."""
        return await self._start(actor, is_waiting=False)

    @rx.event
    @authorized(Role.TRAINER)
    async def start_and_wait(self, actor: User):
        """The same, after the job that runs."""
        return await self._start(actor, is_waiting=True)

    async def _start(self, actor: User, *, is_waiting: bool) -> object:
        if self.is_busy:
            return None
        wizard = await self.get_state(WizardState)
        self.is_busy, self.can_wait, self.rows = True, False, []
        try:
            started = await asyncio.to_thread(_begin, actor, typed_draft(wizard), is_waiting)
        except StudioError as error:
            self.is_busy = False
            self.can_wait = isinstance(error, Conflict) and error.message == rehearsals.BUSY
            self.view = RehearsalView(tone="danger", sentence=error.message)
            return None
        self._rehearsal_id, self.view = started.id, RehearsalView(label=started.label)
        return RehearsalState.watch

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Follow it until it has ended; a tab that has gone calls it off."""
        watch, rehearsal_id = Watch(self), self._rehearsal_id
        await watch.take_over()
        found: Rehearsal | None = None
        try:
            while await watch.goes_on(every_s=LOOK_EVERY_S):
                found = rehearsals.get(rehearsal_id, actor=actor)
                if found.status == "done":
                    break
                if found.label != self.view.label:
                    async with self:
                        self.view = RehearsalView(label=found.label)
        except NotFound:
            found = None
        finally:
            if found is not None and found.status != "done":
                rehearsals.cancel(rehearsal_id, actor=actor)
        async with self:
            if self._rehearsal_id == rehearsal_id:
                self.is_busy = False
                gone = RehearsalView(tone="danger", sentence="It is not known any more. Try again.")
                self.view, self.rows = (view_of(found), rows_of(found)) if found else (gone, [])

    @rx.event
    @authorized(Role.TRAINER)
    async def cancel(self, actor: User):
        """End it."""
        if self._rehearsal_id and self.is_busy:
            await asyncio.to_thread(rehearsals.cancel, self._rehearsal_id, actor=actor)
            self.view = RehearsalView(label="Cancelling")

    @rx.event
    @authorized()
    async def forget(self):
        """Show nothing of an earlier try: the parameters may be others now."""
        if not self.is_busy:
            self.view, self.rows, self.can_wait = RehearsalView(), [], False


def _begin(actor: User, draft: Draft, is_waiting: bool) -> Rehearsal:
    spec = drafts.build_spec(draft)
    with db.read() as session:
        return rehearsals.start(session, actor=actor, spec=spec, is_waiting=is_waiting)


def view_of(rehearsal: Rehearsal) -> RehearsalView:
    """Return how a rehearsal ended, in words."""
    report = rehearsal.report
    if report is None:
        return RehearsalView()
    if not report.ok:
        return RehearsalView(tone="danger", sentence=report.message)
    n_left = report.n_clips - report.n_clips_read
    read = f"All {formats.count(report.n_clips, 'clip')} can be read."
    if n_left:
        some, whole = f"{report.n_clips_read:,}", formats.count(report.n_clips, "clip")
        read = f"{some} of {whole} were looked at; all of those can be read."
    return RehearsalView(tone="success", sentence=f"{report.message} {read}")


def rows_of(rehearsal: Rehearsal) -> list[FoundRow]:
    """Return what the step took beside the forecast; nothing of one that failed."""
    report, forecast = rehearsal.report, rehearsal.forecast
    if report is None or not report.ok:
        return []
    is_card = report.peak_gpu_bytes is not None
    peak = report.peak_gpu_bytes if is_card else report.peak_rss_bytes
    total_s = rehearsals.steps_s(rehearsal)
    likely = (
        f"{formats.duration(forecast['time']['low_s'])} to {formats.duration(forecast['time']['high_s'])}"
    )
    return [
        FoundRow(
            "Graphics memory" if is_card else "Memory",
            formats.size(forecast["memory"]["total_bytes"]),
            formats.size(peak),
        ),
        FoundRow("One step", "–", formats.duration(report.step_s)),
        FoundRow("All steps at this pace", likely, formats.duration(total_s)),
        FoundRow("A checkpoint", "–", formats.size(report.checkpoint_bytes)),
    ]
