"""Blind pairs of takes, one after the other."""

import asyncio

import reflex as rx

from qlora_studio.contracts.enums import Preference, Role
from qlora_studio.core.errors import Forbidden, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import votes
from qlora_studio.services.vote_schemas import BlindPair, NextPair, VotePut
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.pair_rows import NO_PAIR, PairView, pair_view

GOAL = 20  # pairs of one sitting that the bar counts to


class PairsState(rx.State):
    """The pair on the screen, the one after it, and how many were answered."""

    _pair: BlindPair | None = None
    _next: BlindPair | None = None

    is_loaded: bool = False
    is_busy: bool = False
    is_forbidden: bool = False
    may_make: bool = False
    refusal: str = ""
    pair: PairView = NO_PAIR
    upcoming: PairView = NO_PAIR
    n_answered: int = 0
    n_now: int = 0

    @rx.var
    def progress(self) -> str:
        """How far this sitting is, in words."""
        before = f"{formats.count(self.n_answered, 'pair')} answered"
        return f"{before}, {self.n_now} just now" if self.n_now else before

    @rx.var
    def percent(self) -> int:
        """How much of the present score of pairs is done."""
        done = self.n_now % GOAL or (GOAL if self.n_now else 0)
        return round(100 * done / GOAL)

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Begin a sitting."""
        self.reset()
        self.may_make = actor.role in (Role.ADMIN, Role.TRAINER)
        try:
            found = await asyncio.to_thread(_next_pair, actor, [])
        except Forbidden as error:
            self.refusal, self.is_loaded, self.is_forbidden = error.message, True, True
            return
        self._pair, self.n_answered = found.pair, found.n_answered
        self.pair, self.is_loaded = pair_view(found.pair), True
        await self._look_ahead(actor)

    @rx.event
    @authorized()
    async def answer(self, actor: User, pair_id: str, verdict: Preference):
        """Take an answer in and show the next pair. An answer to a pair that is gone already is dropped."""
        if self._pair is None or pair_id != self._pair.id or self.is_busy:
            return
        self.is_busy = True
        try:
            await asyncio.to_thread(_vote, actor, self._pair, verdict)
            self.n_answered, self.n_now = self.n_answered + 1, self.n_now + 1
        except NotFound:
            yield rx.toast.info("One of the two was deleted meanwhile. Here is another pair.")
        finally:
            self.is_busy = False
        self._pair, self.pair = self._next, pair_view(self._next)
        yield
        await self._look_ahead(actor)
        if self._pair is None and self._next is not None:
            self._pair, self.pair = self._next, pair_view(self._next)
            await self._look_ahead(actor)

    @rx.event
    @authorized()
    async def undo(self, actor: User):
        """Take the last answer back and ask its pair again; what is on the screen comes after it."""
        if self.is_busy:
            return
        try:
            back = await asyncio.to_thread(_take_back, actor)
        except NotFound as error:
            return rx.toast.info(error.message)
        self._pair, self._next = back.pair, self._pair
        self.pair, self.upcoming = pair_view(self._pair), pair_view(self._next)
        self.n_answered, self.n_now = back.n_answered, max(0, self.n_now - 1)

    async def _look_ahead(self, actor: User) -> None:
        """Have the pair after this one ready, so that its sounds are there in time."""
        leaving_out = [self._pair.id] if self._pair is not None else []
        found = await asyncio.to_thread(_next_pair, actor, leaving_out)
        self._next, self.upcoming = found.pair, pair_view(found.pair)


def _next_pair(actor: User, leaving_out: list[str]) -> NextPair:
    with db.read() as session:
        return votes.get_next(session, actor=actor, leaving_out=leaving_out)


def _vote(actor: User, pair: BlindPair, verdict: Preference) -> None:
    form = VotePut(first_take_id=pair.first.id, second_take_id=pair.second.id, verdict=verdict)
    with db.write() as session:
        votes.put(session, actor=actor, form=form)


def _take_back(actor: User):
    with db.write() as session:
        return votes.take_back_last(session, actor=actor)
