"""Versions as people use them: listed, compared, restored, and not by strangers."""

import pytest
from sqlmodel import select

from qlora_studio.contracts.enums import ClipStatus, Role, Split
from qlora_studio.core.errors import Conflict, Forbidden, NotFound
from qlora_studio.db import engine
from qlora_studio.db.models import Clip
from qlora_studio.services import clips, versions
from qlora_studio.services.clips import ClipUpdate
from tests.services.test_datasets import get, launched, ready  # noqa: F401

pytestmark = pytest.mark.usefixtures("decoding_here")


def edit(user, clip_id: str, **fields) -> None:
    with engine.write() as session:
        clips.update(session, actor=user, clip_id=clip_id, form=ClipUpdate(**fields))


@pytest.fixture
def edited(user):
    """Four versions of four clips: taken in, a text, left out, taken back with a split."""
    dataset = ready(user, n=4)
    with engine.read() as session:
        ids = list(session.exec(select(Clip.id).order_by(Clip.position)))
    edit(user, ids[0], text="better")
    edit(user, ids[1], status=ClipStatus.EXCLUDED)
    edit(user, ids[1], status=ClipStatus.OK, split=Split.TEST)
    return dataset, ids


def test_each_change_is_a_version_that_says_what_was_done(user, edited):
    dataset, _ = edited
    with engine.read() as session:
        found, total = versions.list_versions(session, actor=user, dataset_id=dataset.id, page_size=3)
    assert total == 4
    assert [(v.number, v.n_clips, v.summary) for v in found] == [
        (4, 4, "Split and status of 1.wav"),
        (3, 3, "Status of 1.wav"),
        (2, 4, "Text of 0.wav"),
    ]
    assert len({v.content_hash for v in found}) == 3
    assert found[0].created_by == user.id


def test_two_versions_are_compared_by_clip_and_field(user, edited):
    dataset, ids = edited

    def compare(earlier, later, **options):
        with engine.read() as session:
            return versions.compare(
                session, actor=user, dataset_id=dataset.id, earlier=earlier, later=later, **options
            )

    both = compare(1, 3)
    assert (both.counts, both.fields) == ({"changed": 1, "removed": 1}, {"text": 1, "status": 1})
    assert [(d.clip_id, d.kind, d.before, d.after) for d in both.items] == [
        (ids[0], "changed", {"text": "text 0"}, {"text": "better"}),
        (ids[1], "removed", {"status": "ok"}, {"status": "excluded"}),
    ]
    assert [d.kind for d in compare(3, 1).items] == ["changed", "added"]
    only = compare(1, 3, kind="removed")
    assert (only.total, only.counts) == (1, both.counts)
    assert [d.clip_id for d in compare(1, 3, page=2, page_size=1).items] == [ids[1]]
    assert compare(2, 2).total == 0
    with pytest.raises(NotFound, match="no version 9"):
        compare(1, 9)


def test_restoring_makes_a_new_version_and_can_itself_be_undone(user, edited):
    dataset, ids = edited
    before = get(user, dataset.id)
    with engine.write() as session:
        restored = versions.restore(session, actor=user, dataset_id=dataset.id, number=3)
    assert (restored.version, restored.n_clips) == (5, 3)
    with engine.read() as session:
        clip = session.get_one(Clip, ids[1])
    assert (clip.status, clip.reason) == (ClipStatus.EXCLUDED, "Left out in version 3")
    with engine.write() as session:
        again = versions.restore(session, actor=user, dataset_id=dataset.id, number=4)
    assert (again.version, again.content_hash) == (6, before.content_hash)
    with engine.write() as session:
        same = versions.restore(session, actor=user, dataset_id=dataset.id, number=6)
    assert same.version == 6, "nothing differs, so nothing was made"


def test_strangers_viewers_and_unready_datasets(user, stranger, edited):
    dataset, _ = edited
    with engine.write() as session:
        for call in (
            lambda: versions.list_versions(session, actor=stranger, dataset_id=dataset.id),
            lambda: versions.compare(session, actor=stranger, dataset_id=dataset.id, earlier=1, later=2),
            lambda: versions.restore(session, actor=stranger, dataset_id=dataset.id, number=1),
            lambda: versions.restore(session, actor=user, dataset_id=dataset.id, number=0),
            lambda: versions.restore(session, actor=user, dataset_id=dataset.id, number=99),
        ):
            with pytest.raises(NotFound):
                call()
        held = session.get_one(type(dataset), dataset.id)
        held.status = "processing"
        with pytest.raises(Conflict):
            versions.restore(session, actor=user, dataset_id=dataset.id, number=1)
        user.role = Role.VIEWER
        with pytest.raises(Forbidden):
            versions.restore(session, actor=user, dataset_id=dataset.id, number=1)


def test_the_last_clip_in_use_stays(user):
    dataset = ready(user, n=2)
    with engine.read() as session:
        ids = list(session.exec(select(Clip.id).order_by(Clip.position)))
    edit(user, ids[0], status=ClipStatus.EXCLUDED)
    with pytest.raises(Conflict, match="last clip"):
        edit(user, ids[1], status=ClipStatus.EXCLUDED)
    assert get(user, dataset.id).n_clips == 1
