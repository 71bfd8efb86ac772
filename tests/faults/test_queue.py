"""Two at once, twice the same, in use: what people do; each test is one line of the table of faults."""

import fcntl
import os
import threading

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.core.errors import Conflict
from qlora_studio.db.engine import get_engine, read, write
from qlora_studio.db.models import Job
from qlora_studio.jobs.supervisor import Supervisor
from qlora_studio.services import datasets, jobs, models
from tests.faults.harness import loss_steps, wait_for_end, wait_for_step
from tests.jobs.workbench import make_dataset, make_model, make_spec

pytestmark = pytest.mark.slow
ROUNDS = 100 if os.environ.get("QLORA_STUDIO_LONG_FAULTS") else 20


class OneSlot:
    """A launcher whose attempts live, by their lock, until they are let go.

    As with a real shim, a second one of the same attempt finds the lock held and goes away.
    """

    def __init__(self):
        self.held = []

    def launch(self, attempt_path):
        descriptor = os.open(attempt_path / "shim.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return
        self.held.append(descriptor)

    def let_go(self):
        while self.held:
            os.close(self.held.pop())


@pytest.mark.fault(
    "F12",
    "two users launch at once on one slot, 100 times",
    "each time one starts and one is queued, first in the queue",
)
def test_f12_two_users_launch_at_once(data_folder, session, user, stranger):
    specs = {
        person.id: make_spec(make_dataset(session, person), make_model(session, person))
        for person in (user, stranger)
    }
    slot = OneSlot()
    for round_ in range(ROUNDS):
        barrier = threading.Barrier(2)
        made = {}

        def launch_and_claim(person, barrier=barrier, made=made):
            barrier.wait()
            with write() as own:
                made[person.id] = jobs.submit(own, actor=person, spec=specs[person.id]).id
            Supervisor(slot).tick(review=True)

        threads = [threading.Thread(target=launch_and_claim, args=(p,)) for p in (user, stranger)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with read() as own:
            views = {p.id: jobs.get_view(own, actor=p, job_id=made[p.id]) for p in (user, stranger)}
        statuses = sorted(view.job.status.value for view in views.values())
        assert statuses == ["queued", "starting"], round_
        assert [v.queue_position for v in views.values() if v.job.status is JobStatus.QUEUED] == [1]
        assert len(slot.held) == 1
        slot.let_go()
        with write() as own:
            for job_id in made.values():
                own.delete(own.get_one(Job, job_id))


@pytest.mark.fault("F13", "ten clicks on Launch", "one job, the same id ten times")
def test_f13_a_launch_sent_by_ten_clicks_makes_one_job(data_folder, session, user):
    spec = make_spec(make_dataset(session, user), make_model(session, user))
    ids: list[str] = []
    barrier = threading.Barrier(10)

    def click():
        barrier.wait()
        with write() as own:
            ids.append(jobs.submit(own, actor=user, spec=spec, launch_key="draft-1").id)

    threads = [threading.Thread(target=click) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 10
    assert len(set(ids)) == 1
    with Session(get_engine()) as own:
        assert len(own.exec(select(Job)).all()) == 1
    assert len(list((data_folder / "runs").glob("job_*"))) == 1


@pytest.mark.fault("F13", "all events taken in twice", "each step once")
def test_f13_events_taken_in_twice_change_nothing(supervisor, launch):
    job = launch(100)
    supervisor.start()
    wait_for_step(job.id, 30)
    supervisor.kill()
    with write() as session:  # as if the last commits had been lost in a crash
        row = session.get_one(Job, job.id)
        row.event_offset, row.last_seq = 0, 0
        session.add(row)
    supervisor.start()
    assert wait_for_end(job.id).status is JobStatus.SUCCEEDED
    assert loss_steps(job.id) == list(range(1, 101))


@pytest.mark.fault(
    "F23",
    "delete the dataset, the model and the job of a running job",
    "refused, naming who uses it; the job finishes",
)
def test_f23_what_is_in_use_is_not_deleted(supervisor, launch, user):
    job = launch(60, "the one that runs")
    supervisor.start(QLORA_STUDIO_TOY_STEP_S="0.02")
    wait_for_step(job.id, 5)
    with pytest.raises(Conflict, match="in use") as dataset, write() as session:
        datasets.delete(session, actor=user, dataset_id=job.dataset_id)
    with pytest.raises(Conflict, match="used by") as model, write() as session:
        models.delete_model(session, actor=user, model_id=job.model_id)
    for refusal in (dataset, model):
        assert "the one that runs" in str(refusal.value.users_of)
    with pytest.raises(Conflict, match="running"), write() as session:
        jobs.delete(session, actor=user, job_id=job.id)
    assert wait_for_end(job.id).status is JobStatus.SUCCEEDED
    assert loss_steps(job.id) == list(range(1, 61))
