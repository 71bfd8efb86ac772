"""What is found by the index is what is found by looking at every row, whatever was done to the rows."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlmodel import Session, select

from qlora_studio.contracts.enums import DatasetStatus, Task
from qlora_studio.db import engine as db_engine
from qlora_studio.db import search
from qlora_studio.db.models import Clip, Dataset, Generation
from tests.conftest import make_user
from tests.databases import is_sqlite

WORDS = st.sampled_from(["alpha", "alphabet", "BETA 100%", 'say "hi" AND', "x_y*", "", "ca", "café"])
QUERIES = st.sampled_from(
    ["alp", "ALPHA", "bet", "100%", '"hi" A', "x_y", "_y*", "NOT a", "é", "caf", "zzz", "al"]
)


def by_looking(rows: list[Clip], query: str) -> set[str]:
    columns = ("filename", "text", "label", "speaker")
    return {r.id for r in rows if any(query.lower() in (getattr(r, c) or "").lower() for c in columns)}


def found(session: Session, dataset_id: str, query: str) -> list[set[str]]:
    hits = search.find_clips(session, dataset_id=dataset_id, words=query)
    mine = select(Clip.id).where(Clip.dataset_id == dataset_id)
    return [set(session.exec(mine.where(way))) for way in (hits.condition, hits.exact)]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(WORDS, WORDS), max_size=6), st.lists(st.tuples(st.integers(0, 5), WORDS)), QUERIES)
@pytest.mark.parametrize("few", [0, 1_000])
@pytest.mark.slow
def test_hits_are_right_after_any_edit(data_folder, few, rows, edits, query):
    with pytest.MonkeyPatch.context() as patch, Session(db_engine.get_engine()) as session:
        patch.setattr(search, "FEW", few)
        user = make_user_once(session)
        mine, other = (Dataset(owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT) for _ in range(2))
        session.add_all([mine, other])
        session.flush()
        clips = [
            Clip(dataset_id=dataset.id, position=i, filename=name, text=words)
            for dataset in (mine, other)
            for i, (name, words) in enumerate(rows)
        ]
        session.add_all(clips)
        session.flush()
        for index, words in edits:
            if index < len(clips):
                clips[index].text = words or None
        session.flush()
        if clips:
            session.delete(clips.pop(0))
            session.flush()
        kept = [clip for clip in clips if clip.dataset_id == mine.id]
        for answer in found(session, mine.id, query):
            assert answer == by_looking(kept, query)
        session.rollback()


def make_user_once(session: Session):
    from qlora_studio.db.models import User

    return session.exec(select(User)).first() or make_user(session, "ada")


@pytest.mark.sqlite("elsewhere there is no index of words")
def test_what_is_deleted_leaves_no_words_behind(user):
    with db_engine.write() as session:
        dataset = Dataset(owner_id=user.id, name="secret name", task=Task.SPEECH_TO_TEXT)
        session.add(dataset)
        session.flush()
        session.add(Clip(dataset_id=dataset.id, position=0, filename="a", text="secret words"))
        session.flush()
        assert search.find_datasets(session, owner_id=user.id, words="secret").n == 1
        session.delete(dataset)
        session.flush()
        for table in ("clip_search", "dataset_search"):
            query = text(f"SELECT count(*) FROM {table} WHERE {table} MATCH 'secret'")
            assert session.connection().execute(query).scalar_one() == 0
        assert session.connection().execute(text("SELECT count(*) FROM dataset_place")).scalar_one() == 0


def test_datasets_are_found_in_their_owners_place_and_counted_anew_after_each_change(user, stranger):
    def names(owner) -> list[str]:
        hits = search.find_datasets(session, owner_id=owner.id, words="CALL")
        return sorted(session.exec(select(Dataset.name).where(Dataset.owner_id == owner.id, hits.exact)))

    states = set()
    with db_engine.write() as session:
        for number, change in enumerate(
            (
                lambda: session.add(Dataset(owner_id=user.id, name="calls", task=Task.SPEECH_TO_TEXT)),
                lambda: session.add(Dataset(owner_id=stranger.id, name="Callers", task=Task.SPEECH_TO_TEXT)),
                lambda: session.add(Dataset(owner_id=user.id, name="other", task=Task.SPEECH_TO_TEXT)),
                lambda: setattr(
                    session.exec(select(Dataset).where(Dataset.name == "other")).one(), "name", "a call"
                ),
                lambda: setattr(
                    session.exec(select(Dataset).where(Dataset.name == "calls")).one(), "description", "x"
                ),
                lambda: setattr(
                    session.exec(select(Dataset).where(Dataset.name == "calls")).one(), "status", "ready"
                ),
                lambda: session.delete(session.exec(select(Dataset).where(Dataset.name == "calls")).one()),
            )
        ):
            change()
            session.flush()
            states.add(search.state_of_datasets(session, owner_id=user.id))
            assert names(stranger) == (["Callers"] if number else [])
        assert names(user) == ["a call"]
        [mine] = session.exec(select(Dataset).where(Dataset.owner_id == user.id))
        mine.owner_id = stranger.id
        session.flush()
        assert (names(user), names(stranger)) == ([], ["Callers", "a call"])
    assert len(states) == 6 or not is_sqlite(), "another one after each change but that of somebody else"


def test_datasets_are_counted_by_status_and_task(user, stranger):
    def counts(session, **filters) -> int:
        return search.count_datasets(session, owner_id=user.id, **filters)

    with db_engine.write() as session:
        made = [Dataset(owner_id=user.id, name=str(i), task=Task.SPEECH_TO_TEXT) for i in range(3)]
        session.add_all([*made, Dataset(owner_id=stranger.id, name="x", task=Task.SPEECH_TO_TEXT)])
        session.flush()
        made[0].status = DatasetStatus.READY
        made[1].task = Task.TEXT_TO_AUDIO
        session.delete(made[2])
        session.flush()
        assert counts(session) == 2
        assert counts(session, status=DatasetStatus.READY) == 1
        assert counts(session, task=Task.TEXT_TO_AUDIO) == 1
        assert counts(session, status=DatasetStatus.READY, task=Task.TEXT_TO_AUDIO) == 0


ODD = ('"', "a OR b", "NEAR(a b)", "text:abc", "*", "-abc", "(((", "'; DROP TABLE clip; --")


@pytest.mark.parametrize("words", [*ODD, "\0ab"])
def test_the_words_are_never_a_query_language(user, words):
    with db_engine.write() as session:
        dataset = Dataset(owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT)
        session.add(dataset)
        session.flush()
        texts = [*ODD, "a", "abc", "plain"]
        clips = [
            Clip(dataset_id=dataset.id, position=i, filename=str(i), text=t) for i, t in enumerate(texts)
        ]
        session.add_all(clips)
        session.flush()
        for answer in found(session, dataset.id, words):
            assert answer == by_looking(clips, words)


@pytest.mark.parametrize("few", [0, 1_000])
def test_texts_of_generations_are_found_until_they_are_gone(data_folder, few, monkeypatch):
    monkeypatch.setattr(search, "FEW", few)
    with Session(db_engine.get_engine()) as session:
        mine, other = make_user_once(session), make_user(session, "bob")
        made = [
            Generation(
                owner_id=owner.id, prompt=prompt, model_id="mod_a", model_name="m", duration_s=1, seed=0,
                n_takes=1, guidance=3, temperature=1,
            )
            for owner in (other, mine)
            for prompt in ("rain 100%", "Rain on a roof", "snow")
        ]  # fmt: skip
        session.add_all(made)
        session.flush()

        def found(words: str) -> list[set[str]]:
            hits = search.find_generations(session, owner_id=mine.id, words=words)
            rows = select(Generation.prompt).where(Generation.owner_id == mine.id)
            return [set(session.exec(rows.where(way))) for way in (hits.condition, hits.exact)]

        assert found("RAIN") == [{"rain 100%", "Rain on a roof"}] * 2
        assert found("n 100%") == [{"rain 100%"}] * 2
        assert found("o") == [{"Rain on a roof", "snow"}] * 2
        made[5].prompt = "rain again"
        session.delete(made[3])
        session.flush()
        assert found("rain") == [{"Rain on a roof", "rain again"}] * 2
        assert found("snow") == [set()] * 2
        session.rollback()
