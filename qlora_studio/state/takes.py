"""The list of takes on the page *Studio*: found, followed while they are made, rated, removed."""

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import reflex as rx
from pydantic import ValidationError
from sqlmodel import Session

from qlora_studio.contracts.enums import GenerationStatus, Role, Sharing
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import Generation, User
from qlora_studio.services import generation_lists, generations, marks, ratings, sound_desk
from qlora_studio.services.generation_schemas import GenerationUpdate
from qlora_studio.services.rating_schemas import OVERALL, RatingPut
from qlora_studio.state.auth import authorized
from qlora_studio.state.comparing import ComparingState
from qlora_studio.state.dialogs import DeletingState
from qlora_studio.state.tables import TableState, parsed
from qlora_studio.state.take_rows import GenerationRow, TakeRow, generation_row, twin_of
from qlora_studio.state.watching import Watch

LOOK_EVERY_S = 0.5
SHELVES = ("own", "shared", "tests")
MOST_DRAFTS = 50
_RATED = {
    "yes": ("Nothing is rated yet", "Give a take stars, or press 1 to 5 while it is marked."),
    "no": ("Everything is rated", "Every text here has a take that you have rated."),
}


@dataclass(frozen=True)
class _Shelf:
    rows: list[GenerationRow]
    total: int
    criteria: list[str]
    n_good: int
    n_needed: int
    is_ready: bool
    tags: list[str]
    has_tests: bool


class TakesState(ComparingState, DeletingState, TableState, rx.State):
    """Generations with their takes, newest first.

    Tags and a note that are written before there are stars wait in `_drafts`, by take and criterion.
    """

    _path: ClassVar[str] = "/studio"
    _filter_names: ClassVar[tuple[str, ...]] = (
        "status", "model_id", "adapter_id", "rated", "favorite", "tag", "like", "shelf",
    )  # fmt: skip
    _watch_id: int = 0
    _drafts: dict[str, tuple[str, str]] = {}

    rows: list[GenerationRow] = []
    criteria: list[str] = [OVERALL]
    criterion: str = OVERALL
    n_good: int = 0
    n_needed: int = 1
    is_ready: bool = False
    saved_id: str = ""
    tags: list[tuple[str, str]] = []
    has_tests: bool = False

    @rx.var
    def current_shelf(self) -> str:
        """Which takes are shown: one's own, those that others share, or those made for listening tests."""
        shelf = self.filters.get("shelf", "")
        return shelf if shelf in SHELVES else "own"

    @rx.var
    def criterion_options(self) -> list[tuple[str, str]]:
        """What is rated by, as a select has it."""
        return [(word, word) for word in self.criteria]

    @rx.var
    def is_narrowed(self) -> bool:
        """Whether a search or a filter hides some of the shelf."""
        return bool(self.query or any(value for name, value in self.filters.items() if name != "shelf"))

    @rx.var
    def nothing(self) -> tuple[str, str]:
        """Why the shelf is empty: a title and a sentence."""
        given = {name for name, value in self.filters.items() if value and name != "shelf"}
        if self.query or len(given) > 1:
            return ("Nothing matches", "No takes fit this search.")
        if given == {"favorite"}:
            return ("No favourites yet", "Press F, or the heart of a take, to find it here again.")
        if given == {"rated"}:
            return _RATED.get(self.filters["rated"], ("Nothing matches", "No takes fit this search."))
        return ("Nothing matches", "No takes fit this search.")

    @rx.var
    def readiness(self) -> str:
        """How far it is to a training, in words."""
        return f"{self.n_good:,} of {self.n_needed:,} good takes"

    @rx.var
    def readiness_percent(self) -> int:
        """How far it is to a training."""
        return min(100, round(100 * self.n_good / max(1, self.n_needed)))

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the page that the address names, and follow what is being made."""
        self._read_address()
        await self._show(actor)
        self.is_loading = False
        return TakesState.watch

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Show takes as they come, until nothing on the page is under way."""
        watch = Watch(self)
        await watch.take_over()
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            wanted, criterion = self._wanted(), self.criterion
            shelf = await asyncio.to_thread(_read, actor, wanted, criterion, self._pair)
            async with self:
                is_wanted = watch.is_newest and (wanted, criterion) == (self._wanted(), self.criterion)
                if is_wanted and self._with_drafts(shelf.rows) != self.rows:
                    self._take_in(shelf)
            if not any(row.is_under_way for row in shelf.rows):
                return

    @rx.event
    @authorized()
    async def rate(self, actor: User, take_id: str, stars: int):
        """Give a take stars by the chosen criterion; its own tags and note stay."""
        take = self._find(take_id)
        if take is None:
            return
        await self._put(actor, replace(take, stars=stars))

    @rx.event
    @authorized()
    async def set_tags(self, actor: User, take_id: str, text: str):
        """Keep the words that somebody finds the take by; until there are stars they wait here."""
        take = self._find(take_id)
        if take is not None and text.strip() != take.tags:
            await self._put(actor, replace(take, tags=text.strip()))

    @rx.event
    @authorized()
    async def set_note(self, actor: User, take_id: str, text: str):
        """Keep what somebody says of the take; until there are stars it waits here."""
        take = self._find(take_id)
        if take is not None and text.strip() != take.note:
            await self._put(actor, replace(take, note=text.strip()))

    @rx.event
    @authorized()
    async def like(self, actor: User, take_id: str, is_liked: bool):
        """Keep a take among one's favourites, or no longer."""
        await asyncio.to_thread(_like, actor, take_id, is_liked)
        await self._show(actor)

    @rx.event
    @authorized()
    async def take_back(self, actor: User, take_id: str):
        """Forget one's own rating by the chosen criterion."""
        await asyncio.to_thread(_take_back, actor, take_id, self.criterion)
        await self._show(actor)

    @rx.event
    @authorized()
    async def rate_by(self, actor: User, criterion: str):
        """Rate by another criterion, or by a new one."""
        words = " ".join(criterion.split()).lower()[:32]
        self.criterion = words or OVERALL
        await self._show(actor)

    @rx.event
    @authorized()
    async def submit_criterion(self, form: dict[str, Any]):
        """Rate by what was typed."""
        return TakesState.rate_by(str(form.get("own-criterion", "")))

    @rx.event
    @authorized(Role.TRAINER)
    async def share(self, actor: User, generation_id: str, sharing: str):
        """Let others hear a generation's takes, rate them too, or neither."""
        if sharing in set(Sharing):
            await asyncio.to_thread(_share, actor, generation_id, Sharing(sharing))
            await self._show(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def cancel(self, actor: User, generation_id: str):
        """Call off what is being made."""
        await asyncio.to_thread(_remove, actor, generation_id)
        await self._show(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete the generation that was asked about."""
        generation_id, self.deleting_id = self.deleting_id, ""
        await asyncio.to_thread(_remove, actor, generation_id)
        await self._show(actor)
        return rx.toast.success("Takes deleted")

    def _find(self, take_id: str) -> TakeRow | None:
        return next((take for row in self.rows for take in row.takes if take.id == take_id), None)

    async def _put(self, actor: User, take: TakeRow) -> None:
        key = f"{take.id} {self.criterion}"
        if not take.stars:
            self._drafts = dict(
                [*self._drafts.items(), (key, (take.tags[:800], take.note[:2000]))][-MOST_DRAFTS:]
            )
            self.rows = self._with_drafts(self.rows)
            return
        self._drafts = {name: words for name, words in self._drafts.items() if name != key}
        await asyncio.to_thread(_rate, actor, take, self.criterion)
        await self._show(actor)
        self.saved_id = take.id

    async def _show(self, actor: User) -> None:
        self._take_in(await asyncio.to_thread(_read, actor, self._wanted(), self.criterion, self._pair))

    def _with_drafts(self, rows: list[GenerationRow]) -> list[GenerationRow]:
        if not self._drafts:
            return rows
        return [replace(row, takes=[self._with_draft(take) for take in row.takes]) for row in rows]

    def _with_draft(self, take: TakeRow) -> TakeRow:
        tags, note = self._drafts.get(f"{take.id} {self.criterion}", (take.tags, take.note))
        return take if take.stars else replace(take, tags=tags, note=note)

    def _take_in(self, shelf: _Shelf) -> None:
        self.rows, self.total = self._with_drafts(shelf.rows), shelf.total
        self.tags, self.has_tests = [(tag, tag) for tag in shelf.tags], shelf.has_tests
        self.criteria = list(dict.fromkeys([*shelf.criteria, self.criterion]))
        self.n_good, self.n_needed, self.is_ready = shelf.n_good, shelf.n_needed, shelf.is_ready


def _read(actor: User, wanted: dict[str, Any], criterion: str, pair: tuple[str, ...]) -> _Shelf:
    with db.read() as session:
        found, total = _find(session, actor, parsed(wanted, status=GenerationStatus))
        takes = generations.takes_of(session, found)
        every = [take for some in takes.values() for take in some]
        own = sound_desk.own_ratings(session, actor=actor, take_ids=[take.id for take in every])
        criteria = sound_desk.list_criteria(session, actor=actor, takes=every)
        ready = ratings.get_readiness(session, actor=actor)
        liked = marks.favorites_among(session, actor=actor, take_ids=[take.id for take in every])
        tags = marks.list_tags(session, actor=actor)
        has_tests = generation_lists.has_tested(session, actor=actor)
    peaks = sound_desk.read_peaks(every)
    rated = {take_id: by[criterion] for take_id, by in own.items() if criterion in by}
    sides = dict(zip(pair, "AB", strict=False)) if {g.id for g in found} >= set(pair) else {}
    met = Counter(twin_of(g, take, sides) for g in found for take in takes[g.id])
    twins = {twin for twin, n in met.items() if n > 1}
    seen = {"twins": twins, "sides": sides, "peaks": peaks, "rated": rated, "liked": liked}
    rows = [generation_row(g, takes[g.id], actor=actor, **seen) for g in found]
    ready_is = (ready.n_good, ready.n_needed, ready.is_ready)
    return _Shelf(rows, total, criteria, *ready_is, tags, has_tests)


def _find(session: Session, actor: User, wanted: dict[str, Any]) -> tuple[list[Generation], int]:
    """One page of the actor's own generations, or of those that others share."""
    shelf = wanted.pop("shelf")
    wanted["favorite"] = wanted["favorite"] == "yes"
    if shelf == "shared":
        page = {name: wanted[name] for name in ("favorite", "page", "page_size")}
        return generation_lists.list_shared(session, actor=actor, **page)
    wanted["rated"] = {"yes": True, "no": False}.get(wanted["rated"] or "")
    return generation_lists.list_generations(session, actor=actor, from_tests=shelf == "tests", **wanted)


def _like(actor: User, take_id: str, is_liked: bool) -> None:
    with db.write() as session:
        change = marks.put_favorite if is_liked else marks.remove_favorite
        change(session, actor=actor, take_id=take_id)


def _share(actor: User, generation_id: str, sharing: Sharing) -> None:
    with db.write() as session:
        form = GenerationUpdate(sharing=sharing)
        generations.update(session, actor=actor, generation_id=generation_id, form=form)


def _rate(actor: User, take: TakeRow, criterion: str) -> None:
    tags = [word for word in (part.strip() for part in take.tags.split(",")) if word]
    try:
        form = RatingPut(criterion=criterion, stars=take.stars, tags=tags, note=take.note)
    except ValidationError as error:
        raise InvalidInput(
            "Use 20 tags of up to 32 characters at most, and a note of up to 2,000."
        ) from error
    with db.write() as session:
        ratings.put(session, actor=actor, take_id=take.id, form=form)


def _take_back(actor: User, take_id: str, criterion: str) -> None:
    with db.write() as session:
        ratings.take_back(session, actor=actor, take_id=take_id, criterion=criterion)


def _remove(actor: User, generation_id: str) -> None:
    try:
        with db.write() as session:
            generations.remove(session, actor=actor, generation_id=generation_id)
    except NotFound:
        return  # it was removed elsewhere, as was wanted
