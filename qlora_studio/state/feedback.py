"""The page of what was rated and compared: datasets made of it, and how far it has come."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import reflex as rx
from pydantic import ValidationError

from qlora_studio.contracts.enums import DatasetStatus, Role
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import Dataset, User
from qlora_studio.ingest import updating
from qlora_studio.services import datasets, feedback_days, feedback_rows, offers, ratings
from qlora_studio.services.dataset_sources import DatasetSource
from qlora_studio.services.datasets import DatasetCreate
from qlora_studio.services.feedback_filter import BASE_MODEL, FeedbackFilter
from qlora_studio.services.rating_schemas import DayCount, FeedbackStats, Readiness
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.watching import Watch

_LOOK_EVERY_S = 1.5
_NARROWED = ("model_id", "adapter_id", "rater_id", "since", "until")
_CHOSEN = ("rows_from", "stars", "gap", "over", "criterion", "tags", *_NARROWED)
_PERIODS = ("30", "90")
_TABS = ("datasets", "adapters", "progress")


@dataclass
class MadeRow:
    """A dataset from feedback in the list."""

    id: str = ""
    name: str = ""
    href: str = ""
    detail: str = ""
    status: str = ""
    train_href: str = ""
    can_update: bool = False
    problem: str = ""


@dataclass
class PromptRow:
    """A text, and how many of its takes were rated."""

    prompt: str = ""
    rated: str = ""
    percent: int = 0


@dataclass
class ProgressView:
    """What all ratings say, in words."""

    n_rated: str = "0"
    n_ratings: str = "0"
    mean: str = "–"
    prompts: str = "0"
    ready: str = ""
    is_ready: bool = False
    percent: int = 0


@dataclass
class Seen:
    """All that is told of the feedback so far. Choices are `[value, label]`, bars are plotly's."""

    made: list[MadeRow]
    progress: ProgressView
    prompts: list[PromptRow]
    models: list[list[str]]
    adapters: list[list[str]]
    raters: list[list[str]]
    bars: dict[str, list[Any]]
    told: str


class FeedbackState(rx.State):
    """The page `/feedback`; the tab is in the address."""

    _watch_id: int = 0
    _seen: Seen | None = None

    may_train: bool = False
    may_rate: bool = False

    tab: str = "datasets"
    is_loading: bool = True
    made: list[MadeRow] = []
    progress: ProgressView = ProgressView()
    prompts: list[PromptRow] = []
    period: str = "30"
    bars: dict[str, list[Any]] = {"x": [], "y": []}
    told: str = ""
    has_days: bool = False
    models: list[list[str]] = []
    adapters: list[list[str]] = []
    raters: list[list[str]] = []
    rows_from: str = "takes"
    stars: str = "4"
    gap: str = "1"
    over: str = "mean"
    model_id: str = ""
    adapter_id: str = ""
    rater_id: str = ""
    criterion: str = ""
    tags: str = ""
    since: str = ""
    until: str = ""
    name: str = "From feedback"
    counted: str = ""
    can_make: bool = False
    problem: str = ""
    is_making: bool = False

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the tab that the address names."""
        wanted = dict(self.router.url.query_parameters).get("tab", "")
        self.tab = wanted if wanted in _TABS else "datasets"
        self.may_train = actor.role in (Role.ADMIN, Role.TRAINER)
        self.may_rate = actor.role is not Role.VIEWER
        await self._fill(actor, await asyncio.to_thread(_read, actor, int(self.period)))
        self.is_loading = False
        return FeedbackState.watch

    @rx.event
    @authorized()
    async def refresh(self, actor: User):
        """Show what has changed just now."""
        await self._fill(actor, await asyncio.to_thread(_read, actor, int(self.period)))

    @rx.event
    @authorized()
    async def choose_period(self, actor: User, days: str):
        """Show so many days of feedback."""
        if days in _PERIODS:
            self.period = days
            await self._fill(actor, await asyncio.to_thread(_read, actor, int(days)))

    async def _fill(self, actor: User, seen: Seen) -> None:
        self._seen = seen
        self.made, self.progress, self.prompts = seen.made, seen.progress, seen.prompts
        self.models, self.adapters, self.raters = seen.models, seen.adapters, seen.raters
        self.bars, self.told, self.has_days = seen.bars, seen.told, any(seen.bars["y"])
        await self._count(actor)

    async def _count(self, actor: User) -> None:
        try:
            found = await asyncio.to_thread(_preview, actor, self._wanted())
        except ValidationError as error:
            self.counted, self.can_make, self.problem = "", False, _said(error)
            return
        of = "pairs" if self.rows_from != "takes" else "takes"
        texts = "1 text" if found.n_prompts == 1 else f"{found.n_prompts:,} texts"
        self.counted = f"{found.n_rows:,} {of} of {texts}" if found.n_rows else f"No such {of} yet"
        self.can_make, self.problem = found.n_rows > 0, ""

    def _wanted(self) -> dict[str, Any]:
        given: dict[str, Any] = {name: getattr(self, name) for name in _NARROWED}
        if self.rows_from == "takes":
            given |= {"min_stars": self.stars}
        else:
            given |= {"target": "pairs", "pairs_from": self.rows_from}
        if self.rows_from == "ratings":
            given |= {"min_gap": self.gap}
        if self.rows_from != "votes":
            tags = [tag.strip() for tag in self.tags.split(",") if tag.strip()]
            given |= {"over": self.over, "criterion": self.criterion.strip(), "tags": tags}
        return {name: value for name, value in given.items() if value}

    @rx.event
    @authorized()
    async def choose(self, actor: User, field: str, value: Any):
        """Ask for other rows, and count them."""
        if field in _CHOSEN:
            setattr(self, field, "" if value is None else str(value)[:200])  # a number comes as one
            await self._count(actor)

    @rx.event
    @authorized()
    async def set_name(self, value: str):
        """Call the dataset something."""
        self.name = value[:120]

    @rx.event
    @authorized(Role.TRAINER)
    async def make(self, actor: User):
        """Make a dataset of the rows that were counted, and go there."""
        self.is_making, self.problem = True, ""
        yield
        try:
            dataset_id = await asyncio.to_thread(_make, actor, self.name, self._wanted())
        except (InvalidInput, ValidationError) as error:
            self.problem = error.message if isinstance(error, InvalidInput) else _said(error)
            return
        finally:
            self.is_making = False
        yield rx.redirect(f"/datasets/{dataset_id}")

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Show ratings, votes and datasets as they come."""
        watch = Watch(self)
        await watch.take_over()
        while await watch.goes_on(every_s=_LOOK_EVERY_S):
            seen = await asyncio.to_thread(_read, actor, int(self.period))
            if seen != self._seen:
                async with self:
                    if watch.is_newest:
                        await self._fill(actor, seen)


def _read(actor: User, n_days: int) -> Seen:
    with db.read() as session:
        made = [_made_row(one) for one in feedback_rows.list_made(session, actor=actor)]
        stats = ratings.get_stats(session, actor=actor)
        ready = ratings.get_readiness(session, actor=actor)
        days = feedback_days.list_days(session, actor=actor, n_days=n_days)
        raters = feedback_days.list_raters(session, actor=actor)
        makers = offers.list_used_models(session, actor=actor)
        offered = offers.list_adapters(session, actor=actor, model_ids=[one for one, _ in makers])
    prompts = [
        PromptRow(p.prompt, f"{p.n_rated:,} of {p.n_takes:,}", round(100 * p.n_rated / max(1, p.n_takes)))
        for p in stats.prompts
    ]
    return Seen(
        made=made,
        progress=_progress(stats, ready),
        prompts=prompts,
        models=[["", "Every model"], *([one, name] for one, name in makers)],
        adapters=[
            ["", "With any adapter or none"],
            [BASE_MODEL, "Without an adapter"],
            *([one, name] for offer in offered.values() for one, name in offer.adapters),
        ],
        raters=[["", "Anybody"], *([rater.id, rater.name] for rater in raters)],
        bars=day_bars(days),
        told=_told(days),
    )


def day_bars(days: Sequence[DayCount]) -> dict[str, list[Any]]:
    """Ratings and votes of each day as one bar; the hover tells them apart."""
    return {
        "x": [day.day for day in days],
        "y": [day.n_ratings + day.n_votes for day in days],
        "customdata": [
            f"{formats.count(day.n_ratings, 'rating')}, {formats.count(day.n_votes, 'vote')}" for day in days
        ],
    }


def _told(days: Sequence[DayCount]) -> str:
    n_ratings, n_votes = sum(day.n_ratings for day in days), sum(day.n_votes for day in days)
    both = f"{formats.count(n_ratings, 'rating')} and {formats.count(n_votes, 'vote')}"
    return f"{both} in the last {len(days)} days"


def _made_row(dataset: Dataset) -> MadeRow:
    is_pairs = dataset.source.get("filter", {}).get("target") == "pairs"
    made_by = dataset.source.get("models", [])
    with_model = f"&model={made_by[0]}" if len(made_by) == 1 else ""
    kind = "preference" if is_pairs else "qlora"
    n_rows = dataset.source.get("n_rows", 0)
    rows = formats.count(n_rows, "pair" if is_pairs else "take")
    is_ready = dataset.status is DatasetStatus.READY
    return MadeRow(
        id=dataset.id,
        name=dataset.name,
        href=f"/datasets/{dataset.id}",
        detail=f"{rows}, version {dataset.version}" if is_ready else rows,
        status=dataset.status.value,
        train_href=f"/training/new?dataset={dataset.id}{with_model}&type={kind}" if is_ready else "",
        can_update=is_ready,
        problem=dataset.source.get(updating.FAILED, ""),
    )


def _progress(stats: FeedbackStats, ready: Readiness) -> ProgressView:
    return ProgressView(
        n_rated=f"{stats.n_rated:,} of {stats.n_takes:,}",
        n_ratings=f"{stats.n_ratings:,}",
        mean=f"{stats.mean_stars:.2f}" if stats.mean_stars is not None else "–",
        prompts=f"{stats.n_prompts_rated:,} of {stats.n_prompts:,}",
        ready=ready.message,
        is_ready=ready.is_ready,
        percent=min(100, round(100 * ready.n_good / max(1, ready.n_needed))),
    )


def _preview(actor: User, wanted: dict[str, Any]) -> feedback_rows.FeedbackPreview:
    with db.read() as session:
        return feedback_rows.preview(session, actor=actor, wanted=FeedbackFilter.model_validate(wanted))


def _make(actor: User, name: str, wanted: dict[str, Any]) -> str:
    source = DatasetSource(kind="feedback", filter=FeedbackFilter.model_validate(wanted))
    with db.write() as session:
        return datasets.create(session, actor=actor, form=DatasetCreate(name=name, source=source)).id


def _said(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{first['loc'][-1] if first['loc'] else 'filter'}: {first['msg']}".replace("_", " ")
