"""Feedback by day and person, when there is enough of it, and its lines in the audit log."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError
from sqlmodel import Session, select

from qlora_studio.contracts.enums import Sharing
from qlora_studio.db import engine as db
from qlora_studio.db.models import FeedbackDay, User
from qlora_studio.db.models.audit import AuditEvent
from qlora_studio.services import (
    audit,
    feedback_days,
    feedback_rules,
    generations,
    ratings,
    tallies,
    votes,
)
from qlora_studio.services.rating_schemas import ReadinessRulePut
from tests.services.test_ratings import add_takes, rate
from tests.services.test_votes import say


def test_days_count_what_was_first_given_on_them_and_by_whom(
    user: User, stranger: User, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = add_takes(user, sharing=Sharing.USE)
    rate(user, one, 5)
    rate(user, one, 2)
    rate(stranger, one, 4)
    say(stranger, one.id, other.id, "left")
    today = tallies.day_of(datetime.now(UTC))
    with db.read() as reading:
        found = feedback_days.list_days(reading, actor=user, n_days=30)
        raters = feedback_days.list_raters(reading, actor=user)
        assert feedback_days.list_days(reading, actor=user, model_id="mod_b")[-1].n_ratings == 0
        assert feedback_days.list_raters(reading, actor=stranger) == []
    assert len(found) == 30
    assert (found[-1].day, found[-1].n_ratings, found[-1].n_votes) == (today, 2, 1)
    assert [(rater.name, rater.n) for rater in raters] == [(stranger.username, 2), (user.username, 1)]
    with db.write() as writing:
        ratings.take_back(writing, actor=user, take_id=one.id, criterion="overall")
        votes.take_back_last(writing, actor=stranger)
    assert {(row.kind, row.rater_id): row.n for row in session.exec(select(FeedbackDay))} == {
        ("rating", stranger.id): 1
    }
    with db.write() as writing:
        generations.remove(writing, actor=user, generation_id=one.generation_id)
    session.rollback()
    assert session.exec(select(FeedbackDay)).all() == []


def test_a_rule_of_ones_own_says_when_it_is_enough(user: User, stranger: User) -> None:
    one, other = add_takes(user)
    rate(user, one, 5, "clarity")
    rate(user, one, 1)
    rate(user, other, 4)
    with db.write() as session:
        assert not feedback_rules.get_rule(session, actor=user).is_own
        form = ReadinessRulePut(criterion=" Clarity ", min_stars=4.5, n_needed=1)
        assert feedback_rules.put_rule(session, actor=user, form=form).criterion == "clarity"
    with db.read() as session:
        ready = ratings.get_readiness(session, actor=user)
        assert ready.message == "1 of 1 takes are rated 4.5 or more by clarity: enough to train on."
        by_all = ratings.get_readiness(session, actor=user, criterion="", min_stars=4, n_needed=2)
        assert by_all.message == "1 of 2 takes are rated 4 or more: rate 1 more."
        assert ratings.get_readiness(session, actor=stranger).n_needed == 50
    with db.write() as session:
        feedback_rules.forget_rule(session, actor=user)
    with db.read() as session:
        assert ratings.get_readiness(session, actor=user).n_missing == 49
    for wrong in ({"n_needed": 0}, {"min_stars": 6}, {"criterion": " "}):
        with pytest.raises(ValidationError):
            ReadinessRulePut.model_validate(wrong)


def test_many_ratings_are_one_line_a_day_and_what_is_taken_back_one_each(
    user: User, stranger: User, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = add_takes(user, sharing=Sharing.USE)
    for stars in (1, 2, 3):
        rate(user, one, stars)
    rate(stranger, other, 3)
    say(user, one.id, other.id, "left")
    say(user, one.id, other.id, "right")
    with db.write() as writing:
        ratings.take_back(writing, actor=user, take_id=one.id, criterion="overall")
    monkeypatch.setattr(audit, "utc_now", lambda: datetime(2031, 1, 1, tzinfo=UTC))
    rate(user, other, 5)
    lines = session.exec(select(AuditEvent).order_by(AuditEvent.id)).all()  # type: ignore[arg-type]
    assert [
        (line.action, line.actor_name, line.n) for line in lines if line.action[:4] in {"take", "pair"}
    ] == [
        ("take.rate", user.username, 3),
        ("take.rate", stranger.username, 1),
        ("pair.vote", user.username, 2),
        ("take.unrate", user.username, 1),
        ("take.rate", user.username, 1),
    ]
    assert lines[-1].object_id == other.id
    assert all(line.last_at is None or line.last_at >= line.at for line in lines)
