"""The list of listening tests, and the questions of one."""

import asyncio
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.enums import ListeningStatus, Preference
from qlora_studio.core.errors import Conflict, Forbidden, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import listening_questions, listening_tests
from qlora_studio.services.listening_schemas import Asked, ListeningTestPublic
from qlora_studio.state.auth import authorized
from qlora_studio.state.listening_rows import TestRow, TestView, answered_text, test_row, test_view
from qlora_studio.state.pair_rows import NO_PAIR, PairView
from qlora_studio.state.resources import ResourcesState
from qlora_studio.state.watching import Watch

_LOOK_EVERY_S = 1.0


def _page(actor: User, wanted: dict[str, Any]) -> tuple[list[TestRow], int]:
    with db.read() as session:
        found, total = listening_tests.list_tests(
            session, actor=actor, page=wanted["page"], page_size=wanted["page_size"]
        )
        shown = listening_tests.to_public(session, actor=actor, tests=found)
    return [test_row(test) for test in shown], total


def _users_of(actor: User, test_id: str) -> tuple[str, list[str]]:
    with db.read() as session:
        return listening_tests.get_own(session, actor=actor, test_id=test_id).name, []


def delete_test(actor: User, test_id: str) -> None:
    """Delete a test in a transaction of its own."""
    with db.write() as session:
        listening_tests.remove(session, actor=actor, test_id=test_id)


def read_test(actor: User, test_id: str) -> ListeningTestPublic:
    """Return a test as the actor may see it."""
    with db.read() as session:
        test = listening_tests.get(session, actor=actor, test_id=test_id)
        return listening_tests.to_public(session, actor=actor, tests=[test])[0]


class ListeningTestsState(ResourcesState, rx.State):
    """The list, and the dialog that deletes."""

    _path: ClassVar[str] = "/listening"
    _under_way: ClassVar[tuple[str, ...]] = (ListeningStatus.MAKING,)
    rows: list[TestRow] = []

    _page = staticmethod(_page)
    _users_of = staticmethod(_users_of)
    _delete = staticmethod(delete_test)


class ListeningTestState(rx.State):
    """The page `/listening/[test_id]`: one question after the other."""

    _watch_id: int = 0

    test: TestView = TestView()
    is_missing: bool = False
    is_busy: bool = False
    refusal: str = ""
    pair: PairView = NO_PAIR
    upcoming: PairView = NO_PAIR
    progress: str = ""
    percent: int = 0
    n_now: int = 0

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Begin, or go on where the rater left."""
        self.reset()
        try:
            self.test = test_view(await asyncio.to_thread(read_test, actor, self.test_id))
        except NotFound:
            self.is_missing = True
            return
        if self.test.status not in (ListeningStatus.MAKING, ListeningStatus.FAILED):
            await self._ask(actor)

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Show how the takes are made, and begin once they are there."""
        watch, test_id = Watch(self), self.test_id
        await watch.take_over()
        while await watch.goes_on(every_s=_LOOK_EVERY_S):
            try:
                found = test_view(await asyncio.to_thread(read_test, actor, test_id))
            except NotFound:
                return
            was_making = self.test.status == ListeningStatus.MAKING
            if found.status == ListeningStatus.MAKING or was_making:
                async with self:
                    if not watch.is_newest:
                        return
                    self.test = found
            if found.status != ListeningStatus.MAKING:
                return ListeningTestState.load if was_making else None

    @rx.event
    @authorized()
    async def answer(self, actor: User, pair_id: str, verdict: Preference):
        """Take an answer in; the pair after it is there already."""
        if pair_id != self.pair.id or self.is_busy:
            return
        self.is_busy = True
        try:
            await asyncio.to_thread(_answer, actor, pair_id, verdict)
            self.n_now += 1
        except (Conflict, NotFound) as error:
            yield rx.toast.info(error.message)
        finally:
            self.is_busy = False
        self.pair, self.upcoming = self.upcoming, NO_PAIR
        yield
        await self._ask(actor)

    async def _ask(self, actor: User) -> None:
        try:
            asked = await asyncio.to_thread(_ask, actor, self.test_id)
        except (Forbidden, Conflict) as error:
            self.refusal = error.message
            return
        except NotFound:
            self.is_missing = True
            return
        views = [_view(question.id, question.prompt) for question in asked.questions]
        self.pair, self.upcoming = [*views, NO_PAIR, NO_PAIR][:2]
        self.progress = answered_text(asked.n_answered, asked.n_most)
        self.percent = round(100 * asked.n_answered / asked.n_most) if asked.n_most else 0
        if asked.status != self.test.status:
            self.test = test_view(await asyncio.to_thread(read_test, actor, self.test_id))


def _view(question_id: str, prompt: str) -> PairView:
    left, right = (f"/api/v1/listening-tests/questions/{question_id}/{side}" for side in ("left", "right"))
    return PairView(question_id, prompt, left, right)


def _ask(actor: User, test_id: str) -> Asked:
    with db.write() as session:
        return listening_questions.ask(session, actor=actor, test_id=test_id)


def _answer(actor: User, question_id: str, verdict: Preference) -> None:
    with db.write() as session:
        listening_questions.answer(session, actor=actor, question_id=question_id, verdict=verdict)
