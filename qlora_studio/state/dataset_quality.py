"""The quality report of a dataset: what the checks found, their limits, and what is left out by them."""

import asyncio
from dataclasses import dataclass, field
from typing import ClassVar

import reflex as rx

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound
from qlora_studio.db import engine
from qlora_studio.db.models.user import User
from qlora_studio.ingest.quality import BY_KEY
from qlora_studio.services import exclusions, reports
from qlora_studio.services.exclusions import ExclusionCreate, ExclusionView
from qlora_studio.services.reports import CheckPublic, LimitPublic, Report
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_clips import ClipsState
from qlora_studio.state.dataset_tabs import DatasetTab


@dataclass(frozen=True)
class LimitRow:
    """A limit as a field shows it."""

    key: str = ""
    title: str = ""
    unit: str = ""
    value: str = ""
    minimum: str = ""
    maximum: str = ""
    hint: str = ""


@dataclass(frozen=True)
class CheckRow:
    """A check and what it found; `leave_out` is what its button says, empty if there is no such button."""

    key: str = ""
    title: str = ""
    meaning: str = ""
    found: str = ""
    is_clean: bool = True
    is_serious: bool = False
    leave_out: str = ""
    deals_out: bool = False
    left_out: str = ""
    limits: list[LimitRow] = field(default_factory=list)


@dataclass(frozen=True)
class ExclusionRow:
    """Clips that were left out together."""

    id: str = ""
    title: str = ""
    count: str = ""
    when: str = ""
    when_exact: str = ""


@dataclass(frozen=True)
class QualityView:
    """The report, ready to show."""

    id: str = ""
    is_current: bool = False
    is_clear: bool = False
    headline: str = ""
    found: list[CheckRow] = field(default_factory=list)
    clean: list[CheckRow] = field(default_factory=list)
    exclusions: list[ExclusionRow] = field(default_factory=list)


class QualityState(DatasetTab, rx.State):
    """The tab of the report. While it is computed the former one is shown, if there is one."""

    _tab: ClassVar[str] = "quality"

    report: QualityView = QualityView()
    is_computing: bool = False
    load_error: str = ""
    sending: str = ""  # the check or exclusion whose button was pressed
    field_errors: dict[str, str] = {}

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the report; if content or limits have changed since, compute it again."""
        if not self._is_open():
            return None
        self.load_error, self.field_errors, self.sending = "", {}, ""
        if self.report.id != self.dataset_id:
            self.report = QualityView()
        try:
            self.report = await asyncio.to_thread(_load, actor, self.dataset_id)
        except (NotFound, Conflict):  # the head of the page says what is the matter
            return None
        self.is_computing = not self.report.is_current
        return QualityState.compute if self.is_computing else None

    @rx.event(background=True)
    @authorized()
    async def compute(self, actor: User):
        """Compute the report beside what else the page does: of many clips it takes a while."""
        dataset_id = self.dataset_id
        try:
            await asyncio.to_thread(reports.bring_up_to_date, actor=actor, dataset_id=dataset_id)
            report = await asyncio.to_thread(_load, actor, dataset_id)
        finally:
            async with self:
                self.is_computing = False
        async with self:
            if self.dataset_id == dataset_id:
                self.report = report
                self.load_error = "" if report.is_current else "The report could not be computed just now."

    @rx.event
    @authorized(Role.TRAINER)
    async def leave_out(self, actor: User, check: str):
        """Leave out what a check found; pressed twice it is done once."""
        self.sending, dataset_id = check, self.dataset_id
        yield
        try:
            made = await asyncio.to_thread(_leave_out, actor, dataset_id, check)
        finally:
            self.sending = ""
        undo = {"label": "Undo", "on_click": QualityState.undo(dataset_id, made.exclusion.id)}
        yield rx.toast.success(f"{formats.count(made.n_left_out, 'clip')} left out", action=undo)
        yield DatasetState.refresh
        yield QualityState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def undo(self, actor: User, dataset_id: str, exclusion_id: str):
        """Take back what was left out together."""
        self.sending = exclusion_id
        yield
        try:
            n_clips = await asyncio.to_thread(_undo, actor, dataset_id, exclusion_id)
        finally:
            self.sending = ""
        yield rx.toast.success(f"{formats.count(n_clips, 'clip is', 'clips are')} back in use")
        if dataset_id == self.dataset_id:
            yield DatasetState.refresh
            yield QualityState.load
            yield ClipsState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def save_limits(self, actor: User, form: dict[str, str]):
        """Set the limits of one check; an empty field sets its default."""
        self.field_errors = {}
        await asyncio.to_thread(_set_limits, actor, self.dataset_id, form)
        return QualityState.load


def view_of(report: Report, left_out: list[ExclusionView]) -> QualityView:
    """Format a report."""
    rows = [check_row(check) for check in report.checks]
    found = [row for row in rows if not row.is_clean]
    n_fine = report.n_clips - report.n_flagged
    if report.n_flagged:
        headline = f"{n_fine:,} of {formats.count(report.n_clips, 'clip')} in use have nothing against them"
    else:
        headline = f"Nothing is against any of the {formats.count(report.n_clips, 'clip')} in use"
    return QualityView(
        id=report.dataset_id,
        is_current=report.is_current,
        is_clear=report.is_current and not found,
        headline=headline,
        found=found,
        clean=[row for row in rows if row.is_clean],
        exclusions=[exclusion_row(view) for view in left_out],
    )


def check_row(check: CheckPublic) -> CheckRow:
    """Format a check and what it found."""
    found = formats.count(check.n_clips, "clip")
    if check.n_groups:
        found += f" in {formats.count(check.n_groups, 'group')}"
    n_out = check.n_to_leave_out
    return CheckRow(
        key=check.key,
        title=check.title,
        meaning=check.meaning,
        found=found if check.n_clips else "None",
        is_clean=check.n_clips == 0,
        is_serious=check.action != "none",
        leave_out=f"Leave out {formats.count(n_out)}" if check.action == "exclude" and n_out else "",
        deals_out=check.action == "split",
        left_out=f"{formats.count(check.n_left_out)} left out before" if check.n_left_out else "",
        limits=[limit_row(limit) for limit in check.limits],
    )


def limit_row(limit: LimitPublic) -> LimitRow:
    """Format a limit."""
    return LimitRow(
        key=limit.key,
        title=limit.title,
        unit=limit.unit,
        value=f"{limit.value:g}",
        minimum=f"{limit.minimum:g}",
        maximum=f"{limit.maximum:g}",
        hint=f"From {limit.minimum:g} to {limit.maximum:g}; usually {limit.default:g}",
    )


def exclusion_row(view: ExclusionView) -> ExclusionRow:
    """Format what was left out together."""
    made = view.exclusion
    when = formats.when(made.created_at)
    title = BY_KEY[made.check].title if made.check in BY_KEY else "By hand"
    count = formats.count(view.n_left_out, "clip")
    return ExclusionRow(made.id, title, count, when.relative, when.exact)


def _load(actor: User, dataset_id: str) -> QualityView:
    with engine.read() as session:
        report = reports.get_report(session, actor=actor, dataset_id=dataset_id)
        left_out = exclusions.list_exclusions(session, actor=actor, dataset_id=dataset_id)
    return view_of(report, left_out)


def _leave_out(actor: User, dataset_id: str, check: str) -> ExclusionView:
    reports.bring_up_to_date(actor=actor, dataset_id=dataset_id)
    with engine.write() as session:
        form = ExclusionCreate(check=check[:40])
        return exclusions.create(session, actor=actor, dataset_id=dataset_id, form=form)


def _undo(actor: User, dataset_id: str, exclusion_id: str) -> int:
    with engine.write() as session:
        return exclusions.undo(session, actor=actor, dataset_id=dataset_id, exclusion_id=exclusion_id)


def _set_limits(actor: User, dataset_id: str, form: dict[str, str]) -> None:
    limits: dict[str, float | None] = {}
    for key, text in form.items():
        try:
            limits[key[:40]] = float(text) if text.strip() else None
        except ValueError:
            raise InvalidInput("That is no number.", fields={key[:40]: "Give a number."}) from None
    with engine.write() as session:
        reports.set_limits(session, actor=actor, dataset_id=dataset_id, limits=limits)
