"""Totals and content hash kept up by increments are those counted from scratch; versions can be rebuilt."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import Session, SQLModel, create_engine, select

from qlora_studio.contracts.enums import ClipStatus, Split, Task
from qlora_studio.core.ids import new_id
from qlora_studio.db.models import Clip, ClipChange, Dataset, DatasetVersion, User
from qlora_studio.ingest import totals
from qlora_studio.services import versions

TEXTS = st.sampled_from(["yes", "no", "", None])
EDIT = st.fixed_dictionaries(
    {},
    optional={
        "text": TEXTS,
        "label": st.sampled_from(["a", "b", None]),
        "speaker": st.sampled_from(["ada", None]),
        "split": st.sampled_from(list(Split)),
        "status": st.sampled_from([ClipStatus.OK, ClipStatus.EXCLUDED]),
    },
)
ROUNDS = st.lists(st.dictionaries(st.integers(0, 5), EDIT, max_size=6), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def engine():
    made = create_engine("sqlite://")
    SQLModel.metadata.create_all(made)
    yield made
    made.dispose()


def make(session: Session, texts) -> tuple[User, Dataset, list[str]]:
    user = User(username=new_id("usr"), username_key=new_id("usr"), email=new_id("usr"),
                email_key=new_id("usr"), password_hash="!")  # fmt: skip
    dataset = Dataset(owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT, status="ready")
    session.add_all([user, dataset])
    session.flush()
    clips = [
        Clip(dataset_id=dataset.id, position=i, filename=f"{i}.wav", sha256=f"{i:064d}", text=text,
             duration_s=0.1 * (i + 1), status=ClipStatus.REJECTED if i == 4 else ClipStatus.OK)
        for i, text in enumerate(texts)
    ]  # fmt: skip
    session.add_all(clips)
    totals.refresh(session, dataset)
    return user, dataset, [clip.id for clip in clips]


def contents(session: Session, dataset: Dataset) -> dict[str, tuple]:
    rows = session.exec(select(Clip).where(Clip.dataset_id == dataset.id))
    return {c.id: (c.text, c.label, c.speaker, c.split, c.status) for c in rows}


@settings(deadline=None, max_examples=30)
@given(st.lists(TEXTS, min_size=6, max_size=6), ROUNDS)
@pytest.mark.slow
def test_increments_equal_a_count_from_scratch_and_every_version_comes_back(engine, texts, rounds):
    with Session(engine) as session:
        user, dataset, ids = make(session, texts)
        seen = {dataset.version: (contents(session, dataset), dataset.content_hash)}
        for edits in rounds:
            by_id = {ids[i]: edit for i, edit in edits.items() if i != 4}  # a rejected one can't be edited
            before = dataset.version
            changed = totals.change(session, dataset, by_id, summary="edited", actor_id=user.id)
            assert dataset.version == before + bool(changed)
            seen[dataset.version] = (contents(session, dataset), dataset.content_hash)
            tally = totals.count(session, dataset.id)
            assert dataset.content_hash == tally.content_hash
            assert (dataset.n_clips, dataset.n_excluded, dataset.n_rejected) == (
                tally.n_clips,
                tally.n_excluded,
                tally.n_rejected,
            )
            assert dataset.duration_s == pytest.approx(tally.duration_s)
        for number, (content, content_hash) in list(seen.items()):
            versions.restore(session, actor=user, dataset_id=dataset.id, number=number)
            assert contents(session, dataset) == content
            assert dataset.content_hash == content_hash
        session.rollback()


def test_the_hash_is_of_the_clips_and_not_of_their_order(engine):
    with Session(engine) as session:
        _, first, _ = make(session, ["a", "b", "c"])
        _, second, ids = make(session, ["a", "b", "c"])
        assert first.content_hash == second.content_hash
        held = [session.get_one(Clip, i) for i in ids]
        for clip in held:
            clip.position = 10 - clip.position
        totals.refresh(session, second)
        assert (first.content_hash, second.version) == (second.content_hash, 1)
        held[0].sha256, held[1].sha256 = held[1].sha256, held[0].sha256
        totals.refresh(session, second)
        assert first.content_hash != second.content_hash, (
            "other words for the same sounds are another content"
        )
        session.rollback()


def test_a_dataset_from_before_versions_keeps_its_number_and_gets_a_first_version(engine):
    with Session(engine) as session:
        user, dataset, ids = make(session, ["a", "b"])
        session.delete(session.get_one(DatasetVersion, (dataset.id, 1)))
        dataset.version, dataset.content_hash = 7, "not a hash of ours"
        session.flush()
        [only], total = versions.list_versions(session, actor=user, dataset_id=dataset.id)
        assert (only.number, total) == (7, 1)
        totals.change(session, dataset, {ids[0]: {"text": "z"}}, summary="s", actor_id=None)
        found, _ = versions.list_versions(session, actor=user, dataset_id=dataset.id)
        assert [v.number for v in found] == [8, 7]
        versions.restore(session, actor=user, dataset_id=dataset.id, number=7)
        assert session.get_one(Clip, ids[0]).text == "a"
        session.rollback()


def test_taking_in_anew_forgets_what_can_no_longer_be_rebuilt(engine):
    with Session(engine) as session:
        _, dataset, ids = make(session, ["a", "b"])
        totals.change(session, dataset, {ids[0]: {"text": "z"}}, summary="s", actor_id=None)
        session.get_one(Clip, ids[1]).text = "behind its back"
        totals.refresh(session, dataset)
        numbers = session.exec(select(DatasetVersion.number).where(DatasetVersion.dataset_id == dataset.id))
        assert list(numbers) == [3]
        assert session.exec(select(ClipChange).where(ClipChange.dataset_id == dataset.id)).all() == []
        session.rollback()


def test_clips_of_another_dataset_are_out_of_reach(engine):
    with Session(engine) as session:
        _, mine, _ = make(session, ["a"])
        _, _, ids = make(session, ["b"])
        assert totals.change(session, mine, {ids[0]: {"text": "z"}}, summary="s", actor_id=None) == 0
        session.expire_all()
        assert session.get_one(Clip, ids[0]).text == "b"
        session.rollback()
