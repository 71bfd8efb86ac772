"""When a worker counts as silent: by what was listened to, not by any clock that can be set."""

import json

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.db import engine as db
from qlora_studio.db.models import Job
from qlora_studio.jobs.ingest import Ingest
from qlora_studio.jobs.silence import STALLED_AFTER_S, Silence
from qlora_studio.services import jobs
from qlora_studio.storage import layout
from tests.jobs.workbench import make_dataset, make_model, make_spec


def test_silence_is_told_within_five_seconds_and_ends_with_a_word():
    silence, now = Silence(), 100.0
    silence.look(has_spoken=True, now=now)
    for _ in range(round(STALLED_AFTER_S / 0.04)):
        now += 0.04
        heard = silence.look(has_spoken=False, now=now)
    assert STALLED_AFTER_S - 0.1 < heard <= 5
    assert silence.look(has_spoken=True, now=now + 0.04) == 0


def test_a_listener_that_was_held_up_has_heard_no_silence():
    silence = Silence()
    silence.look(has_spoken=True, now=0.0)
    assert silence.look(has_spoken=False, now=86_400.0) < STALLED_AFTER_S


def test_the_row_says_when_a_worker_falls_silent_and_when_it_is_heard_again(session, user, monkeypatch):
    spec = make_spec(make_dataset(session, user), make_model(session, user))
    with db.write() as writing:
        job = jobs.submit(writing, actor=user, spec=spec)
        job.status = JobStatus.RUNNING
        writing.add(job)
    clock = {"now": 0.0}
    monkeypatch.setattr("qlora_studio.jobs.silence.time.monotonic", lambda: clock["now"])
    folder = layout.attempt_path(job.id, 1)
    folder.mkdir(parents=True)
    ingest = Ingest(job)

    def say(seq):
        with (folder / "events.jsonl").open("a") as file:
            file.write(json.dumps({"v": 1, "seq": seq, "ts": 0.0, "type": "heartbeat", "step": 1}) + "\n")

    def row_after(seconds):
        for _ in range(round(seconds / 0.25)):
            clock["now"] += 0.25
            ingest.poll()
        with db.read() as reading:
            return reading.get_one(Job, job.id).is_stalled

    say(1)
    assert not row_after(4)
    assert row_after(1)
    assert row_after(10)
    adopted = Ingest(_reload(job.id))
    clock["now"] += 60
    adopted.poll()
    assert _reload(job.id).is_stalled  # nothing was heard meanwhile
    say(2)
    assert not row_after(0.25)
    assert row_after(5)
    assert ingest.drain()
    assert not _reload(job.id).is_stalled


def _reload(job_id):
    with db.read() as session:
        return session.get_one(Job, job_id)
