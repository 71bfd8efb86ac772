"""What raters of a listening test are asked: two questions ahead, their sounds, their answers.

A question's id is all that a rater learns: it names no contestant, and the sounds are given through it, all
at one rate, without a name, a date or a tag that would tell two apart.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.audio import blinding
from qlora_studio.audio.resample import load_mono
from qlora_studio.contracts.enums import ListeningStatus, Preference, QuestionKind
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, NotFound
from qlora_studio.db.models import (
    ListeningCell,
    ListeningContestant,
    ListeningQuestion,
    ListeningTest,
    PreferenceVote,
    Take,
    User,
)
from qlora_studio.listening import strengths
from qlora_studio.listening.questions import BLOCK, Pair, Question, next_question
from qlora_studio.listening.votes import Choice, Tally, Vote, count_rows
from qlora_studio.services import access, blind_pairs, listening_tests, tallies
from qlora_studio.services.access import Action
from qlora_studio.services.listening_schemas import Asked, BlindQuestion
from qlora_studio.storage import layout

AHEAD = 2  # the one on the screen, and the next
Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
_BROKEN = "*"  # behind a contestant: the broken copy of its sound
_GONE = "There is no such question."
_NO_SOUND = "The sound is no longer there. Skip this pair."
Place = tuple[int, int, int]  # contestant, text, seed


@dataclass(frozen=True)
class _Sitting:
    """One rater in one test: the takes that are there, and the rater's questions so far."""

    test: ListeningTest
    rater_id: str
    takes: dict[Place, str]
    questions: list[ListeningQuestion]


def ask(session: Session, *, actor: User, test_id: str) -> Asked:
    """Return the question that the actor is at, and the one after it; both are made if they aren't there.

    Raises:
        Forbidden: the actor's role may only listen.
        NotFound: the test isn't there, or isn't for the actor.
        Conflict: it isn't open yet.
    """
    test = _test_to_take(session, actor, test_id)
    mine = _questions(session, test, actor)
    if test.status is ListeningStatus.OPEN:
        sitting = _Sitting(test, actor.id, _takes(session, test), mine)
        _forget_unheard(session, sitting)
        n_open = sum(question.verdict is None for question in mine)
        while n_open < AHEAD and _add_question(session, sitting):
            n_open += 1
    waiting = [question for question in mine if question.verdict is None]
    if test.status is not ListeningStatus.OPEN:
        waiting = []
    return Asked(
        questions=[BlindQuestion(id=q.id, prompt=test.prompts[q.prompt]) for q in waiting[:AHEAD]],
        n_answered=sum(question.verdict is not None for question in mine),
        n_most=test.max_per_rater,
        status=test.status,
    )


def answer(session: Session, *, actor: User, question_id: str, verdict: Preference) -> ListeningQuestion:
    """Take in what the actor says. The same answer again changes nothing.

    Raises:
        NotFound: it isn't the actor's question.
        Conflict: it was answered otherwise, or the test is closed.
    """
    question = _own_question(session, actor, question_id)
    test = session.get_one(ListeningTest, question.test_id, with_for_update=True, populate_existing=True)
    session.refresh(question)
    if question.verdict is not None:
        if question.verdict is verdict:
            return question
        raise Conflict("You have answered this pair already.")
    if test.status is not ListeningStatus.OPEN:
        raise Conflict("This listening test is closed.")
    question.verdict, question.answered_at = verdict, utc_now()
    session.add(question)
    if question.kind is QuestionKind.NEW and verdict is not Preference.SKIP:
        _count(session, test, question)
    return question


def get_sound(session: Session, *, actor: User, question_id: str, side: Side) -> bytes:
    """Return one side of one of the actor's questions as a WAV file.

    Raises:
        NotFound: it isn't the actor's question, or its sound is gone.
    """
    question = _own_question(session, actor, question_id)
    test = session.get_one(ListeningTest, question.test_id)
    take_id = question.left_take_id if side == "left" else question.right_take_id
    take = session.get(Take, take_id)
    if take is None:
        raise NotFound(_NO_SOUND)
    rng = np.random.default_rng(zlib.crc32(f"{question.id}:{side}".encode()))
    try:
        path = layout.take_path(take.generation_id, take.id)
        samples = load_mono(path, sample_rate=test.sample_rate)
    except (OSError, ValueError) as error:
        raise NotFound(_NO_SOUND) from error
    if question.damaged == side:
        samples = blinding.damage(samples, sample_rate=test.sample_rate, rng=rng)
    return blinding.encode(samples, sample_rate=test.sample_rate, rng=rng)


def as_votes(rows: Iterable[ListeningQuestion]) -> list[Vote]:
    """Return answered questions as votes, those that were skipped left out; contestants by their position."""
    return [_vote(row) for row in rows if row.verdict not in (None, Preference.SKIP)]


# -- a rater's questions


def _test_to_take(session: Session, actor: User, test_id: str) -> ListeningTest:
    access.require_role(actor, Action.RATE, message="Your role can listen, but not take listening tests.")
    listening_tests.get(session, actor=actor, test_id=test_id)
    # questions of one test are made one after the other: each depends on the answers so far
    test = session.get_one(ListeningTest, test_id, with_for_update=True, populate_existing=True)
    if test.status in (ListeningStatus.MAKING, ListeningStatus.FAILED):
        raise Conflict("Its sounds are not made yet.")
    return test


def _own_question(session: Session, actor: User, question_id: str) -> ListeningQuestion:
    question = session.get(ListeningQuestion, question_id)
    if question is None or question.rater_id != actor.id:
        raise NotFound(_GONE)
    listening_tests.get(session, actor=actor, test_id=question.test_id)
    return question


def _questions(session: Session, test: ListeningTest, actor: User) -> list[ListeningQuestion]:
    mine = select(ListeningQuestion).where(
        ListeningQuestion.test_id == test.id, ListeningQuestion.rater_id == actor.id
    )
    return list(session.exec(mine.order_by(col(ListeningQuestion.number))))


def _takes(session: Session, test: ListeningTest) -> dict[Place, str]:
    """The takes that are there, by contestant, text and seed."""
    rows = select(ListeningCell.contestant, ListeningCell.prompt, Take.position, Take.id)
    rows = rows.join(Take, col(Take.generation_id) == col(ListeningCell.generation_id))
    found = session.exec(rows.where(ListeningCell.test_id == test.id))
    return {(contestant, prompt, seed): take_id for contestant, prompt, seed, take_id in found}


def _forget_unheard(session: Session, sitting: _Sitting) -> None:
    """Questions whose sounds were deleted before they were answered are asked no more."""
    there = set(sitting.takes.values())
    for question in list(sitting.questions):
        if question.verdict is None and not {question.left_take_id, question.right_take_id} <= there:
            sitting.questions.remove(question)
            session.delete(question)
            session.flush()


def _add_question(session: Session, sitting: _Sitting) -> bool:
    """Write the rater's next question down; whether there was one."""
    test, mine = sitting.test, sitting.questions
    number = mine[-1].number + 1 if mine else 0
    if test.max_per_rater is not None and number >= test.max_per_rater:
        return False
    tally = _tally(session, test)
    found = next_question(
        seed=f"{test.id}:{sitting.rater_id}",
        n_asked=number,
        history=as_votes(mine),
        open_pairs=_open_pairs(sitting),
        catches=_catches(sitting) if test.catch_every else [],
        tally=tally,
        ranking=strengths.rank(tally),
        block=test.catch_every or BLOCK,
    )
    if found is None:
        return False
    question = _row(sitting, number, found)
    session.add(question)
    session.flush()
    mine.append(question)
    return True


def _row(sitting: _Sitting, number: int, found: Question) -> ListeningQuestion:
    prompt, seed = map(int, found.pair.pair.split(":")[-3:-1])
    left, right = (int(name.rstrip(_BROKEN)) for name in (found.left, found.right))
    broken = [side for side, name in zip(SIDES, (found.left, found.right), strict=True) if _BROKEN in name]
    return ListeningQuestion(
        test_id=sitting.test.id,
        rater_id=sitting.rater_id,
        number=number,
        kind=found.kind,
        prompt=prompt,
        seed=seed,
        left=left,
        right=right,
        left_take_id=sitting.takes[left, prompt, seed],
        right_take_id=sitting.takes[right, prompt, seed],
        damaged=broken[0] if broken else "",
    )


def _open_pairs(sitting: _Sitting) -> list[Pair]:
    """Pairs of different contestants that the rater was not asked about."""
    asked = {_pair_of(question) for question in sitting.questions}
    by_text: dict[tuple[int, int], list[int]] = {}
    for contestant, prompt, seed in sorted(sitting.takes):
        by_text.setdefault((prompt, seed), []).append(contestant)
    return [
        Pair(name, str(one), str(other))
        for (prompt, seed), there in by_text.items()
        for one, other in combinations(there, 2)
        if (name := _name(prompt, seed, one, other)) not in asked
    ]


def _catches(sitting: _Sitting) -> list[Pair]:
    """A sound beside its broken copy, and of each third take beside itself, where a tie is right."""
    return [
        _same(place) if index % 3 == 2 else _broken(place)
        for index, place in enumerate(sorted(sitting.takes))
    ]


def _broken(place: Place) -> Pair:
    contestant, prompt, seed = place
    name, whole = f"broken:{prompt}:{seed}:{contestant}", str(contestant)
    return Pair(name, whole, whole + _BROKEN, is_catch=True, known=whole)


def _same(place: Place) -> Pair:
    contestant, prompt, seed = place
    whole = str(contestant)
    return Pair(f"same:{prompt}:{seed}:{contestant}", whole, whole, is_catch=True)


def _name(prompt: int, seed: int, one: int, other: int) -> str:
    low, high = sorted((one, other))
    return f"{prompt}:{seed}:{low}-{high}"


def _pair_of(question: ListeningQuestion) -> str:
    if question.kind is not QuestionKind.CATCH:
        return _name(question.prompt, question.seed, question.left, question.right)
    kind = "broken" if question.damaged else "same"
    return f"{kind}:{question.prompt}:{question.seed}:{question.left}"


def _vote(question: ListeningQuestion) -> Vote:
    left, right = (
        f"{contestant}{_BROKEN if question.damaged == side else ''}"
        for contestant, side in zip((question.left, question.right), SIDES, strict=True)
    )
    return Vote(
        rater=question.rater_id,
        pair=_pair_of(question),
        left=left,
        right=right,
        choice=Choice((question.verdict or Preference.TIE).value),
        is_catch=question.kind is QuestionKind.CATCH,
        known=str(question.left) if question.damaged else None,
    )


# -- counting


def _tally(session: Session, test: ListeningTest) -> Tally:
    """All votes that rank so far, counted by the database."""
    rows = select(ListeningQuestion.left, ListeningQuestion.right, ListeningQuestion.verdict, func.count())
    rows = rows.where(
        ListeningQuestion.test_id == test.id,
        ListeningQuestion.kind == QuestionKind.NEW,
        col(ListeningQuestion.verdict).in_((Preference.LEFT, Preference.RIGHT, Preference.TIE)),
    ).group_by(col(ListeningQuestion.left), col(ListeningQuestion.right), col(ListeningQuestion.verdict))
    counted = [
        (str(left), str(right), Choice(verdict.value), n)
        for left, right, verdict, n in session.exec(rows)
        if verdict is not None
    ]
    return count_rows(counted, systems=_systems(session, test))


def _systems(session: Session, test: ListeningTest) -> Sequence[str]:
    found = select(ListeningContestant.position).where(ListeningContestant.test_id == test.id)
    return [str(position) for position in sorted(session.exec(found))]


def _count(session: Session, test: ListeningTest, question: ListeningQuestion) -> None:
    """Count a vote, for the ranking and, between takes of one model, for preference tuning."""
    test.n_votes += 1
    if test.max_votes is not None and test.n_votes >= test.max_votes:
        test.status, test.closed_at = ListeningStatus.CLOSED, utc_now()
    session.add(test)
    left, right = (session.get(Take, id_) for id_ in (question.left_take_id, question.right_take_id))
    if left is None or right is None or left.model_id != right.model_id or question.verdict is None:
        return
    session.add(
        PreferenceVote(
            rater_id=question.rater_id,
            first_take_id=left.id,
            second_take_id=right.id,
            pair_key=blind_pairs.key_of(left.id, right.id),
            owner_id=left.owner_id,
            model_id=left.model_id,
            prompt_key=tallies.prompt_key(test.prompts[question.prompt]),
            verdict=question.verdict,
            listening_test_id=test.id,
        )
    )
