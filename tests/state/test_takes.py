"""The page *Studio*: what it offers, what it has made, and ratings that stay with their take."""

import asyncio

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import GenerationStatus, ModelStatus, Role, Sharing, Task
from qlora_studio.db.models import Adapter, BaseAudioModel, Generation, Rating, User
from qlora_studio.services import making
from qlora_studio.state import studio, takes
from qlora_studio.state.own_templates import NO_NAME
from qlora_studio.state.studio import StudioState
from qlora_studio.state.takes import TakesState
from tests.conftest import make_user
from tests.services.test_generations import sound_model
from tests.services.test_ratings import add_takes, rate
from tests.state.calling import Opener, SlowReading, call, hold_by_itself


def make_adapter(session: Session, owner: User, model: BaseAudioModel, *, name: str = "dry") -> Adapter:
    adapter = Adapter(owner_id=owner.id, base_model_id=model.id, name=name, path=f"/none/{name}")
    session.add(adapter)
    session.commit()
    return adapter


@pytest.fixture(autouse=True)
def nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "launch", lambda *_: None)


def test_a_text_becomes_a_generation(
    user: User, session: Session, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sound_model(session, user)
    session.add(
        BaseAudioModel(owner_id=user.id, name="hears", task=Task.SPEECH_TO_TEXT, status=ModelStatus.READY)
    )
    session.commit()
    state = opened(StudioState)

    async def sit() -> None:
        await call(state, "load")
        assert state.models == [(model.id, model.name)]
        await call(state, "generate")
        assert state.refusal == "Describe the sound first."
        await call(state, "write", text="  rain  on a roof ")
        await call(state, "set_number", name="n_takes", value="99")
        await call(state, "set_number", name="owner_id", value="1")
        await call(state, "set_seed", value="7")
        await call(state, "generate")
        assert (state.refusal, state.seed, state.recent) == ("", "7", ["rain on a roof"])
        await call(state, "generate")  # the second press of a double one
        await call(state, "lock_seed", is_locked=False)
        monkeypatch.setattr(studio, "DOUBLE_PRESS_S", 0.0)
        await call(state, "generate")

    asyncio.run(sit())
    made = session.exec(select(Generation).order_by("created_at")).all()
    assert [(g.prompt, g.n_takes, g.model_id) for g in made] == [("rain on a roof", 16, model.id)] * 2
    assert made[0].seed == 7
    shelf = opened(TakesState)
    asyncio.run(call(shelf, "load"))
    assert [row.progress for row in shelf.rows] == ["Waiting for its turn"] * 2
    asyncio.run(call(shelf, "cancel", generation_id=made[0].id))
    assert [row.id for row in shelf.rows] == [made[1].id]


def test_stars_tags_and_note_stay_with_their_criterion(user: User, session: Session, opened: Opener) -> None:
    first, second = add_takes(user)
    state = opened(TakesState)

    def shown() -> tuple:
        take = state.rows[0].takes[0]
        return take.stars, take.tags, take.note

    async def sit() -> None:
        await call(state, "load")
        await call(state, "set_note", take_id=first.id, text="before the stars")
        await call(state, "set_tags", take_id=first.id, text="thin")
        assert (shown(), state.saved_id) == ((0, "thin", "before the stars"), "")
        await call(state, "rate", take_id=first.id, stars=5)
        assert shown() == (5, "thin", "before the stars")
        await call(state, "set_tags", take_id=first.id, text="Warm, long tail,")
        await call(state, "set_note", take_id=first.id, text=" fine ")
        assert (shown(), state.saved_id) == ((5, "warm, long tail", "fine"), first.id)
        await call(state, "rate", take_id=first.id, stars=4)
        assert shown() == (4, "warm, long tail", "fine")
        assert state.n_good == 1
        await call(state, "rate_by", criterion=" Fits  the text ")
        assert shown() == (0, "", "")
        await call(state, "rate", take_id=first.id, stars=2)
        assert state.criteria == ["overall", "fits the text"]
        assert state.n_good == 0, "the mean over both criteria"
        await call(state, "take_back", take_id=first.id)
        assert (shown(), state.n_good) == ((0, "", ""), 1)
        await call(state, "rate", take_id="take_of_nobody", stars=5)

    asyncio.run(sit())
    assert [(r.take_id, r.stars) for r in session.exec(select(Rating))] == [(first.id, 4)]
    assert state.rows[0].takes[1].id == second.id


def test_the_same_text_and_seed_are_compared(user: User, session: Session, opened: Opener) -> None:
    model = sound_model(session, user)
    take, _ = add_takes(user, model_id=model.id)
    asked = session.get_one(Generation, take.generation_id)
    asked.adapter_id, asked.adapter_name = "ada_gone", "wet"
    session.add(asked)
    session.commit()
    dry = make_adapter(session, user, model)
    state = opened(TakesState)

    async def sit() -> None:
        await call(state, "load")
        assert (state.rows[0].made_by, state.rows[0].takes[0].twin) == ("Rain + wet", "")
        await call(state, "ask_compare", generation_id=asked.id)
        assert (state.makers, state.other) == ([("base", "Base model alone"), (dry.id, "dry")], "base")
        await call(state, "compare")
        plain = session.exec(select(Generation).where(Generation.id != asked.id)).one()
        same = ("prompt", "seed", "n_takes", "duration_s", "model_id")
        assert [getattr(plain, name) for name in same] == [getattr(asked, name) for name in same]
        assert (plain.adapter_id, plain.status) == (None, GenerationStatus.QUEUED)
        assert [(row.id, row.side) for row in state.rows] == [(plain.id, "B"), (asked.id, "A")]
        await call(state, "ask_compare", generation_id=asked.id)
        assert "there already" in str(await call(state, "compare"))
        await call(state, "ask_compare", generation_id=plain.id)
        assert state.makers == [(dry.id, "dry")], "A is the base model here"
        state.makers = [("base", "Base model alone"), *state.makers]
        await call(state, "choose_other", other="base")
        await call(state, "compare")
        assert state.compare_refusal.startswith("That is what made these takes")

    asyncio.run(sit())
    add_takes(user, 1, model_id=model.id)
    asyncio.run(call(state, "load"))
    twins = [take.twin for row in state.rows for take in row.takes]
    assert [bool(twin) for twin in twins] == [False, False, False], "the two are alone with each other"
    away = opened(TakesState, {"favorite": "yes"})

    async def hidden() -> None:
        await call(away, "load")
        assert away.nothing[0] == "No favourites yet"
        await call(away, "ask_compare", generation_id=asked.id)
        assert f"like={asked.id}" in str(await call(away, "compare")), "the filter hides it"

    asyncio.run(hidden())


def test_favourites_and_filters(user: User, session: Session, opened: Opener) -> None:
    rain, bell = (add_takes(user, 1, prompt=prompt)[0] for prompt in ("rain", "bell"))
    state = opened(TakesState)

    async def sit() -> None:
        await call(state, "load")
        await call(state, "like", take_id=rain.id, is_liked=True)
        assert [row.takes[0].is_liked for row in state.rows] == [False, True]
        await call(state, "rate", take_id=bell.id, stars=5)
        await call(state, "set_tags", take_id=bell.id, text="warm")
        assert (state.tags, state.has_tests) == ([("warm", "warm")], False)

    asyncio.run(sit())
    for query, names in (
        ({"favorite": "yes"}, ["rain"]),
        ({"rated": "yes"}, ["bell"]),
        ({"rated": "no"}, ["rain"]),
        ({"tag": "warm"}, ["bell"]),
        ({"like": rain.generation_id}, ["rain"]),
        ({"shelf": "tests"}, []),
        ({"rated": "odd", "shelf": "odd"}, ["bell", "rain"]),
    ):
        shown = opened(TakesState, query)
        asyncio.run(call(shown, "load"))
        assert [row.name for row in shown.rows] == names, query
        assert shown.is_narrowed == (query.keys() != {"shelf"})


def test_another_person_sees_and_changes_nothing(user: User, session: Session, opened: Opener) -> None:
    take, _ = add_takes(make_user(session, "eve"))
    sound_model(session, user, "mine")
    state = opened(TakesState)
    asyncio.run(call(state, "load"))
    assert (state.rows, state.total) == ([], 0)
    asyncio.run(call(state, "cancel", generation_id=take.generation_id))
    assert session.get(Generation, take.generation_id) is not None


def test_a_text_is_kept_with_its_settings_and_used_again(
    user: User, session: Session, opened: Opener
) -> None:
    model = sound_model(session, user)
    wet = make_adapter(session, user, model, name="wet")
    state = opened(StudioState)

    async def sit() -> None:
        await call(state, "load")
        await call(state, "ask_keep")
        assert (state.naming, state.refusal) == ("", "Describe the sound first.")
        await call(state, "write", text="rain on a roof")
        await call(state, "choose_adapter", adapter_id=wet.id)
        for name, value in (("n_takes", "7"), ("strength", "0.5"), ("seconds", "3")):
            await call(state, "set_number", name=name, value=value)
        await call(state, "ask_keep")
        await call(state, "keep", form={"template-name": " "})
        assert (state.naming, state.template_error) == ("new", NO_NAME)
        for name in ("Roof", "roof"):
            await call(state, "keep", form={"template-name": name})
        assert state.template_error.startswith("You have a template")
        (kept,) = state.own_templates
        await call(state, "write", text="else")
        await call(state, "choose_adapter", adapter_id="")
        await call(state, "set_number", name="n_takes", value="1")
        await call(state, "use_template", template_id=kept.id)
        shown = (state.prompt, state.adapter_id, state.strength, state.n_takes, state.seconds)
        assert shown == ("rain on a roof", wet.id, "0.5", "7", "3")
        await call(state, "rename_template", template_id=kept.id, name="Tin")
        assert [row.name for row in state.own_templates] == ["Tin"]
        await call(state, "ask_drop", template_id=kept.id)
        await call(state, "drop_template")
        assert state.own_templates == []

    asyncio.run(sit())


def test_the_active_adapter_is_chosen_until_somebody_chooses(
    user: User, session: Session, opened: Opener
) -> None:
    model = sound_model(session, user)
    state = opened(StudioState)

    def chosen() -> tuple[str, str]:
        asyncio.run(call(state, "load"))
        return state.adapter_id, state.strength

    assert chosen() == ("", "1")
    wet, dry = (make_adapter(session, user, model, name=name) for name in ("wet", "dry"))
    wet.is_active, wet.active_strength = True, 0.7
    session.add(wet)
    session.commit()
    assert chosen() == (wet.id, "0.7"), "activated while the page was open"
    asyncio.run(call(state, "choose_adapter", adapter_id=dry.id))
    assert chosen() == (dry.id, "1")
    session.delete(dry)
    session.commit()
    assert chosen() == (wet.id, "0.7"), "what was chosen is gone"


def test_who_may_only_look_makes_nothing(user: User, session: Session, opened: Opener) -> None:
    user.role = Role.VIEWER
    session.add(user)
    session.commit()
    state = opened(StudioState)
    asyncio.run(call(state, "load"))
    assert not state.may_make
    state.prompt = "rain"
    asyncio.run(call(state, "generate"))
    assert session.exec(select(Generation)).all() == []


def test_the_address_chooses_a_model_and_one_of_its_adapters(
    user: User, session: Session, opened: Opener
) -> None:
    wanted, newest = sound_model(session, user), sound_model(session, user, "echo")
    adapter, other = make_adapter(session, user, wanted), make_adapter(session, user, newest, name="other")
    make_adapter(session, user, wanted, name="newer")
    for asked, chosen in ((adapter.id, adapter.id), (other.id, ""), ("ada_nothing", "")):
        state = opened(StudioState, {"model": wanted.id, "adapter": asked})
        asyncio.run(call(state, "load"))
        assert (state.model_id, state.adapter_id) == (wanted.id, chosen)


def test_what_others_share_is_on_a_shelf_of_its_own(user: User, session: Session, opened: Opener) -> None:
    eve = make_user(session, "eve")
    heard, rated, _ = (add_takes(eve, 1, prompt=prompt)[0] for prompt in ("heard", "rated", "hidden"))
    for take, sharing in ((heard, Sharing.READ), (rated, Sharing.USE)):
        asked = session.get_one(Generation, take.generation_id)
        asked.sharing = sharing
        session.add(asked)
    session.commit()
    state = opened(TakesState, {"shelf": "shared"})

    async def sit() -> None:
        await call(state, "load")
        assert [(row.name, row.may_rate, row.is_own) for row in state.rows] == [
            ("rated", True, False),
            ("heard", False, False),
        ]
        await call(state, "rate", take_id=rated.id, stars=3)
        assert state.rows[0].takes[0].stars == 3
        await call(state, "rate", take_id=heard.id, stars=3)
        assert state.rows[1].takes[0].stars == 0

    asyncio.run(sit())
    mine, _ = add_takes(user)
    own = opened(TakesState)
    asyncio.run(call(own, "load"))
    assert [(row.name, row.sharing) for row in own.rows] == [("rain", "private")]
    asyncio.run(call(own, "share", generation_id=mine.generation_id, sharing="use"))
    assert own.rows[0].sharing == "use"


def test_a_rater_is_offered_the_words_that_shared_takes_are_rated_by(
    user: User, session: Session, opened: Opener
) -> None:
    eve = make_user(session, "eve")
    (shared,), (secret,) = add_takes(eve, 1, sharing=Sharing.USE), add_takes(eve, 1, prompt="hidden")
    rate(eve, shared, 4, criterion="warmth")
    rate(eve, secret, 4, criterion="of nobody's concern")
    user.role = Role.RATER
    session.add(user)
    session.commit()
    state = opened(TakesState, {"shelf": "shared"})
    asyncio.run(call(state, "load"))
    assert state.criteria == ["overall", "warmth"]


async def test_a_slow_reading_does_not_replace_what_a_newer_load_has_shown(
    user: User, session: Session, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_by_itself(TakesState, monkeypatch)
    state = opened(TakesState)
    await call(state, "load")
    slow = SlowReading(takes, "_read", monkeypatch)
    old = await slow.begin_watch(state)
    add_takes(user, 1)
    await call(state, "load")
    await call(state, "watch")  # of the reloaded page; takes over
    assert len(state.rows) == 1
    slow.may_end()
    await old
    assert len(state.rows) == 1
