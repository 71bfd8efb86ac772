"""A dataset from feedback brought up to date: what is told before is what the next version has."""

import random

import pytest
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import DatasetStatus, Role, Split
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import Clip, Dataset, User
from qlora_studio.ingest import launching, pipeline, staging, totals
from qlora_studio.services import clips, datasets, feedback_updates, preference_pairs, ratings, versions
from qlora_studio.services.clips import ClipUpdate
from qlora_studio.services.feedback_updates import FeedbackUpdate
from tests.services.test_feedback_datasets import exported, heard, preview, taken_in
from tests.services.test_ratings import rate
from tests.services.test_votes import say

pytestmark = pytest.mark.usefixtures("decoding_here")


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the datasets whose processes were started; none really is."""
    started: list[str] = []
    monkeypatch.setattr(launching, "launch", started.append)
    return started


def look(user: User, dataset: Dataset) -> FeedbackUpdate:
    with db.read() as session:
        return feedback_updates.preview(session, actor=user, dataset_id=dataset.id)


def start(user: User, dataset: Dataset) -> Dataset:
    with db.write() as session:
        return feedback_updates.start(session, actor=user, dataset_id=dataset.id)


def updated(user: User, dataset: Dataset) -> Dataset:
    start(user, dataset)
    pipeline.run(dataset.id)
    with db.read() as session:
        return datasets.get_dataset(session, actor=user, dataset_id=dataset.id)


def leave_out(user: User, dataset: Dataset, take_id: str) -> None:
    with db.write() as session:
        query = select(Clip.id).where(Clip.dataset_id == dataset.id, Clip.filename == f"{take_id}.wav")
        form = ClipUpdate(status="excluded")  # type: ignore[arg-type]
        clips.update(session, actor=user, clip_id=session.exec(query).one(), form=form)


def names(dataset: Dataset) -> list[str]:
    with db.read() as session:
        ids = [clip.id for clip in datasets.export_clips(session, dataset_id=dataset.id)]
        return sorted(session.get_one(Clip, clip_id).filename for clip_id in ids)


def test_takes_come_and_go_as_a_version_that_can_be_taken_back(user: User, session: Session) -> None:
    one, other, third, by_hand = heard(user, 4)
    new = heard(user, 1, prompt="snow")[0]
    for take in (one, other, by_hand):
        rate(user, take, 5)
    dataset = taken_in(user)
    assert "Nothing to do: the dataset has all 3 takes" in look(user, dataset).message
    assert start(user, dataset).version == 1
    leave_out(user, dataset, by_hand.id)
    rate(user, one, 2)
    rate(user, third, 4)
    rate(user, new, 5)
    told = look(user, dataset)
    assert (told.n_added, told.n_removed, told.n_kept, told.n_left_out, told.n_rows) == (2, 1, 1, 1, 3)
    assert "2 takes come, 1 go, 1 stay: 3 in version 3" in told.message
    after = updated(user, dataset)
    assert (after.status, after.version, after.n_clips, after.source["n_rows"]) == ("ready", 3, 3, 3)
    assert names(dataset) == sorted(f"{take.id}.wav" for take in (other, third, new))
    splits = dict(session.exec(select(Clip.text, Clip.split).where(Clip.dataset_id == dataset.id)).all())
    assert splits == {"rain": Split.TRAIN, "snow": Split.VALIDATION}, "what was trained on stays so"
    with db.read() as reading:
        assert totals.count(reading, dataset.id).content_hash == after.content_hash
        assert not staging.chosen_path(dataset.id).exists()
    assert look(user, dataset).is_up_to_date
    with db.write() as writing:
        versions.restore(writing, actor=user, dataset_id=dataset.id, number=2)
    assert names(dataset) == sorted(f"{take.id}.wav" for take in (one, other))
    assert (look(user, dataset).n_added, look(user, dataset).n_removed) == (2, 1)
    assert updated(user, dataset).n_clips == 3, "from the clips that are there"


def test_pairs_keep_their_numbers_and_agree_with_a_dataset_made_anew(user: User) -> None:
    chance = random.Random(4)
    takes = heard(user, 4) + heard(user, 3, prompt="snow")
    for take in takes:
        rate(user, take, chance.randint(1, 5))
    wanted = {"target": "pairs", "pairs_from": "ratings", "min_gap": 1}
    dataset = taken_in(user, **wanted)
    for _ in range(4):
        for take in chance.sample(takes, 3):
            rate(user, take, chance.randint(1, 5))
        told, n_found = look(user, dataset), preview(user, **wanted)
        assert told.n_rows == n_found
        assert told.n_kept + told.n_removed == dataset.source["n_rows"]
        dataset = updated(user, dataset)
        found = preference_pairs.pair_up(exported(dataset))
        assert (len(found.whole), found.n_broken) == (n_found, 0)
        assert look(user, dataset).is_up_to_date
    assert dataset.version > 2


def test_a_new_take_goes_where_the_take_is_that_it_was_compared_with(user: User, session: Session) -> None:
    takes = heard(user, 20)
    for one, other in zip(takes[::2], takes[1::2], strict=True):
        say(user, one.id, other.id, "left")
    dataset = taken_in(user, target="pairs")
    sides = dict(session.exec(select(Clip.filename, Clip.split).where(Clip.dataset_id == dataset.id)).all())
    held = [take for take in takes if sides[f"{take.id}.wav"] is Split.VALIDATION]
    assert len(held) == 4, "two of the ten pairs, though there is one text"
    new = heard(user, 3)
    say(user, new[0].id, held[0].id, "left")
    say(user, new[1].id, new[0].id, "left")  # linked through the other one
    say(user, new[2].id, next(take.id for take in takes if take not in held), "left")
    after = updated(user, dataset)
    found = preference_pairs.pair_up(exported(after))
    assert (found.count(Split.TRAIN), found.count(Split.VALIDATION)) == (9, 4)
    assert (found.n_broken, found.n_parted) == (0, 0)


def test_a_vote_that_turns_turns_its_pair(user: User, stranger: User, launched: list[str]) -> None:
    one, other, third = heard(user, 3)
    say(user, one.id, other.id, "left")
    say(user, one.id, third.id, "left")
    dataset = taken_in(user, target="pairs")
    leave_out(user, dataset, third.id)
    say(user, one.id, other.id, "right")
    told = look(user, dataset)
    assert (told.n_added, told.n_removed, told.n_kept, told.n_left_out) == (1, 1, 0, 1)
    after = updated(user, dataset)
    assert len(launched) == 1, "no new sound: no process"
    found = preference_pairs.pair_up(exported(after)).whole
    assert len(found) == 1
    with db.read() as session:
        better = session.exec(select(Clip).where(Clip.filename == f"{other.id}.wav")).one()
        assert better.label == "3+", "a number is never used again"


def test_a_fault_a_cancel_or_a_crash_costs_the_update_alone(user: User, session: Session) -> None:
    one, other = heard(user)
    rate(user, one, 5)
    dataset = taken_in(user)
    rate(user, other, 5)
    assert start(user, dataset).status is DatasetStatus.PROCESSING
    with pytest.raises(Conflict, match="isn't ready"):
        look(user, dataset)
    with db.write() as writing:
        assert datasets.cancel(writing, actor=user, dataset_id=dataset.id).status is DatasetStatus.READY
    pipeline.run(dataset.id)
    assert names(dataset) == [f"{one.id}.wav"]
    start(user, dataset)
    link = next(staging.chosen_path(dataset.id).glob("*.wav"))
    link.unlink()  # or the take itself would be written to
    link.write_bytes(b"RIFF broken")
    pipeline.run(dataset.id)
    session.rollback()
    after = session.get_one(Dataset, dataset.id)
    assert (after.status, after.version) == (DatasetStatus.READY, 1)
    assert other.id in after.source["update_error"]
    start(user, dataset)
    launching._fail(dataset.id, "It was ended by signal 9.")
    session.rollback()
    assert session.get_one(Dataset, dataset.id).source["update_error"] == "It was ended by signal 9."
    assert updated(user, dataset).source.keys().isdisjoint({"update_error", "updating"})
    assert len(names(dataset)) == 2


def test_what_is_refused(user: User, stranger: User, session: Session) -> None:
    [one] = heard(user, 1)
    rate(user, one, 5)
    dataset = taken_in(user)
    rate(user, one, 1)
    with pytest.raises(Conflict, match="No row would be left"):
        start(user, dataset)
    with db.write() as writing:
        ratings.take_back(writing, actor=user, take_id=one.id, criterion="overall")
        upload = datasets.create(writing, actor=user, form=datasets.DatasetCreate(name="Mine"))
    with pytest.raises(InvalidInput, match="doesn't come from feedback"):
        look(user, upload)
    session.exec(select(User).where(col(User.id) == user.id)).one().role = Role.RATER
    session.commit()
    with db.read() as reading, pytest.raises(Forbidden):
        start(reading.get_one(User, user.id), dataset)
