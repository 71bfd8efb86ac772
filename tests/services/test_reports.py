"""The report follows content and limits; what it finds is left out and taken back with one click."""

import pytest
from sqlmodel import select

from qlora_studio.audio import fingerprint
from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Role, Split
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound, StorageFull
from qlora_studio.core.known import Known
from qlora_studio.db import engine
from qlora_studio.db.models import Clip, ClipFinding, Dataset, Exclusion
from qlora_studio.ingest import findings, pipeline
from qlora_studio.services import clips, datasets, exclusions, reports
from qlora_studio.services.exclusions import ExclusionCreate
from tests.ingest import sounds
from tests.ingest.test_pipeline import stage
from tests.services.test_datasets import create, get, launched, ready  # noqa: F401
from tests.services.test_versions import edit

pytestmark = pytest.mark.usefixtures("decoding_here")


def report_of(user, dataset_id):
    reports.bring_up_to_date(actor=user, dataset_id=dataset_id)
    with engine.read() as session:
        return reports.get_report(session, actor=user, dataset_id=dataset_id)


def check_of(user, dataset_id, key):
    return next(check for check in report_of(user, dataset_id).checks if check.key == key)


def leave_out(user, dataset_id, **form):
    with engine.write() as session:
        return exclusions.create(session, actor=user, dataset_id=dataset_id, form=ExclusionCreate(**form))


def left_out(user, dataset_id):
    with engine.read() as session:
        return exclusions.list_exclusions(session, actor=user, dataset_id=dataset_id)


@pytest.fixture
def mixed(user) -> Dataset:
    """Six clips: three times the same bytes, one silent, one broken, and the same words twice."""
    dataset = create(user)
    same = sounds.wav(0.5, pitch=300)
    files = {"a.wav": same, "b.wav": same, "c.wav": same}
    files |= {"d.wav": sounds.wav(0.5, pitch=400), "e.wav": sounds.wav(0.5, level=0.0), "f.wav": b"broken"}
    texts = ("alpha", "beta", "gamma", "Beta!", "delta", "echo")
    table = "file_name,text\n" + "".join(f"{n},{t}\n" for n, t in zip(files, texts, strict=True))
    stage(dataset.id, files | {"metadata.csv": table.encode()})
    with engine.write() as session:
        datasets.start_ingest(session, actor=user, dataset_id=dataset.id)
    pipeline.run(dataset.id)
    return get(user, dataset.id)


def test_taking_in_ends_with_a_report(user, mixed):
    assert mixed.report_key == findings.key_of(mixed)
    report = report_of(user, mixed.id)
    assert report.is_current
    assert (report.n_clips, report.n_excluded, report.n_rejected) == (4, 1, 1)
    by_key = {check.key: check for check in report.checks}
    counts = {key: (c.n_clips, c.n_groups, c.n_to_leave_out) for key, c in by_key.items() if c.n_clips}
    assert counts["undecodable"] == (1, 0, 0)
    assert counts["duplicate_audio"] == (3, 1, 2)
    assert counts["duplicate_text"] == (2, 1, 1)
    assert by_key["silent"].n_left_out == 1, "left out while it was taken in, and can be taken back"
    assert "rare_class" not in by_key, "not of this task"
    assert sum(report.durations.counts) == 4
    assert len(report.durations.edges) == len(report.durations.counts) + 1 <= reports.MAX_BINS + 1
    limit = by_key["too_short"].limits[0]
    assert (limit.key, limit.value, limit.minimum, limit.maximum, limit.unit) == (
        "min_duration_s",
        0.3,
        0,
        60,
        "s",
    )


def test_limits_are_kept_and_move_the_report_but_not_the_content(user, mixed):
    def set_limits(**limits):
        with engine.write() as session:
            return reports.set_limits(session, actor=user, dataset_id=mixed.id, limits=limits)

    after = set_limits(min_duration_s=0.6)
    assert (after.version, after.content_hash) == (mixed.version, mixed.content_hash)
    with engine.read() as session:
        stale = reports.get_report(session, actor=user, dataset_id=mixed.id)
    assert not stale.is_current
    check = check_of(user, mixed.id, "too_short")
    assert (check.n_clips, check.limits[0].value, check.limits[0].default) == (4, 0.6, 0.3)
    set_limits(min_duration_s=None)
    assert check_of(user, mixed.id, "too_short").n_clips == 0
    for bad, field in (({"silent_below_db": 3}, "silent_below_db"), ({"colour": 1}, "colour")):
        with pytest.raises(InvalidInput) as refusal:
            set_limits(**bad)
        assert field in refusal.value.fields


def test_an_edit_makes_the_report_anew(user, mixed):
    with engine.read() as session:
        first = session.exec(select(Clip).where(Clip.filename == "d.wav")).one()
    edit(user, first.id, text="something else")
    assert check_of(user, mixed.id, "duplicate_text").n_clips == 0


def test_clips_are_listed_by_check_and_group(user, mixed):
    with engine.read() as session:
        found, total = clips.list_clips(
            session, actor=user, dataset_id=mixed.id, check="duplicate_audio", sort="group"
        )
        said = reports.list_findings(session, clip_ids=[clip.id for clip in found])
        none, n_none = clips.list_clips(session, actor=user, dataset_id=mixed.id, check="no such check")
    assert (total, [clip.filename for clip in found]) == (3, ["a.wav", "b.wav", "c.wav"])
    assert {f.detail for f in said[found[0].id] if f.check == "duplicate_audio"} == {"3 of them"}
    assert (none, n_none) == ([], 0)


def test_a_group_is_left_out_and_exactly_it_comes_back(user, mixed):
    made = leave_out(user, mixed.id, check="duplicate_audio")
    assert (made.n_left_out, made.exclusion.check) == (2, "duplicate_audio")
    after = get(user, mixed.id)
    assert (after.n_clips, after.n_excluded, after.version) == (2, 3, mixed.version + 1)
    with engine.read() as session:
        kept = session.exec(select(Clip.filename).where(Clip.status == ClipStatus.OK)).all()
    assert sorted(kept) == ["a.wav", "d.wav"], "the first of the group stays"
    check = check_of(user, mixed.id, "duplicate_audio")
    assert (check.n_clips, check.n_left_out) == (0, 2)
    for n_back in (2, 0):  # a second click takes nothing more back
        with engine.write() as session:
            n = exclusions.undo(session, actor=user, dataset_id=mixed.id, exclusion_id=made.exclusion.id)
        assert n == n_back
    again = get(user, mixed.id)
    assert (again.content_hash, again.n_clips) == (mixed.content_hash, 4)
    assert [view.exclusion.check for view in left_out(user, mixed.id)] == ["silent"]


def test_a_second_click_leaves_nothing_more_out(user, mixed):
    first = leave_out(user, mixed.id, check="duplicate_audio")
    second = leave_out(user, mixed.id, check="duplicate_audio")
    reports.bring_up_to_date(actor=user, dataset_id=mixed.id)
    third = leave_out(user, mixed.id, check="duplicate_audio")
    assert first.exclusion.id == second.exclusion.id == third.exclusion.id
    assert get(user, mixed.id).version == mixed.version + 1


def test_clips_taken_back_by_hand_stay_back(user, mixed):
    made = leave_out(user, mixed.id, check="duplicate_audio")
    with engine.read() as session:
        ids = dict(session.exec(select(Clip.filename, Clip.id)).all())
    edit(user, ids["b.wav"], status=ClipStatus.OK)
    edit(user, ids["b.wav"], status=ClipStatus.EXCLUDED)
    assert [view.n_left_out for view in left_out(user, mixed.id)] == [1, 1]
    with engine.write() as session:
        assert exclusions.undo(session, actor=user, dataset_id=mixed.id, exclusion_id=made.exclusion.id) == 1
    with engine.read() as session:
        assert session.get_one(Clip, ids["b.wav"]).status is ClipStatus.EXCLUDED, "that was another decision"


def test_named_clips_are_left_out_once(user, mixed):
    with engine.read() as session:
        ids = dict(session.exec(select(Clip.filename, Clip.id)).all())
    wanted = [ids["a.wav"], ids["d.wav"], ids["a.wav"], ids["f.wav"]]
    made = leave_out(user, mixed.id, clip_ids=wanted)
    assert made.n_left_out == 2, "twice named counts once, and a broken one isn't in use"
    assert leave_out(user, mixed.id, clip_ids=wanted).exclusion.id == made.exclusion.id
    with pytest.raises(NotFound):
        leave_out(user, mixed.id, clip_ids=["clip_of_somebody"])
    with pytest.raises(Conflict, match="no clip to train on"):
        leave_out(user, mixed.id, clip_ids=[ids["b.wav"], ids["c.wav"]])
    assert get(user, mixed.id).n_clips == 2


def test_silent_clips_come_back_together(user, mixed):
    [silent] = left_out(user, mixed.id)
    with engine.write() as session:
        assert (
            exclusions.undo(session, actor=user, dataset_id=mixed.id, exclusion_id=silent.exclusion.id) == 1
        )
    assert check_of(user, mixed.id, "silent").n_to_leave_out == 1


def test_nonsense_is_refused(user, mixed):
    for key in ("speaker_in_splits", "undecodable", "no such check"):
        with pytest.raises(InvalidInput):
            leave_out(user, mixed.id, check=key)
    with pytest.raises(Conflict, match="nothing to leave out"):
        leave_out(user, mixed.id, check="clipped")


def test_a_report_of_another_content_leaves_nothing_out(user, mixed):
    with engine.read() as session:
        clip_id = session.exec(select(Clip.id).where(Clip.filename == "d.wav")).one()
    edit(user, clip_id, split=Split.TEST)
    with pytest.raises(Conflict, match="changed meanwhile"):
        leave_out(user, mixed.id, check="duplicate_audio")


def test_sounds_are_compared_once_however_often_words_change(user, mixed, monkeypatch):
    asked = []

    def find_groups(items):
        asked.append(items)
        return []

    monkeypatch.setattr(fingerprint, "find_groups", find_groups)
    monkeypatch.setattr(findings, "_similar", Known(5))
    with engine.write() as session:
        clip = session.exec(select(Clip).where(Clip.filename == "a.wav")).one()
        clip.fingerprint = b"1234"
    for words in ("one", "two", "three"):
        edit(user, clip.id, text=words)
        assert report_of(user, mixed.id).is_current
    assert len(asked) == 1


def test_the_lock_is_free_while_the_report_is_computed(user, mixed, monkeypatch):
    find = findings._find
    with engine.read() as session:
        ids = list(session.exec(select(Clip.id).where(Clip.status == ClipStatus.OK).order_by(Clip.position)))
    edits = iter(["one", "two"])

    def slow(session, dataset):
        found = find(session, dataset)
        if text := next(edits, None):
            edit(user, ids[0], text=text)  # would wait for ever if it held the lock
        return found

    monkeypatch.setattr(findings, "_find", slow)
    edit(user, ids[0], text="zero")
    assert findings.bring_up_to_date(mixed.id), "computed again until it is of the present content"
    assert get(user, mixed.id).report_key == findings.key_of(get(user, mixed.id))


def test_a_full_disk_shows_the_former_report(user, mixed, monkeypatch):
    def full(*_):
        raise StorageFull("full")

    with engine.write() as session:
        reports.set_limits(session, actor=user, dataset_id=mixed.id, limits={"min_duration_s": 0.6})
    monkeypatch.setattr(findings, "_write", full)
    report = report_of(user, mixed.id)
    assert not report.is_current
    assert {c.key: c.n_clips for c in report.checks}["duplicate_audio"] == 3


def test_strangers_viewers_and_unready_datasets(user, stranger, mixed):
    exclusion_id = left_out(user, mixed.id)[0].exclusion.id
    other = ready(user, n=2, name="other")
    form = ExclusionCreate(check="duplicate_audio")
    with pytest.raises(NotFound):
        reports.bring_up_to_date(actor=stranger, dataset_id=mixed.id)
    with engine.write() as session:
        for call in (
            lambda: reports.get_report(session, actor=stranger, dataset_id=mixed.id),
            lambda: reports.set_limits(session, actor=stranger, dataset_id=mixed.id, limits={}),
            lambda: exclusions.create(session, actor=stranger, dataset_id=mixed.id, form=form),
            lambda: exclusions.list_exclusions(session, actor=stranger, dataset_id=mixed.id),
            lambda: exclusions.undo(session, actor=stranger, dataset_id=mixed.id, exclusion_id=exclusion_id),
            lambda: exclusions.undo(session, actor=user, dataset_id=other.id, exclusion_id=exclusion_id),
        ):
            with pytest.raises(NotFound):
                call()
        session.get_one(Dataset, mixed.id).status = DatasetStatus.PROCESSING
        for call in (
            lambda: reports.get_report(session, actor=user, dataset_id=mixed.id),
            lambda: exclusions.create(session, actor=user, dataset_id=mixed.id, form=form),
        ):
            with pytest.raises(Conflict):
                call()
        user.role = Role.VIEWER
        for call in (
            lambda: reports.set_limits(session, actor=user, dataset_id=mixed.id, limits={}),
            lambda: exclusions.create(session, actor=user, dataset_id=mixed.id, form=form),
        ):
            with pytest.raises(Forbidden):
                call()


def test_deleting_takes_findings_and_exclusions_along(user, mixed):
    leave_out(user, mixed.id, check="duplicate_audio")
    with engine.write() as session:
        datasets.delete(session, actor=user, dataset_id=mixed.id)
    with engine.read() as session:
        assert session.exec(select(ClipFinding)).all() == []
        assert session.exec(select(Exclusion)).all() == []
