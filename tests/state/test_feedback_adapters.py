"""The tab of adapters that make sounds: those of one's own models, one of each the default."""

import asyncio

from sqlmodel import Session

from qlora_studio.contracts.enums import ModelStatus, Sharing, Task
from qlora_studio.db.models import BaseAudioModel, User
from qlora_studio.services import adapters
from qlora_studio.state.feedback_adapters import FeedbackAdaptersState
from tests.services.test_adapters import add
from tests.services.test_generations import sound_model
from tests.state.calling import Opener, call


def test_an_adapter_is_made_the_default_and_another_takes_its_place(
    user: User, session: Session, opened: Opener
) -> None:
    model = sound_model(session, user)
    hears = BaseAudioModel(owner_id=user.id, name="hears", task=Task.SPEECH_TO_TEXT, status=ModelStatus.READY)
    session.add(hears)
    session.commit()
    first, second = (add(session, model, name) for name in ("first", "second"))
    add(session, hears, "of another task")
    state = opened(FeedbackAdaptersState)

    async def sit() -> None:
        await call(state, "load")
        assert [(one.name, one.has_default) for one in state.models] == [(model.name, False)]
        assert {row.name for row in state.models[0].adapters} == {"first", "second"}
        for adapter in (first, second):
            await call(state, "activate", adapter_id=adapter.id)
            await call(state, "load")
            assert [row.name for row in state.models[0].adapters if row.active] == [adapter.name]
        await call(state, "deactivate", adapter_id=second.id)
        await call(state, "load")
        assert not state.models[0].has_default

    asyncio.run(sit())


def test_what_others_share_for_use_is_shown_and_own_adapters_of_it_can_be_the_default(
    user: User, stranger: User, session: Session, opened: Opener
) -> None:
    base = sound_model(session, stranger)
    theirs, own = add(session, base, "theirs"), add(session, base, "own")
    own.owner_id, theirs.is_active = user.id, True
    base.sharing = theirs.sharing = Sharing.USE
    session.add_all([base, theirs, own])
    session.commit()
    state = opened(FeedbackAdaptersState)

    async def sit() -> None:
        await call(state, "load")
        await call(state, "activate", adapter_id=own.id)
        await call(state, "load")

    asyncio.run(sit())
    (shown,) = state.models
    assert (shown.name, shown.owner, shown.has_default) == (base.name, "mallory", True)
    rows = {row.name: (row.owner, row.may_change) for row in shown.adapters}
    assert rows == {"theirs": ("mallory", False), "own": ("", True)}


def test_another_ones_adapter_stays_as_it_is(
    user: User, stranger: User, session: Session, opened: Opener
) -> None:
    theirs = add(session, sound_model(session, stranger), "theirs")
    state = opened(FeedbackAdaptersState)

    async def sit() -> None:
        await call(state, "load")
        assert state.models == []
        await call(state, "activate", adapter_id=theirs.id)

    asyncio.run(sit())
    assert adapters.active_for(session, actor=stranger, model_id=theirs.base_model_id) is None
