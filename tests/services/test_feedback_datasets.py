"""Datasets of what people rated and compared: what is counted before is what there is afterwards."""

import itertools
import json

import pytest
from pydantic import ValidationError
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Role, Task
from qlora_studio.core.errors import Forbidden, InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import Clip, Dataset, Take, User
from qlora_studio.ingest import launching, pipeline, staging
from qlora_studio.services import datasets, feedback_rows, preference_pairs
from qlora_studio.services.datasets import DatasetCreate, DatasetSource
from qlora_studio.services.feedback_filter import FeedbackFilter
from qlora_studio.storage import layout
from tests.ingest import sounds
from tests.services.test_ratings import add_takes, rate
from tests.services.test_votes import say

pytestmark = pytest.mark.usefixtures("decoding_here")


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the datasets whose processes were started; none really is."""
    started: list[str] = []
    monkeypatch.setattr(launching, "launch", started.append)
    return started


_pitches = itertools.count()


def heard(user: User, n_takes: int = 2, *, prompt: str = "rain", is_silent: bool = False) -> list[Take]:
    takes = add_takes(user, n_takes, prompt=prompt)
    for take in takes:
        path = layout.take_path(take.generation_id, take.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        pitch = 0 if is_silent else 200 + next(_pitches)  # no two sound the same
        path.write_bytes(sounds.wav(0.06, pitch=pitch))
    return takes


def preview(user: User, **fields) -> int:
    with db.read() as session:
        wanted = FeedbackFilter.model_validate(fields)
        return feedback_rows.preview(session, actor=user, wanted=wanted).n_rows


def make(user: User, name: str = "Good ones", **fields) -> Dataset:
    source = DatasetSource(kind="feedback", filter=FeedbackFilter.model_validate(fields))
    with db.write() as session:
        return datasets.create(session, actor=user, form=DatasetCreate(name=name, source=source))


def taken_in(user: User, **fields) -> Dataset:
    dataset = make(user, **fields)
    pipeline.run(dataset.id)
    with db.read() as session:
        return datasets.get_dataset(session, actor=user, dataset_id=dataset.id)


def exported(dataset: Dataset) -> list:
    with db.read() as session:
        return list(datasets.export_clips(session, dataset_id=dataset.id))


def test_takes_rated_well_become_a_dataset_of_their_texts(user: User) -> None:
    good, bad = heard(user)
    rate(user, good, 5)
    rate(user, bad, 2)
    dataset = taken_in(user, min_stars=4)
    assert (dataset.status, dataset.task) == (DatasetStatus.READY, Task.TEXT_TO_AUDIO)
    clips = exported(dataset)
    assert [clip.text for clip in clips] == ["rain"]
    assert layout.take_path(good.generation_id, good.id).exists()
    assert dataset.source["filter"]["min_stars"] == 4
    assert dataset.source["models"] == ["mod_a"]


def test_votes_become_pairs_whose_better_take_won(user: User, stranger: User, session: Session) -> None:
    one, other, third = heard(user, 3)
    say(user, one.id, other.id, "right")
    say(user, third.id, one.id, "tie")
    dataset = taken_in(user, target="pairs")
    pairs = preference_pairs.pair_up(exported(dataset))
    assert (len(pairs.whole), pairs.n_broken) == (1, 0)
    assert pairs.whole[0].prompt == "rain"
    marks = {row.filename: row.label for row in _clips(session, dataset)}
    assert marks == {f"{other.id}.wav": "1+", f"{one.id}.wav": "1-"}


@pytest.mark.slow
def test_a_take_in_more_pairs_than_a_label_holds_loses_none(user: User) -> None:
    takes = heard(user, 60)
    rate(user, takes[0], 5)
    for take in takes[1:]:
        rate(user, take, 1)
    dataset = make(user, target="pairs", pairs_from="ratings", min_gap=3)
    lines = (staging.chosen_path(dataset.id) / feedback_rows.TABLE).read_text().splitlines()
    labels = [json.loads(line)["label"] for line in lines]
    assert max(map(len, labels)) <= 200
    assert sum(label.count("+") for label in labels) == 59 == preview(
        user, target="pairs", pairs_from="ratings", min_gap=3
    )  # fmt: skip


def test_a_silent_take_that_was_chosen_stays(user: User) -> None:
    [take] = heard(user, 1, is_silent=True)
    rate(user, take, 5)
    assert preview(user) == len(exported(taken_in(user))) == 1


def test_making_it_twice_makes_one_and_later_ratings_do_not_change_it(
    user: User, launched: list[str]
) -> None:
    one, other = heard(user)
    rate(user, one, 5)
    first = taken_in(user)
    assert make(user).id == first.id
    rate(user, other, 5)
    assert len(exported(first)) == 1
    assert make(user).id != first.id
    assert len(launched) == 2


def test_others_takes_and_viewers_stay_out(user: User, stranger: User, session: Session) -> None:
    [take] = heard(stranger, 1)
    rate(stranger, take, 5)
    assert preview(user) == 0
    with pytest.raises(InvalidInput, match="no takes rated 4 or more"):
        make(user)
    session.get_one(User, stranger.id).role = Role.VIEWER
    session.commit()
    with db.read() as reading, pytest.raises(Forbidden):
        make(reading.get_one(User, stranger.id))


def test_a_take_whose_file_is_gone_is_named_and_leaves_nothing(user: User) -> None:
    [take] = add_takes(user, 1)
    rate(user, take, 5)
    with pytest.raises(InvalidInput, match=take.id):
        make(user)
    with db.read() as session:
        assert not session.exec(select(Dataset)).all()


@pytest.mark.parametrize(
    "fields",
    [{"target": "pairs", "min_stars": 3}, {"min_gap": 1}, {"target": "pairs", "tags": ["a"]},
     {"since": "2026-02-01", "until": "2026-01-01"}],
)  # fmt: skip
def test_what_does_not_go_together_is_said(fields: dict) -> None:
    with pytest.raises(ValidationError):
        FeedbackFilter.model_validate(fields)


def _clips(session: Session, dataset: Dataset) -> list:
    usable = (col(Clip.dataset_id) == dataset.id, col(Clip.status) == ClipStatus.OK)
    return list(session.exec(select(Clip).where(*usable)))
