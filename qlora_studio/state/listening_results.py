"""The results of a listening test, live."""

import asyncio

import reflex as rx

from qlora_studio.contracts.enums import ListeningStatus, Role
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import listening_results, listening_tests
from qlora_studio.services.listening_schemas import ListeningTestPublic, Results
from qlora_studio.state.auth import authorized
from qlora_studio.state.dialogs import DialogState
from qlora_studio.state.listening import delete_test, read_test
from qlora_studio.state.listening_rows import (
    NO_RESULTS,
    ComparisonRow,
    RaterRow,
    ResultView,
    StandingRow,
    TestView,
    comparison_rows,
    rater_rows,
    result_view,
    standing_rows,
    test_view,
)
from qlora_studio.state.watching import Watch

_LOOK_EVERY_S = 1.0


class ListeningResultsState(DialogState, rx.State):
    """The page `/listening/[test_id]/results`, for the test's owner."""

    _watch_id: int = 0

    test: TestView = TestView()
    is_missing: bool = False
    is_sending: bool = False
    results: ResultView = NO_RESULTS
    standings: list[StandingRow] = []
    comparisons: list[ComparisonRow] = []
    raters: list[RaterRow] = []

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show how it stands."""
        if self.test.id != self.test_id:
            self.reset()
        self.dialog, self.is_missing = "", False
        try:
            self._show(*await asyncio.to_thread(_read, actor, self.test_id))
        except NotFound:
            self.is_missing = True

    def _show(self, test: ListeningTestPublic, results: Results) -> None:
        self.test, self.results = test_view(test), result_view(results)
        self.standings, self.comparisons = standing_rows(results), comparison_rows(results)
        self.raters = rater_rows(results)

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Keep up with the takes being made and with the answers, until it is closed."""
        watch, test_id = Watch(self), self.test_id
        await watch.take_over()
        seen = None
        while await watch.goes_on(every_s=_LOOK_EVERY_S):
            try:
                test = await asyncio.to_thread(read_test, actor, test_id)
                if test != seen:
                    seen = test
                    shown = await asyncio.to_thread(_read, actor, test_id)
                    async with self:
                        if not watch.is_newest:
                            return
                        self._show(*shown)
            except NotFound:
                return
            if test.status not in (ListeningStatus.MAKING, ListeningStatus.OPEN):
                return

    @rx.event
    @authorized()
    async def decide(self, actor: User, rater_id: str, word: str):
        """Leave a rater's votes out, keep them, or go by the rule."""
        words = {"leave-out": True, "keep": False}
        await asyncio.to_thread(_decide, actor, self.test_id, rater_id, words.get(word))
        self._show(*await asyncio.to_thread(_read, actor, self.test_id))

    @rx.event
    @authorized(Role.TRAINER)
    async def open_dialog(self, name: str):
        """Ask before it is closed or deleted."""
        self.dialog = name if name in ("close", "delete") else ""

    @rx.event
    @authorized()
    async def close(self, actor: User):
        """Take no further answers."""
        self.dialog = ""
        await asyncio.to_thread(_close, actor, self.test_id)
        self._show(*await asyncio.to_thread(_read, actor, self.test_id))

    @rx.event
    @authorized(Role.TRAINER)
    async def retry(self, actor: User):
        """Have the takes made that are missing."""
        await asyncio.to_thread(_retry, actor, self.test_id)
        self._show(*await asyncio.to_thread(_read, actor, self.test_id))
        return ListeningResultsState.watch

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete the test, or call it off."""
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(delete_test, actor, self.test_id)
        finally:
            self.is_sending = False
        yield rx.toast.success(f"{self.test.name} is deleted")
        yield rx.redirect("/listening")


def _read(actor: User, test_id: str) -> tuple[ListeningTestPublic, Results]:
    with db.read() as session:
        test = listening_tests.get_own(session, actor=actor, test_id=test_id)
        shown = listening_tests.to_public(session, actor=actor, tests=[test])[0]
        return shown, listening_results.get(session, actor=actor, test_id=test_id)


def _decide(actor: User, test_id: str, rater_id: str, is_left_out: bool | None) -> None:
    with db.write() as session:
        listening_results.decide(
            session, actor=actor, test_id=test_id, rater_id=rater_id, is_left_out=is_left_out
        )


def _close(actor: User, test_id: str) -> None:
    with db.write() as session:
        listening_tests.close(session, actor=actor, test_id=test_id)


def _retry(actor: User, test_id: str) -> None:
    with db.write() as session:
        listening_tests.retry(session, actor=actor, test_id=test_id)
