"""Listening tests: made, listed, closed and deleted. `listening_making` has their takes made."""

from collections.abc import Sequence

from sqlalchemy import func
from sqlmodel import Session, col, delete, or_, select

from qlora_studio.contracts.enums import Audience, ListeningStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound, StudioError
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import (
    Generation,
    ListeningCell,
    ListeningContestant,
    ListeningQuestion,
    ListeningTest,
    PreferenceVote,
    User,
)
from qlora_studio.services import access, adapters, audit, generations, listening_making, making, models
from qlora_studio.services.access import Action
from qlora_studio.services.listening_schemas import (
    Contestant,
    ContestantIn,
    ListeningTestCreate,
    ListeningTestPublic,
)
from qlora_studio.storage import layout

MAX_MAKING = 3  # of one account
_GONE = "There is no such listening test."


def create(
    session: Session, *, actor: User, form: ListeningTestCreate, in_background: bool = True
) -> ListeningTest:
    """Set a listening test up. It opens once its takes are made.

    Args:
        in_background: have them made by threads of this process as soon as the row is on disk.

    Raises:
        Forbidden: the actor's role may only listen.
        InvalidInput: a contestant isn't there, isn't the actor's, or makes no sound.
        Conflict: too many of the actor's tests are having their takes made.
    """
    access.require_role(actor, of="listening test")
    is_making = (ListeningTest.owner_id == actor.id, ListeningTest.status == ListeningStatus.MAKING)
    n_making = session.exec(select(func.count()).select_from(ListeningTest).where(*is_making)).one()
    if n_making >= MAX_MAKING:
        raise Conflict(f"The takes of {MAX_MAKING} of your tests are being made. Wait for one.")
    same = form.model_dump(exclude={"contestants"})
    test = ListeningTest(owner_id=actor.id, **same)
    session.add(test)
    session.flush()
    for position, wanted in enumerate(form.contestants):
        session.add(_contestant(session, actor, test, position, wanted))
        for prompt in range(len(form.prompts)):
            session.add(ListeningCell(test_id=test.id, contestant=position, prompt=prompt))
    _audit(session, actor, "listening_test.create", test)
    if in_background:
        _launch(session, test)
    return test


def get(session: Session, *, actor: User, test_id: str) -> ListeningTest:
    """Return a test that the actor owns, or may take.

    Raises:
        NotFound: it isn't there, or isn't for the actor.
    """
    test = session.get(ListeningTest, test_id)
    if test is None or not (test.owner_id == actor.id or _is_for_all(test)):
        raise NotFound(_GONE)
    return test


def get_own(session: Session, *, actor: User, test_id: str, to_change: bool = False) -> ListeningTest:
    """Return one of the actor's tests.

    Args:
        to_change: whoever changes it at the same time comes after this transaction.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    test = session.get(ListeningTest, test_id, with_for_update=to_change, populate_existing=True)
    if test is None or test.owner_id != actor.id:
        raise NotFound(_GONE)
    return test


def list_tests(
    session: Session, *, actor: User, page: int = 1, page_size: int = 25
) -> tuple[list[ListeningTest], int]:
    """Return one page of the tests that the actor owns or may take, the newest first, and their number."""
    for_all = (col(ListeningTest.audience) == Audience.EVERYONE) & col(ListeningTest.status).in_(
        (ListeningStatus.OPEN, ListeningStatus.CLOSED)
    )
    where = or_(col(ListeningTest.owner_id) == actor.id, for_all)
    total = session.exec(select(func.count()).select_from(ListeningTest).where(where)).one()
    rows = select(ListeningTest).where(where)
    rows = rows.order_by(col(ListeningTest.created_at).desc(), col(ListeningTest.id))
    return list(session.exec(rows.offset((page - 1) * page_size).limit(page_size))), total


def close(session: Session, *, actor: User, test_id: str) -> ListeningTest:
    """Take no further answers.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: it isn't open.
    """
    test = get_own(session, actor=actor, test_id=test_id, to_change=True)
    if test.status is not ListeningStatus.OPEN:
        raise Conflict("Only an open test can be closed.")
    test.status, test.closed_at = ListeningStatus.CLOSED, utc_now()
    session.add(test)
    _audit(session, actor, "listening_test.close", test)
    return test


def retry(session: Session, *, actor: User, test_id: str, in_background: bool = True) -> ListeningTest:
    """Have the takes made that are missing.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: making them hasn't failed.
    """
    access.require_role(actor, of="listening test")
    test = get_own(session, actor=actor, test_id=test_id, to_change=True)
    if test.status is not ListeningStatus.FAILED:
        raise Conflict("Its takes are there, or are being made.")
    test.status, test.error = ListeningStatus.MAKING, ""
    session.add(test)
    for cell in session.exec(select(ListeningCell).where(ListeningCell.test_id == test.id)):
        cell.n_tries = 0
        session.add(cell)
    _audit(session, actor, "listening_test.retry", test)
    if in_background:
        _launch(session, test)
    return test


def remove(session: Session, *, actor: User, test_id: str) -> None:
    """Delete a test, or call off one that is being made: its takes, answers and votes go with it.

    Raises:
        Forbidden: the actor's role may only listen.
        NotFound: it isn't the actor's.
    """
    access.require_role(actor, of="listening test")
    test = get_own(session, actor=actor, test_id=test_id, to_change=True)
    _audit(session, actor, "listening_test.delete", test)
    cells = session.exec(select(ListeningCell.generation_id).where(ListeningCell.test_id == test.id)).all()
    session.execute(delete(PreferenceVote).where(col(PreferenceVote.listening_test_id) == test.id))
    session.delete(test)
    session.flush()
    for generation_id in cells:
        generation = session.get(Generation, generation_id) if generation_id else None
        if generation is not None and generation.owner_id == actor.id:
            generations.remove(session, actor=actor, generation_id=generation.id)


def contestants_of(session: Session, test: ListeningTest) -> list[Contestant]:
    """Return who is compared, in order, each with a name of its own."""
    found = select(ListeningContestant).where(ListeningContestant.test_id == test.id)
    rows = session.exec(found.order_by(col(ListeningContestant.position))).all()
    labels = [_label(row, several=len({one.model_id for one in rows}) > 1) for row in rows]
    return [
        Contestant(
            label=label if labels.count(label) == 1 else f"{label} ({row.position + 1})",
            **row.model_dump(exclude={"test_id"}),
        )
        for row, label in zip(rows, labels, strict=True)
    ]


def to_public(session: Session, *, actor: User, tests: Sequence[ListeningTest]) -> list[ListeningTestPublic]:
    """Return tests as the actor may see them."""
    return [_public(session, actor, test) for test in tests]


def _public(session: Session, actor: User, test: ListeningTest) -> ListeningTestPublic:
    is_own = test.owner_id == actor.id
    contestants = contestants_of(session, test)
    answered = select(func.count()).where(
        ListeningQuestion.test_id == test.id, col(ListeningQuestion.verdict).is_not(None)
    )
    raters = select(func.count(func.distinct(ListeningQuestion.rater_id))).where(
        ListeningQuestion.test_id == test.id, col(ListeningQuestion.verdict).is_not(None)
    )
    n_takes = len(contestants) * len(test.prompts) * test.n_seeds
    n_done = listening_making.count_done(session, test) if test.status in _UNMADE else n_takes
    owner = session.get_one(User, test.owner_id)
    same = (
        "id", "name", "status", "audience", "n_seeds", "duration_s", "catch_every", "max_votes",
        "max_per_rater", "n_votes", "created_at", "opened_at", "closed_at",
    )  # fmt: skip
    return ListeningTestPublic(
        **{name: getattr(test, name) for name in same},
        is_own=is_own,
        owner_name=owner.username,
        contestants=contestants if is_own else [],
        n_contestants=len(contestants),
        prompts=test.prompts if is_own else [],
        n_takes=n_takes,
        n_takes_done=n_done,
        percent=round(100 * n_done / n_takes),
        n_raters=session.exec(raters).one(),
        n_answered=session.exec(answered.where(ListeningQuestion.rater_id == actor.id)).one(),
        error=test.error if is_own else "",
    )


_UNMADE = (ListeningStatus.MAKING, ListeningStatus.FAILED)


def _contestant(
    session: Session, actor: User, test: ListeningTest, position: int, wanted: ContestantIn
) -> ListeningContestant:
    """Check that somebody can make sound, with a request that is not sent."""
    try:
        model = models.get_model(session, actor=actor, model_id=wanted.model_id, action=Action.TRY)
        adapter_name = ""
        if wanted.adapter_id:
            view = adapters.get_view(session, actor=actor, adapter_id=wanted.adapter_id, action=Action.TRY)
            adapter_name = view.adapter.name
        row = ListeningContestant(
            test_id=test.id, position=position, model_id=model.id, model_name=model.name,
            adapter_id=wanted.adapter_id or None, adapter_name=adapter_name, strength=wanted.key[2],
        )  # fmt: skip
        trial = listening_making.generation_of(test, row, test.prompts[0])
        path = layout.generation_path("none") / "take.wav"
        making.prepare_take(session, actor=actor, generation=trial, position=0, path=path)
    except StudioError as error:
        sentence = f"Contestant {position + 1}: {error.message}"
        raise InvalidInput(sentence, fields={f"contestants.{position}": sentence}) from error
    return row


def _label(row: ListeningContestant, *, several: bool) -> str:
    if row.adapter_id is None:
        return row.model_name if several else f"{row.model_name} (base)"
    strength = "" if row.strength == 1 else f" × {row.strength:g}"
    return f"{row.adapter_name}{strength}"


def _is_for_all(test: ListeningTest) -> bool:
    is_there = test.status in (ListeningStatus.OPEN, ListeningStatus.CLOSED)
    return test.audience is Audience.EVERYONE and is_there


def _launch(session: Session, test: ListeningTest) -> None:
    test_id = test.id
    after_commit(session, lambda: listening_making.launch(test_id))


def _audit(session: Session, actor: User, action: str, test: ListeningTest) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="listening_test",
        object_id=test.id,
        object_name=test.name,
        details={"prompts": len(test.prompts), "votes": test.n_votes},
    )
