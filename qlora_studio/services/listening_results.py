"""What the answers of a listening test say: ranking, who can't be told apart, raters, and an export."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ListeningStatus, Preference, QuestionKind
from qlora_studio.core.errors import NotFound
from qlora_studio.db.models import ListeningQuestion, ListeningRater, ListeningTest, User
from qlora_studio.listening import power, strengths
from qlora_studio.listening.agreement import agreement_on_votes
from qlora_studio.listening.raters import Reliability, sift
from qlora_studio.listening.strengths import Ranking
from qlora_studio.listening.votes import Tally, count_votes
from qlora_studio.services import audit, listening_tests
from qlora_studio.services.listening_questions import as_votes
from qlora_studio.services.listening_schemas import (
    AgreementPublic,
    AnswerRow,
    ComparisonPublic,
    Contestant,
    RaterPublic,
    Results,
    StandingPublic,
)
from qlora_studio.storage.spreadsheets import inert


@dataclass(frozen=True)
class _Read:
    """A test's answers, and whose count."""

    test: ListeningTest
    contestants: list[Contestant]
    rows: list[ListeningQuestion]
    names: dict[str, str]  # of raters
    decided: dict[str, bool]


def get(session: Session, *, actor: User, test_id: str) -> Results:
    """Return what the answers say so far.

    Raises:
        NotFound: the test isn't the actor's.
    """
    found = _read(session, actor, test_id)
    votes = as_votes(found.rows)
    kept, raters = sift(votes, decided=found.decided)
    tally = count_votes(kept, systems=[str(c.position) for c in found.contestants])
    ranking = strengths.rank(tally)
    told = [_rater(found, rater) for rater in raters]
    out = {rater.rater_id for rater in told if rater.is_left_out}
    agreement = agreement_on_votes(vote for vote in votes if vote.rater not in out)
    comparisons = _comparisons(found, tally, ranking)
    standings = _standings(found, ranking)
    n_ties = int(tally.counts[..., 2].sum())
    low, high = ranking.lean_interval
    return Results(
        summary=_summary(found, standings, comparisons, tally.n_votes),
        n_votes=tally.n_votes,
        n_left_out=sum(rater.n_votes for rater in told if rater.is_left_out),
        tie_share=n_ties / tally.n_votes if tally.n_votes else None,
        lean=ranking.lean,
        lean_low=low,
        lean_high=high,
        standings=standings,
        comparisons=comparisons,
        agreement=AgreementPublic(
            alpha=agreement.alpha, low=agreement.low, high=agreement.high, n_units=agreement.n_units
        ),
        raters=told,
    )


def decide(session: Session, *, actor: User, test_id: str, rater_id: str, is_left_out: bool | None) -> None:
    """Leave a rater's votes out, or keep them, whatever the rule says; none goes back to the rule.

    Raises:
        NotFound: the test isn't the actor's, or that person has answered nothing in it.
    """
    test = listening_tests.get_own(session, actor=actor, test_id=test_id, to_change=True)
    answers = select(ListeningQuestion.id).where(
        ListeningQuestion.test_id == test.id,
        ListeningQuestion.rater_id == rater_id,
        col(ListeningQuestion.verdict).is_not(None),
    )
    if session.exec(answers.limit(1)).first() is None:
        raise NotFound("Nobody of that id has answered in this test.")
    known = session.get(ListeningRater, (test.id, rater_id))
    if is_left_out is None:
        if known is not None:
            session.delete(known)
    else:
        known = known or ListeningRater(test_id=test.id, rater_id=rater_id, is_left_out=is_left_out)
        known.is_left_out = is_left_out
        session.add(known)
    audit.record(
        session,
        actor=actor,
        action="listening_test.rater",
        object_type="listening_test",
        object_id=test.id,
        object_name=test.name,
        details={"rater": rater_id, "left_out": is_left_out},
    )


def list_answers(session: Session, *, actor: User, test_id: str) -> list[AnswerRow]:
    """Return every answer, skips too, in the order they were given.

    Raises:
        NotFound: the test isn't the actor's.
    """
    found = _read(session, actor, test_id)
    labels = {c.position: c.label for c in found.contestants}
    by_time = sorted(found.rows, key=lambda row: (row.answered_at is None, row.answered_at, row.number))
    return [
        AnswerRow(
            number=row.number,
            rater=found.names.get(row.rater_id, ""),
            prompt=found.test.prompts[row.prompt],
            seed=found.test.seed + row.seed,
            left=labels[row.left],
            right=labels[row.right],
            kind=row.kind.value,
            damaged=row.damaged,
            verdict=row.verdict,
            correct=_is_correct(row),
            answered_at=row.answered_at,
        )
        for row in by_time
        if row.verdict is not None and row.answered_at is not None
    ]


def to_csv(rows: Sequence[AnswerRow]) -> str:
    """Return answers as a table. Cells that a spreadsheet would run as a formula are put in quotes."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(AnswerRow.model_fields)
    for row in rows:
        writer.writerow(inert(value) for value in row.model_dump(mode="json").values())
    return text.getvalue()


def _read(session: Session, actor: User, test_id: str) -> _Read:
    test = listening_tests.get_own(session, actor=actor, test_id=test_id)
    answered = select(ListeningQuestion, User.username).join(
        User, col(User.id) == col(ListeningQuestion.rater_id)
    )
    answered = answered.where(
        ListeningQuestion.test_id == test.id, col(ListeningQuestion.verdict).is_not(None)
    ).order_by(col(ListeningQuestion.rater_id), col(ListeningQuestion.number))
    pairs = session.exec(answered).all()
    decided = session.exec(select(ListeningRater).where(ListeningRater.test_id == test.id))
    return _Read(
        test=test,
        contestants=listening_tests.contestants_of(session, test),
        rows=[row for row, _ in pairs],
        names={row.rater_id: name for row, name in pairs},
        decided={row.rater_id: row.is_left_out for row in decided},
    )


def _rater(found: _Read, rater: Reliability) -> RaterPublic:
    decided = found.decided.get(rater.rater)
    same = ("n_votes", "n_known", "n_right", "n_repeats", "n_same")
    return RaterPublic(
        rater_id=rater.rater,
        name=found.names[rater.rater],
        **{name: getattr(rater, name) for name in same},
        reason=rater.left_out or "",
        decided=decided,
        is_left_out=rater.left_out is not None if decided is None else decided,
    )


def _standings(found: _Read, ranking: Ranking) -> list[StandingPublic]:
    same = ("strength", "low", "high", "n_votes", "first_place", "last_place")
    return [
        StandingPublic(
            position=int(standing.system),
            label=found.contestants[int(standing.system)].label,
            **{name: getattr(standing, name) for name in same},
        )
        for standing in ranking.standings()
    ]


def _comparisons(found: _Read, tally: Tally, ranking: Ranking) -> list[ComparisonPublic]:
    """Every two contestants, the stronger one first."""
    order = [standing.system for standing in ranking.standings()]
    both: np.ndarray = tally.asked + tally.asked.T
    told = []
    for one, other in combinations(order, 2):
        now = ranking.compare(one, other)
        told.append(
            ComparisonPublic(
                one=int(one),
                other=int(other),
                n_votes=int(both[ranking.place_of(one), ranking.place_of(other)]),
                share=now.share,
                low=now.share_low,
                high=now.share_high,
                is_told_apart=now.is_told_apart,
                votes_needed=power.votes_needed(ranking, one, other),
            )
        )
    return told


def _summary(
    found: _Read, standings: list[StandingPublic], comparisons: list[ComparisonPublic], n_votes: int
) -> str:
    """The outcome in a sentence or two."""
    if not n_votes:
        return "Nobody has voted yet." if not found.rows else "No vote counts yet."
    best = standings[0]
    apart = sum(found.is_told_apart for found in comparisons)
    if best.last_place == 1:
        first = f"“{best.label}” is ahead of all others."
    else:
        tied = [s.label for s in standings[1:] if s.first_place == 1]
        first = f"“{best.label}” leads, but can't be told apart yet from {_listed(tied)}."
    if apart == len(comparisons):
        return f"{first} All {len(standings)} are told apart." if len(standings) > 2 else first
    needed = [c.votes_needed for c in comparisons if not c.is_told_apart and c.votes_needed is not None]
    if needed and found.test.status is ListeningStatus.OPEN:
        first += f" The next two to be told apart need about {min(needed):,} more votes between them."
    return f"{first} {apart} of {len(comparisons)} pairs are told apart."


def _listed(labels: list[str]) -> str:
    quoted = [f"“{label}”" for label in labels]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _is_correct(row: ListeningQuestion) -> bool | None:
    if row.kind is not QuestionKind.CATCH or row.verdict is Preference.SKIP:
        return None
    if not row.damaged:
        return row.verdict is Preference.TIE
    return row.verdict is (Preference.RIGHT if row.damaged == "left" else Preference.LEFT)
