"""Ratings: one of a person, take and criterion, counted once, and enough of them or not."""

import random
import threading
from collections import Counter

import pytest
from pydantic import ValidationError
from sqlmodel import Session, select

from qlora_studio.contracts.enums import Role, Sharing
from qlora_studio.core.errors import Forbidden, InvalidInput, NotFound
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import (
    CriterionTally,
    FeedbackDay,
    GenerationTally,
    PromptTally,
    Rating,
    RatingTally,
    Take,
    TakeTally,
    User,
)
from qlora_studio.services import generations, ratings
from qlora_studio.services.rating_schemas import RatingPut
from tests.services.takes import make_takes


def add_takes(
    user: User,
    n_takes: int = 2,
    *,
    prompt: str = "rain",
    model_id: str = "mod_a",
    sharing: Sharing = Sharing.PRIVATE,
) -> list[Take]:
    with db.write() as session:
        return make_takes(session, user, n_takes, prompt=prompt, model_id=model_id, sharing=sharing)


def rate(user: User, take: Take, stars: int, criterion: str = "overall", **form) -> Rating:
    with db.write() as session:
        wanted = RatingPut(criterion=criterion, stars=stars, **form)
        return ratings.put(session, actor=user, take_id=take.id, form=wanted)


def stats(user: User, model_id: str | None = None):
    with db.read() as session:
        return ratings.get_stats(session, actor=user, model_id=model_id)


def ready(user: User, **rule):
    with db.read() as session:
        return ratings.get_readiness(session, actor=user, **rule)


def test_another_rating_takes_the_place_of_the_first(user: User, session: Session) -> None:
    take, _ = add_takes(user)
    rate(user, take, 2, note="thin")
    again = rate(user, take, 5, "  Overall ", tags=["Warm", "warm", "long  tail"], note="")
    assert (again.criterion, again.tags) == ("overall", ["warm", "long tail"])
    found = ratings.list_of_take(session, actor=user, take_id=take.id)
    assert [(r.stars, r.note) for r in found] == [(5, "")]
    assert found[0].updated_at > found[0].created_at
    kept = session.get_one(Take, take.id)
    assert (kept.n_ratings, kept.mean_stars) == (1, 5.0)
    assert session.exec(select(RatingTally.stars, RatingTally.n)).all() == [(5, 1)]


def test_what_the_ratings_say(user: User) -> None:
    (first, second), other = add_takes(user), add_takes(user, 1, prompt="snow", model_id="mod_b")[0]
    rate(user, first, 4)
    rate(user, first, 2, "fits the text")
    rate(user, other, 5)
    told = stats(user)
    assert (told.n_takes, told.n_rated, told.n_ratings) == (3, 2, 3)
    assert told.mean_stars == pytest.approx(11 / 3)
    assert [(c.criterion, c.n, c.mean_stars, c.counts) for c in told.criteria] == [
        ("fits the text", 1, 2.0, [0, 1, 0, 0, 0]),
        ("overall", 2, 4.5, [0, 0, 0, 1, 1]),
    ]
    assert (told.n_prompts, told.n_prompts_rated) == (2, 2)
    assert {(p.prompt, p.n_takes, p.n_rated) for p in told.prompts} == {("rain", 2, 1), ("snow", 1, 1)}
    assert stats(user, "mod_b").n_ratings == 1
    assert stats(user, "mod_none").mean_stars is None
    rate(user, second, 1)
    assert stats(user).prompts[-1].n_rated == 2, "the least rated texts come first"


def test_enough_to_train_on(user: User, stranger: User, monkeypatch: pytest.MonkeyPatch) -> None:
    takes = add_takes(user, 3)
    monkeypatch.setenv("QLORA_STUDIO_READY_TAKES", "2")
    get_settings.cache_clear()
    rate(user, takes[0], 4)
    rate(user, takes[1], 5)
    rate(user, takes[1], 2, "quality")  # a mean of 3.5
    found = ready(user)
    assert (found.is_ready, found.n_good, found.n_missing) == (False, 1, 1)
    assert found.message == "1 of 2 takes are rated 4 or more: rate 1 more."
    assert ready(user, min_stars=3.5).is_ready
    assert ready(user, n_needed=1).message == "1 of 1 takes are rated 4 or more: enough to train on."
    assert ready(user, model_id="mod_b").n_good == 0
    rate(user, takes[2], 4)
    assert ready(user).is_ready
    assert ready(stranger).n_good == 0
    get_settings.cache_clear()
    monkeypatch.delenv("QLORA_STUDIO_READY_TAKES")
    assert ready(user).n_needed == 50


def test_who_may_not(user: User, stranger: User, session: Session) -> None:
    take, _ = add_takes(user)
    for wrong in ({"stars": 0}, {"stars": 6}, {"stars": True}, {"stars": 3, "criterion": "\x1b[31m"}):
        with pytest.raises(ValidationError):
            RatingPut(**wrong)
    with pytest.raises(NotFound):
        rate(stranger, take, 5)
    with pytest.raises(NotFound):
        ratings.list_of_take(session, actor=stranger, take_id=take.id)
    with db.write() as writing, pytest.raises(NotFound):
        ratings.take_back(writing, actor=user, take_id=take.id, criterion="overall")
    user.role = Role.VIEWER
    with pytest.raises(Forbidden):
        rate(user, take, 5)
    user.role = Role.RATER
    assert rate(user, take, 5).stars == 5


def test_one_criterion_too_many(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    take, other = add_takes(user)
    monkeypatch.setattr(ratings, "MOST_CRITERIA", 2)
    for criterion in ("a", "b", "a"):
        rate(user, take, 3, criterion)
    rate(user, other, 3, "b")
    with pytest.raises(InvalidInput, match="2 criteria"):
        rate(user, take, 3, "c")


def test_two_who_rate_at_once_are_both_counted(user: User, stranger: User, session: Session) -> None:
    take, _ = add_takes(user, sharing=Sharing.USE)
    together = threading.Barrier(2)

    def run(rater: User) -> None:
        together.wait(10)
        for stars in (1, 5, 2, 4):
            rate(rater, take, stars)

    threads = [threading.Thread(target=run, args=(rater,)) for rater in (user, stranger)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = session.get_one(Take, take.id)
    assert (kept.n_ratings, kept.stars_sum, kept.mean_stars) == (2, 8, 4.0)
    assert session.exec(select(RatingTally.stars, RatingTally.n)).all() == [(4, 2)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_running_counts_are_what_counting_says(user: User, session: Session, seed: int) -> None:
    drawn = random.Random(seed)
    takes = [t for i in range(4) for t in add_takes(user, 2, prompt=f"text {i % 3}", model_id=f"mod_{i % 2}")]
    given: dict[tuple[str, str], int] = {}
    for _ in range(40):
        take, criterion = drawn.choice(takes), drawn.choice(["overall", "quality"])
        if (take.id, criterion) in given and drawn.random() < 0.4:
            with db.write() as writing:
                ratings.take_back(writing, actor=user, take_id=take.id, criterion=criterion)
            del given[take.id, criterion]
        else:
            given[take.id, criterion] = rate(user, take, drawn.randint(1, 5), criterion).stars
    gone = takes[0].generation_id
    with db.write() as writing:
        generations.remove(writing, actor=user, generation_id=gone)
    kept = {take.id: take for take in takes if take.generation_id != gone}
    left = {key: stars for key, stars in given.items() if key[0] in kept}
    assert {(r.take_id, r.criterion): r.stars for r in session.exec(select(Rating))} == left
    tallied = {(t.model_id, t.criterion, t.stars): t.n for t in session.exec(select(RatingTally))}
    assert tallied == Counter((kept[t].model_id, c, stars) for (t, c), stars in left.items())
    rated = {take_id for take_id, _ in left}
    assert sum(t.n_rated for t in session.exec(select(PromptTally))) == len(rated)
    assert sum(t.n_takes for t in session.exec(select(PromptTally))) == len(kept)
    assert sum(t.n for t in session.exec(select(GenerationTally))) == 3
    by_mean = {(t.model_id, t.mean_stars): t.n for t in session.exec(select(TakeTally))}
    assert by_mean == Counter((t.model_id, t.mean_stars or 0.0) for t in session.exec(select(Take)))
    counted = {(t.model_id, t.criterion, t.mean_stars): t.n for t in session.exec(select(CriterionTally))}
    assert counted == Counter((kept[t].model_id, c, s) for (t, c), s in left.items()), "one rater"
    assert sum(t.n for t in session.exec(select(FeedbackDay))) == len(left)
    for take in session.exec(select(Take)):
        stars = [s for (take_id, _), s in left.items() if take_id == take.id]
        assert take.mean_stars == (sum(stars) / len(stars) if stars else None)
