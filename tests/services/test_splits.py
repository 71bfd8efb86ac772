"""Splits are shown before they are used, and used as they were shown."""

import pytest
from sqlmodel import select

from qlora_studio.contracts.enums import Role, Split
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from qlora_studio.db import engine
from qlora_studio.db.models import Clip
from qlora_studio.services import datasets, splits
from qlora_studio.services.splits import SplitRequest
from tests.services.test_datasets import create, get, launched, ready  # noqa: F401
from tests.services.test_versions import edit

pytestmark = pytest.mark.usefixtures("decoding_here")
RATIOS = {Split.TRAIN: 0.5, Split.VALIDATION: 0.3, Split.TEST: 0.2}


def deal_out(user, dataset_id, **form):
    with engine.write() as session:
        return splits.deal_out(session, actor=user, dataset_id=dataset_id, form=SplitRequest(**form))


def plan(user, dataset_id, **form):
    with engine.read() as session:
        return splits.plan(session, actor=user, dataset_id=dataset_id, form=SplitRequest(**form))


@pytest.fixture
def with_speakers(user):
    """Ten clips of five speakers with two labels."""
    dataset = ready(user)
    with engine.read() as session:
        ids = list(session.exec(select(Clip.id).order_by(Clip.position)))
    for number, clip_id in enumerate(ids):
        edit(user, clip_id, speaker=f"s{number // 2}", label="ab"[number % 2])
    return get(user, dataset.id)


def test_dealing_out_makes_one_version_however_often_it_is_asked_for(user):
    dataset = ready(user)
    after = deal_out(user, dataset.id, ratios=RATIOS, seed=3)
    with engine.read() as session:
        counts = datasets.count_splits(session, dataset_id=dataset.id)
    assert {split: n for split, (n, _) in counts.items()} == {
        Split.TRAIN: 5,
        Split.VALIDATION: 3,
        Split.TEST: 2,
    }
    assert after.version == dataset.version + 1
    assert after.content_hash != dataset.content_hash
    same = deal_out(user, dataset.id, ratios=RATIOS, seed=3)
    assert same.version == after.version, "nothing changed, so no new version"


def test_a_preview_changes_nothing_and_is_what_follows(user, with_speakers):
    form = {"ratios": {Split.TRAIN: 0.6, Split.VALIDATION: 0.4}, "seed": 1, "group_by_speaker": True}
    planned = plan(user, with_speakers.id, **form)
    assert planned == plan(user, with_speakers.id, **form)
    assert get(user, with_speakers.id).version == with_speakers.version
    shown = planned.preview
    held_out = shown.splits[Split.VALIDATION]
    assert (held_out.n_clips, held_out.n_speakers, held_out.labels) == (4, 2, {"a": 2, "b": 2})
    assert held_out.duration_s == pytest.approx(4 * 0.06)
    assert (shown.n_shared_speakers, shown.shared_speakers, shown.n_shared_texts) == (0, [], 0)
    assert shown.n_moved == len(planned.moves)
    deal_out(user, with_speakers.id, **form)
    with engine.read() as session:
        rows = session.exec(select(Clip.speaker, Clip.split)).all()
        counts = datasets.count_splits(session, dataset_id=with_speakers.id)
    assert len(set(rows)) == 5, "each speaker on one side"
    assert {s: counts[s][0] for s in Split} == {s: shown.splits[s].n_clips for s in Split}


def test_shared_speakers_are_named(user, with_speakers):
    shown = plan(user, with_speakers.id, ratios={Split.TRAIN: 0.5, Split.VALIDATION: 0.5}, seed=2).preview
    assert shown.n_shared_speakers == len(shown.shared_speakers) > 0


def test_a_plan_of_another_content_is_refused(user, with_speakers):
    planned = plan(user, with_speakers.id, ratios=RATIOS)
    with engine.read() as session:
        clip_id = session.exec(select(Clip.id).order_by(Clip.position)).first()
    edit(user, clip_id, text="new words")
    with engine.write() as session, pytest.raises(Conflict, match="changed meanwhile"):
        splits.apply(session, actor=user, plan=planned)


def test_nonsense_ratios_are_refused(user):
    dataset = create(user)
    train, validation = Split.TRAIN, Split.VALIDATION
    for ratios in ({}, {train: 0.5}, {validation: 1.0}, {train: 1.5, validation: -0.5}):
        with pytest.raises(InvalidInput) as refusal:
            plan(user, dataset.id, ratios=ratios)
        assert "ratios" in refusal.value.fields


def test_strangers_viewers_and_unready_datasets(user, stranger, with_speakers):
    with pytest.raises(NotFound):
        plan(stranger, with_speakers.id, ratios=RATIOS)
    planned = plan(user, with_speakers.id, ratios=RATIOS)
    with engine.write() as session, pytest.raises(NotFound):
        splits.apply(session, actor=stranger, plan=planned)
    with pytest.raises(Conflict):
        plan(user, create(user).id, ratios=RATIOS)
    user.role = Role.VIEWER
    with engine.write() as session, pytest.raises(Forbidden):
        splits.apply(session, actor=user, plan=planned)
