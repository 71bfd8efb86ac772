"""The page of blind pairs: the next pair is there before it is wanted, and an answer counts once."""

import asyncio

from sqlmodel import Session, select

from qlora_studio.contracts.enums import Preference, Role
from qlora_studio.db.models import PreferenceVote, User
from qlora_studio.state.pairs import PairsState
from tests.services.test_ratings import add_takes
from tests.state.calling import Opener, call


def test_one_pair_after_the_other(user: User, session: Session, opened: Opener) -> None:
    add_takes(user, 3)
    state = opened(PairsState)

    async def sit() -> None:
        await call(state, "load")
        seen = [state.pair.id]
        assert state.pair.left.endswith("/audio")
        assert state.upcoming.id not in ("", state.pair.id)
        for _ in range(2):
            expected = state.upcoming.id
            await call(state, "answer", pair_id=state.pair.id, verdict=Preference.LEFT)
            await call(state, "answer", pair_id=seen[-1], verdict=Preference.RIGHT)
            assert state.pair.id == expected, "the pair that was fetched ahead"
            seen.append(state.pair.id)
        assert len(set(seen)) == 3
        assert (state.upcoming.id, state.progress) == ("", "2 pairs answered, 2 just now")
        await call(state, "undo")
        assert (state.pair.id, state.upcoming.id, state.n_answered) == (seen[1], seen[2], 1)
        for verdict in (Preference.TIE, Preference.SKIP):
            await call(state, "answer", pair_id=state.pair.id, verdict=verdict)
        assert (state.pair.id, state.n_answered) == ("", 3)

    asyncio.run(sit())
    assert sorted(session.exec(select(PreferenceVote.verdict))) == ["left", "skip", "tie"]


def test_who_may_only_look_is_told(user: User, session: Session, opened: Opener) -> None:
    user.role = Role.VIEWER
    session.add(user)
    session.commit()
    state = opened(PairsState)
    asyncio.run(call(state, "load"))
    assert state.is_forbidden
    assert state.refusal == "Your role can listen, but not compare."
