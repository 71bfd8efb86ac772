"""What is liked, rated and tagged, and how a list is searched by it."""

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import Role, Sharing
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import Generation, Take, TakeTally, User
from qlora_studio.services import generation_lists, marks, ratings, sound_desk, tallies, votes
from qlora_studio.services.feedback_filter import FeedbackFilter, count
from tests.conftest import make_user
from tests.services.test_ratings import add_takes, rate, ready


def found(user: User, **wanted) -> list[str]:
    with db.read() as session:
        rows, total = generation_lists.list_generations(session, actor=user, **wanted)
    assert total == len(rows)
    return [row.prompt for row in rows]


def like(user: User, take: Take, *, is_liked: bool = True) -> None:
    with db.write() as session:
        change = marks.put_favorite if is_liked else marks.remove_favorite
        change(session, actor=user, take_id=take.id)


def test_a_list_is_searched_by_what_was_done_with_takes(user: User, stranger: User) -> None:
    rain, bell, gong = (
        add_takes(user, 2, prompt=prompt, sharing=Sharing.USE) for prompt in ("rain", "bell", "gong")
    )
    rate(user, rain[0], 4, tags=["warm", "long"])
    rate(user, rain[1], 2, "fits", tags=["warm"])
    rate(user, bell[1], 3, tags=["long"])
    rate(stranger, gong[0], 5, tags=["warm"])  # others' ratings aren't one's own
    like(stranger, gong[0])
    for take in (bell[0], bell[0], bell[1], rain[0]):
        like(user, take)
    assert found(user, rated=True) == ["bell", "rain"]
    assert found(user, rated=False) == ["gong"]
    assert found(user, favorite=True) == ["bell", "rain"]
    assert found(user, tag=" Warm") == ["rain"]
    assert found(user, tag="long", sort="created_at") == ["rain", "bell"]
    assert found(user, tag="long", favorite=True, rated=True, query="bel", model_id="mod_a") == ["bell"]
    assert found(user, tag="never") == found(user, like="gen_none") == []
    assert found(user, like=gong[0].generation_id) == ["gong"]
    with db.read() as session:
        assert marks.list_tags(session, actor=user) == ["long", "warm"]
        assert marks.list_tags(session, actor=stranger) == []
        shared, total = generation_lists.list_shared(session, actor=stranger, favorite=True)
        assert ([row.prompt for row in shared], total) == (["gong"], 1)
        ids = [take.id for take in (*bell, *gong)]
        assert marks.favorites_among(session, actor=user, take_ids=ids) == {take.id for take in bell}
    rate(user, rain[0], 4, tags=["long"])
    with db.write() as session:
        ratings.take_back(session, actor=user, take_id=bell[1].id, criterion="overall")
    like(user, bell[0], is_liked=False)
    assert found(user, tag="warm") == ["rain"], "the other take has it still"
    assert (found(user, tag="long"), found(user, rated=True)) == (["rain"], ["rain"])
    assert found(user, favorite=True) == ["bell", "rain"], "one of its two is liked still"
    like(user, bell[1], is_liked=False)
    assert found(user, favorite=True) == ["rain"]


def test_a_tag_of_many_is_found_by_another_way(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for prompt in ("rain", "bell", "gong"):
        rate(user, add_takes(user, 1, prompt=prompt)[0], 4, tags=["warm"])
    monkeypatch.setattr(generation_lists.search, "FEW", 2)
    assert found(user, tag="warm") == ["gong", "bell", "rain"]


def test_others_takes_are_liked_where_they_are_shared(user: User, stranger: User, session: Session) -> None:
    hidden, shared = (add_takes(user, 1, sharing=sharing)[0] for sharing in (Sharing.PRIVATE, Sharing.READ))
    with pytest.raises(NotFound):
        like(stranger, hidden)
    like(make_user(session, "vera", Role.VIEWER), shared)
    assert found(user, favorite=True) == []


def test_takes_of_listening_tests_are_in_no_list_pair_or_count(user: User, session: Session) -> None:
    plain, tested = (add_takes(user, 2, prompt=prompt) for prompt in ("rain", "bell"))
    with db.write() as writing:
        made = writing.get_one(Generation, tested[0].generation_id)
        tallies.forget_generation(writing, made)
        made.listening_test_id = "test_a"
        tallies.count_generation(writing, made)
        for _ in tested:
            tallies.count_take(writing, made)
    assert (found(user), found(user, query="bell"), found(user, from_tests=True)) == (["rain"], [], ["bell"])
    assert found(user, query="rain") == ["rain"]
    rate(user, tested[0], 5, tags=["warm"])
    rate(user, plain[0], 5)
    assert ready(user, n_needed=2).n_good == 1
    assert found(user, rated=True) == ["rain"]
    with db.read() as reading:
        assert sound_desk.list_recent_prompts(reading, actor=user) == ["rain"]
        pair = votes.get_next(reading, actor=user).pair
        assert pair is not None
        assert pair.prompt == "rain"
        assert count(reading, actor=user, wanted=FeedbackFilter()) == 1
        assert count(reading, actor=user, wanted=FeedbackFilter(from_tests=True)) == 2
        assert reading.get_one(TakeTally, (user.id, "mod_a", 5.0)).n == 1
