"""The takes of a listening test being made: through generations, a few at a time, until all are there.

A thread follows each test whose takes are being made, and holds its lock, so that nobody else does. What it
knows is on disk: after a restart another one goes on. Deleting the test ends it within half a second.
"""

import logging
import threading
import time
from contextlib import suppress

from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import GenerationStatus, ListeningStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import StorageFull, StudioError, TooManyTries
from qlora_studio.db import engine as db
from qlora_studio.db.engine import DatabaseBusy
from qlora_studio.db.models import (
    Generation,
    ListeningCell,
    ListeningContestant,
    ListeningTest,
    Take,
    User,
)
from qlora_studio.services import generations, making
from qlora_studio.services.generation_schemas import GenerationCreate
from qlora_studio.storage import holding, layout

AT_ONCE = 3  # generations of one test: the owner's other ones get their turn
MOST_TRIES = 2  # of a generation: the inference process may have been killed under the first
_LOOK_EVERY_S = 0.5
_log = logging.getLogger(__name__)


def launch(test_id: str) -> None:
    """Have a test's takes made by threads of this process."""
    threading.Thread(target=_run_quietly, args=(test_id,), name=f"takes {test_id}", daemon=True).start()


def recover() -> None:
    """Go on with the tests whose takes an earlier server was having made."""
    with db.read() as session:
        found = select(ListeningTest.id).where(ListeningTest.status == ListeningStatus.MAKING)
        unfinished = session.exec(found).all()
    for test_id in unfinished:
        launch(test_id)


def run(test_id: str) -> None:
    """Follow a test until its takes are there, or can't be made, or it is gone."""
    with holding.held(layout.listening_lock(test_id)) as is_ours:
        while is_ours and advance(test_id):
            time.sleep(_LOOK_EVERY_S)


def advance(test_id: str) -> bool:
    """Look how far the takes are and ask for some that are missing; whether there is more to do."""
    try:
        with db.write() as session:
            return _advance(session, test_id)
    except (DatabaseBusy, StorageFull) as error:
        _log.warning("listening test %s waits: %s", test_id, error.message)
        return True


def count_done(session: Session, test: ListeningTest) -> int:
    """How many of a test's takes are there."""
    counted = select(func.count()).select_from(Take)
    counted = counted.join(ListeningCell, col(ListeningCell.generation_id) == col(Take.generation_id))
    return session.exec(counted.where(ListeningCell.test_id == test.id)).one()


def generation_of(test: ListeningTest, contestant: ListeningContestant, prompt: str) -> Generation:
    """What a contestant is asked for, for one text. It isn't written down."""
    form = _form(test, contestant, prompt).model_dump()
    names = {"model_name": contestant.model_name, "adapter_name": contestant.adapter_name}
    return Generation(owner_id=test.owner_id, **form, **names)


def _run_quietly(test_id: str) -> None:
    try:
        run(test_id)
    except Exception:
        _log.exception("listening test %s: given up until the next start", test_id)


def _form(test: ListeningTest, contestant: ListeningContestant, prompt: str) -> GenerationCreate:
    return GenerationCreate(
        prompt=prompt,
        model_id=contestant.model_id,
        adapter_id=contestant.adapter_id,
        strength=contestant.strength,
        duration_s=test.duration_s,
        seed=test.seed,
        n_takes=test.n_seeds,
        guidance=test.guidance,
        temperature=test.temperature,
    )


def _advance(session: Session, test_id: str) -> bool:
    test = session.get(ListeningTest, test_id, with_for_update=True)
    if test is None or test.status is not ListeningStatus.MAKING:
        return False
    cells = session.exec(select(ListeningCell).where(ListeningCell.test_id == test_id)).all()
    missing: list[ListeningCell] = []
    n_active = 0
    for cell in cells:
        generation = session.get(Generation, cell.generation_id) if cell.generation_id else None
        if generation is None:
            missing.append(cell)
        elif generation.status is GenerationStatus.FAILED:
            if cell.n_tries >= MOST_TRIES:
                return _fail(session, test, cells, _named(session, cell, generation.error))
            missing.append(cell)
        elif generation.status is not GenerationStatus.SUCCEEDED:
            n_active += 1
    if not missing and not n_active:
        _open(session, test)
        return False
    for cell in missing[: max(0, AT_ONCE - n_active)]:
        try:
            _ask(session, test, cell)
        except TooManyTries:  # the owner is busy with others; it comes after those
            break
        except StudioError as error:
            return _fail(session, test, cells, _named(session, cell, error.message))
    return True


def _ask(session: Session, test: ListeningTest, cell: ListeningCell) -> None:
    owner = session.get_one(User, test.owner_id)
    failed = session.get(Generation, cell.generation_id) if cell.generation_id else None
    contestant = session.get_one(ListeningContestant, (test.id, cell.contestant))
    form = _form(test, contestant, test.prompts[cell.prompt])
    made = generations.start(session, actor=owner, form=form, listening_test_id=test.id)
    if failed is not None:
        generations.remove(session, actor=owner, generation_id=failed.id)
    cell.generation_id, cell.n_tries = made.id, cell.n_tries + 1
    session.add(cell)


def _named(session: Session, cell: ListeningCell, sentence: str) -> str:
    contestant = session.get_one(ListeningContestant, (cell.test_id, cell.contestant))
    name = contestant.adapter_name or contestant.model_name
    return f"“{name}”: {sentence}"


def _fail(session: Session, test: ListeningTest, cells: list[ListeningCell], sentence: str) -> bool:
    """Write down why it can't be made, and call off what is under way. What is there stays for a next try."""
    test.status, test.error = ListeningStatus.FAILED, sentence[:1000]
    session.add(test)
    owner = session.get_one(User, test.owner_id)
    for cell in cells:
        generation = session.get(Generation, cell.generation_id) if cell.generation_id else None
        if generation is not None and generation.status in making.ACTIVE:
            with suppress(StudioError):
                generations.remove(session, actor=owner, generation_id=generation.id)
    return False


def _open(session: Session, test: ListeningTest) -> None:
    rates = select(func.max(Take.sample_rate)).join(
        ListeningCell, col(ListeningCell.generation_id) == col(Take.generation_id)
    )
    test.sample_rate = session.exec(rates.where(ListeningCell.test_id == test.id)).one() or 16_000
    test.status, test.opened_at = ListeningStatus.OPEN, utc_now()
    session.add(test)
