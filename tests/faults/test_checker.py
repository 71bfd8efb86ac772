"""The campaign's checker finds what it is for: a folder in order passes, and each broken rule is named."""

import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.db.engine import get_engine, read, write
from qlora_studio.db.models import Job, Take
from qlora_studio.ingest import staging
from qlora_studio.jobs.metrics import MetricsWriter, sequence
from qlora_studio.services import ratings
from qlora_studio.services.rating_schemas import RatingPut
from qlora_studio.storage import checkpoints, layout
from tests.faults import campaign, checker, people
from tests.jobs.workbench import make_dataset, make_model
from tests.services.takes import make_takes


@pytest.fixture
def job(data_folder, session, user) -> Job:
    """A job that was killed at step 3 and succeeded in its second attempt."""
    dataset, model = make_dataset(session, user), make_model(session, user)
    job = Job(
        owner_id=user.id, name="ada 1", status=JobStatus.SUCCEEDED, attempt=2, training_type="qlora",
        dataset_id=dataset.id, model_id=model.id, step=4, total_steps=4,
    )  # fmt: skip
    session.add(job)
    session.commit()
    run = layout.run_path(job.id)
    write_attempt(job.id, 1, [1, 2, 3], start=100.0)
    write_attempt(job.id, 2, [3, 4], start=200.0)
    writer = MetricsWriter(run / "metrics")
    writer.append({"loss": [(sequence(2, step), step, 100.0 + step, 1.0) for step in range(1, 5)]})
    checkpoints.save(run / "checkpoints", step=2, fill=lambda f: (f / "a").write_bytes(b"a"), state={})
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_config.json").write_text("{}")
    session.close()
    get_engine().dispose()
    return job


def write_attempt(job_id: str, attempt: int, steps: list[int], *, start: float) -> None:
    events = [{"type": "started"}, *({"type": "metric", "step": s, "values": {"loss": 1.0}} for s in steps)]
    lines = [json.dumps({"seq": i + 1, "ts": start + i, **event}) for i, event in enumerate(events)]
    layout.attempt_path(job_id, attempt).mkdir(parents=True, exist_ok=True)
    (layout.attempt_path(job_id, attempt) / "events.jsonl").write_text("\n".join(lines) + "\n")


def somebody(**told: Any) -> people.Person:
    return people.Person("ada", None, None, random.Random(1), **told)  # type: ignore[arg-type]


def found(data: Path, **told: Any) -> str:
    return "; ".join(checker.check(data, [somebody(**told)], slots=1))


def test_a_folder_in_order_passes(data_folder, job):
    assert found(data_folder, launched={job.id: "ada 1"}) == ""


def test_a_lost_launch_is_found(data_folder, job):
    assert "acknowledged and is lost" in found(data_folder, launched={"job_gone": "ada 2"})


@pytest.mark.parametrize(
    ("steps", "start", "sentence"),
    [
        ([3, 5], 200.0, "steps [3, 5]"),
        ([4, 3], 200.0, "steps [4, 3]"),
        ([3, 4], 101.5, "were alive together"),
    ],
)
def test_wrong_steps_and_two_workers_are_found(data_folder, job, steps, start, sentence):
    write_attempt(job.id, 2, steps, start=start)
    assert sentence in found(data_folder)


def test_an_overbooked_slot_is_found(data_folder, job):
    spans = [(0.5, 0.5, "an instant"), (1.0, 5.0, "a"), (4.0, 6.0, "b"), (6.5, 7.0, "c")]
    assert checker.over_booked(spans, 2) == []
    assert "2 workers on 1 slots" in checker.over_booked(spans, 1)[0]


def test_a_damaged_checkpoint_a_leftover_and_an_unknown_run_are_found(data_folder, job):
    run = layout.run_path(job.id)
    (run / "checkpoints" / "step-00000002" / "a").write_bytes(b"b")
    (run / ".adapter.partial").mkdir()
    shutil.rmtree(run / "metrics")
    said = found(data_folder)
    for sentence in ("does not verify", ".adapter.partial is left", "succeeded with 0 of 4 steps"):
        assert sentence in said


def test_an_end_that_changes_is_found(tmp_path):
    watch = checker.Watch(tmp_path, slots=1)
    watch._look([("job_a", 1, "failed", None, "", "now", 3)])
    watch._look([("job_a", 2, "running", None, "", None, 3)])
    assert watch.violations == []
    watch._look([("job_a", 1, "succeeded", None, "", "now", 3), ("job_b", 1, "running", *[None] * 4)])
    assert "had ended as" in watch.violations[0]
    watch._look([("job_a", 3, "running", *[None] * 4), ("job_b", 1, "running", *[None] * 4)])
    assert "2 active jobs on 1 slots" in watch.violations[1]


def test_an_upload_that_was_taken_and_is_not_whole_is_found(data_folder, job):
    with read() as session:
        dataset_id = session.get_one(Job, job.id).dataset_id
    get_engine().dispose()
    with staging.Receiver(dataset_id, "a.wav", start=0, size=4, max_bytes=4) as receiver:
        receiver.write(b"RIFF")
        receiver.finish()
    assert found(data_folder, uploads={dataset_id: b"RIFF"}) == ""
    assert "is lost" in found(data_folder, uploads={dataset_id: b"RIFX"})


def test_a_stop_that_was_told_and_not_kept_is_found(data_folder, job):
    stopped = {(job.id, 1)}
    assert "attempt 1 stops, and it ran on" in found(data_folder, stopped=stopped)
    (layout.attempt_path(job.id, 1) / "stop.json").write_text('{"mode": "save"}')
    assert found(data_folder, stopped=stopped) == ""


@pytest.mark.parametrize(
    ("attempt", "status", "is_kept"),
    [(3, JobStatus.STOPPED, True), (3, JobStatus.LOST, False), (2, JobStatus.STOPPED, False)],
)
def test_a_stop_of_a_job_that_waits_holds_only_if_it_never_ran(data_folder, job, attempt, status, is_kept):
    with write() as session:
        row = session.get_one(Job, job.id)
        row.attempt, row.status = attempt, status
        session.add(row)
    get_engine().dispose()
    assert (found(data_folder, stopped={(job.id, 3)}) == "") is is_kept


def answering(status: int) -> httpx.Client:
    def answer(_: httpx.Request) -> httpx.Response:
        if not status:
            raise httpx.ReadTimeout("no answer")
        return httpx.Response(status, json={"attempt": 2})

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://studio")


def test_a_deletion_that_was_refused_does_not_excuse_a_lost_launch(data_folder, job):
    person = somebody(launched={"job_gone": "ada 2"})
    with pytest.raises(httpx.ReadTimeout), answering(0) as client:
        for _ in range(20):  # the dice decide when it is asked for
            person._delete(client)
    assert checker.check(data_folder, [person], slots=1) == []

    refused = somebody(launched={"job_gone": "ada 2"})
    with answering(409) as client:
        for _ in range(20):
            refused._delete(client)
    assert "acknowledged and is lost" in "; ".join(checker.check(data_folder, [refused], slots=1))


def test_a_stop_is_remembered_with_its_attempt_once_it_is_answered():
    person = somebody(launched={"job_a": "ada 1"})
    with answering(409) as client:
        person._stop(client)
    assert person.stopped == set()
    with answering(202) as client:
        person._stop(client)
    assert person.stopped == {("job_a", 2)}


@pytest.fixture
def rated(data_folder, job, user):
    """A take that was given four stars, through the service as people do."""
    with write() as session:
        [take] = make_takes(session, user, 1)
    with write() as session:
        ratings.put(session, actor=user, take_id=take.id, form=RatingPut(criterion="overall", stars=4))
    get_engine().dispose()
    return take.id


def test_a_lost_rating_is_found(data_folder, rated):
    assert found(data_folder, rated={rated: 4}) == ""
    assert found(data_folder, rated={rated: 3}, maybe_rated={rated: {4}}) == "", (
        "it may be, without an answer"
    )
    assert found(data_folder, maybe_rated={rated: {4}}) == ""
    assert "acknowledged as 3 stars and is 4" in found(data_folder, rated={rated: 3})
    assert "acknowledged as 3 stars and is None" in found(data_folder, rated={"take_gone": 3})
    assert "nobody gave it" in found(data_folder, maybe_rated={rated: {5}})


def test_ratings_that_were_counted_wrongly_are_found(data_folder, rated):
    with write() as session:
        session.get_one(Take, rated).stars_sum = 5
    get_engine().dispose()
    assert f"{rated} counts 1 ratings and 5 stars of 1 and 4" in found(data_folder, rated={rated: 4})


@pytest.mark.parametrize("act", ["_stop", "_resume", "_read", "_upload", "_launch", "_rate"])
def test_a_server_error_is_no_answer_to_live_with(act):
    home = people.Home(Path(), {}, {"ada": "ds_a"}, {"ada": "model_a"}, {"ada": ["take_a"]})
    person = people.Person("ada", None, home, random.Random(1))  # type: ignore[arg-type]
    person.launched["job_a"] = "ada 1"
    with answering(500) as client, pytest.raises(AssertionError, match="was answered 500"):
        getattr(person, act)(client)


def test_a_watch_that_saw_nothing_says_so(tmp_path):
    watch = checker.Watch(tmp_path, slots=1)
    watch.start()
    assert watch.stop() == ["the watch never saw the database"]


def test_what_goes_wrong_on_the_way_is_told_with_the_seed(data_folder, job, monkeypatch):
    def never_ends(*_: object) -> list[str]:
        raise AssertionError("not within 60 s: ada's jobs to end")

    monkeypatch.setattr(campaign, "StudioProcess", lambda *_: SimpleNamespace(start=Mock(), kill=Mock()))
    monkeypatch.setattr(campaign, "_play", never_ends)
    schedule = campaign.Schedule(seed=7, toy_fault="", faults=[])
    home = people.Home(data_folder, {}, {}, {})
    outcome = campaign.run(schedule, home, None)  # type: ignore[arg-type]
    shutil.rmtree(outcome.folder)
    assert outcome.schedule.seed == 7
    assert "AssertionError: not within 60 s: ada's jobs to end" in outcome.violations
