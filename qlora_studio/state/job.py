"""The page of one job: what it shows, what its buttons do, and the watcher that keeps it live."""

import asyncio
import time
from typing import Any
from urllib.parse import urlencode
from weakref import WeakValueDictionary

import reflex as rx

from qlora_studio.contracts.enums import Role, StopMode
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.jobs.stamps import Ear
from qlora_studio.services import jobs, next_actions
from qlora_studio.services.job_logs import MAX_SEARCH
from qlora_studio.state.auth import authorized, require_session
from qlora_studio.state.confusion import NOTHING, Confusion
from qlora_studio.state.dialogs import DialogState
from qlora_studio.state.job_curves import Curves
from qlora_studio.state.job_look import JobLook
from qlora_studio.state.job_rows import JobPage
from qlora_studio.state.job_samples import SampleRow
from qlora_studio.state.presence import is_connected
from qlora_studio.state.range_test import RangeView
from qlora_studio.state.sharing import share

TABS = ("overview", "charts", "samples", "logs", "config")
LEVELS = ("", "info", "warning", "error")
DIALOGS = ("", "stop", "discard", "delete")
CHECK_EVERY_S = 3.0
SOONEST_S = 0.1  # between two looks of a tab that nobody woke
_readings: WeakValueDictionary[Any, asyncio.Lock] = WeakValueDictionary()  # by job and event loop


class JobState(DialogState, rx.State):
    """One job. `curves` are whole, `tail` is what came since; the chart joins them."""

    tab: str = "overview"
    job: JobPage = JobPage()
    is_loading: bool = True
    load_error: str = ""
    curves: Curves = {}
    tail: Curves = {}
    confusion: Confusion = NOTHING
    range_test: RangeView = RangeView()
    samples: list[SampleRow] = []
    sample_steps: list[list[str]] = []
    sample_step: str = ""
    log_end: str = ""
    log_level: str = ""
    log_search: str = ""
    log_attempt: str = ""
    log_attempts: list[list[str]] = []
    config: str = ""
    command: str = ""
    is_sending: bool = False
    _watch: int = 0

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Build the page from what is stored, then watch."""
        self._read_address()
        if self.job.id != self._shown_id():
            self.is_loading, self.job, self.dialog, self.confusion = True, JobPage(), "", NOTHING
            self.range_test = RangeView()
            self.curves, self.tail, self.samples, self.log_end = {}, {}, [], ""
        self.load_error = ""
        try:
            self._assign(await asyncio.to_thread(self._new_look(actor).text))
        except NotFound as error:
            self.load_error = error.message
            return None
        finally:
            self.is_loading = False
        return JobState.watch

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Send what is new while this page is open. A newer call takes over from an older one."""
        async with self:
            self._watch += 1
            mine, look = self._watch, self._new_look(actor)
        await self._send(mine, await asyncio.to_thread(look.everything))
        next_check = _next_check()
        with Ear(look.job_id) as ear:
            while not look.is_over:
                await ear.wait(max(SOONEST_S, min(look.wait_s(), next_check - time.monotonic())))
                if time.monotonic() >= next_check:
                    next_check = _next_check()
                    await require_session(self)
                    if not is_connected(self) or not self._is_still(mine):
                        return  # a tab that comes back loads its page again
                news = await _news_of(look) if look.has_news(ear.stamps) else {}
                if news and not await self._send(mine, news):
                    return

    @rx.event
    @authorized(Role.TRAINER)
    async def share(self, actor: User, wanted: str):
        """Let others look at the job or clone it, or neither any more."""
        await asyncio.to_thread(share, actor, "job", self._shown_id(), wanted)
        return JobState.load

    @rx.event
    @authorized()
    async def show_dialog(self, name: str):
        """Open one of the page's dialogs; an empty name closes it."""
        if name in DIALOGS:
            self.dialog = name

    @rx.event
    @authorized(Role.TRAINER)
    async def stop(self, actor: User):
        """Stop, and keep an adapter or not, as the open dialog has asked."""
        mode = StopMode.KILL if self.dialog == "discard" else StopMode.SAVE
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(_stop, actor, self._shown_id(), mode)
        finally:
            self.is_sending, self.dialog = False, ""
        yield JobState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def resume(self, actor: User):
        """Queue the next attempt."""
        await asyncio.to_thread(_resume, actor, self._shown_id())
        yield rx.toast.success("The job is in the queue again")
        yield JobState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def take_next_action(self, actor: User):
        """Do what is offered after the failure, and show the job that it queued. Two clicks do it once."""
        self.is_sending = True
        yield
        try:
            queued_id = await asyncio.to_thread(_take_next_action, actor, self._shown_id())
        finally:
            self.is_sending = False
        yield rx.toast.success("The job is in the queue")
        yield JobState.load if queued_id == self._shown_id() else rx.redirect(f"/training/{queued_id}")

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete the job and go back to the list."""
        self.dialog = ""
        await asyncio.to_thread(_delete, actor, self._shown_id())
        yield rx.toast.success("Job deleted")
        yield rx.redirect("/training")

    @rx.event
    @authorized()
    async def choose_step(self, step: str):
        """Show the sample panel of another evaluation."""
        suffix = f"&step={int(step)}" if step.isdigit() else ""
        return rx.redirect(f"/training/{self._shown_id()}?tab=samples{suffix}", replace=True)

    @rx.event
    @authorized()
    async def choose_level(self, level: str):
        """Show only log lines of this level and above."""
        return rx.redirect(self._log_address(level=level if level in LEVELS else ""), replace=True)

    @rx.event
    @authorized()
    async def search_log(self, text: str):
        """Show only log lines that hold this text."""
        return rx.redirect(self._log_address(search=text.strip()[:MAX_SEARCH]), replace=True)

    @rx.event
    @authorized()
    async def choose_attempt(self, attempt: str):
        """Show the log of another attempt; of the newest without a number."""
        return rx.redirect(self._log_address(attempt=attempt if _is_attempt(attempt) else ""), replace=True)

    def _log_address(self, **changes: str) -> str:
        given = {"level": self.log_level, "search": self.log_search, "attempt": self.log_attempt} | changes
        query = urlencode({"tab": "logs"} | {name: value for name, value in given.items() if value})
        return f"/training/{self._shown_id()}?{query}"

    def _shown_id(self) -> str:
        return str(getattr(self, "job_id", "") or "")

    def _read_address(self) -> None:
        given = dict(self.router.url.query_parameters)
        tab, level, step = given.get("tab", ""), given.get("level", ""), given.get("step", "")
        self.tab = tab if tab in TABS else "overview"
        self.log_level = level if level in LEVELS else ""
        self.log_search = given.get("search", "")[:MAX_SEARCH]
        attempt = given.get("attempt", "")
        self.log_attempt = attempt if _is_attempt(attempt) else ""
        self.sample_step = step if step.isdigit() and len(step) < 9 else ""

    def _new_look(self, actor: User) -> JobLook:
        return JobLook(actor, self._shown_id(), tab=self.tab, step=self.sample_step, attempt=self.log_attempt)

    def _assign(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    def _is_still(self, mine: int) -> bool:
        return self._watch == mine and self.router.url.path.startswith("/training/")

    async def _send(self, mine: int, values: dict[str, Any]) -> bool:
        """Assign what is new; False when this watcher's time is over."""
        async with self:
            if self._watch != mine:
                return False
            self._assign(values)
        return True


def _next_check() -> float:
    """When to look after the session again: all tabs at the same moment, so that one reading does for all."""
    return (time.monotonic() // CHECK_EVERY_S + 1) * CHECK_EVERY_S


async def _news_of(look: JobLook) -> dict[str, Any]:
    """What is new. Of many tabs that are woken at once the first reads, in a thread; the others need none."""
    if not look.is_at_hand():
        async with _reading(look.job_id):
            if not look.is_at_hand():
                return await asyncio.to_thread(look.news)
    return look.news()


def _reading(job_id: str) -> asyncio.Lock:
    """Held while a tab reads this job, so that tabs that want the same wait without a thread each."""
    return _readings.setdefault((job_id, asyncio.get_running_loop()), asyncio.Lock())


def _is_attempt(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) < 100_000 if len(text) < 9 else False


def _stop(actor: User, job_id: str, mode: StopMode) -> None:
    with db.write() as session:
        jobs.stop(session, actor=actor, job_id=job_id, mode=mode)


def _resume(actor: User, job_id: str) -> None:
    with db.write() as session:
        jobs.resume(session, actor=actor, job_id=job_id)


def _take_next_action(actor: User, job_id: str) -> str:
    with db.write() as session:
        return next_actions.apply(session, actor=actor, job_id=job_id).id


def _delete(actor: User, job_id: str) -> None:
    with db.write() as session:
        jobs.delete(session, actor=actor, job_id=job_id)
