"""Who comes next: fair between people, in each one's own order, and nobody waits for ever."""

import random
from collections import Counter, defaultdict
from datetime import timedelta

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.db.engine import read, write
from qlora_studio.db.models import Job, Notification, QueueState
from qlora_studio.jobs import liveness, queue
from qlora_studio.jobs.queue import Entry, order, pick
from qlora_studio.jobs.supervisor import Supervisor
from tests.conftest import make_user
from tests.jobs.conftest import change_setting, load


def entries(*names: str, wide: dict[str, int] | None = None) -> list[Entry]:
    """`a1` is the first job of a; they were queued in the order given."""
    sizes = wide or {}
    return [Entry(name, name[0], float(rank), sizes.get(name, 1)) for rank, name in enumerate(names)]


def names(found: list[Entry]) -> list[str]:
    return [entry.id for entry in found]


def test_people_take_turns_however_many_jobs_one_has_queued() -> None:
    queued = entries("a1", "a2", "a3", "a4", "b1", "c1", "b2")
    assert names(order(queued, [])) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


def test_whoever_has_fewer_slots_comes_first_and_wide_jobs_count_by_their_width() -> None:
    queued = entries("a1", "b1", "b2", "b3")
    running = entries("a9", wide={"a9": 2})
    assert names(order(queued, running)) == ["b1", "b2", "a1", "b3"]


def test_with_one_slot_the_one_who_had_it_last_steps_back() -> None:
    queued = entries("a1", "a2", "b1")
    assert names(order(queued, [], last_end={"a": 100.0})) == ["b1", "a1", "a2"]
    assert names(order(queued, [], last_end={"a": 100.0, "b": 200.0})) == ["a1", "b1", "a2"]


def test_a_rank_moves_a_job_among_its_owners_only() -> None:
    queued = [*entries("a1", "a2", "b1"), Entry("a3", "a", rank=-1.0)]
    assert names(order(queued, [])) == ["a3", "b1", "a1", "a2"]


def drawn(rng: random.Random) -> tuple[list[Entry], list[Entry], dict[str, float]]:
    def some(prefix: str, n: int) -> list[Entry]:
        return [
            Entry(
                f"{prefix}{i}", rng.choice("abcd"), rng.choice([0.0, rng.random()]), rng.choice([1, 1, 2, 4])
            )
            for i in range(n)
        ]

    return some("q", rng.randrange(12)), some("r", rng.randrange(4)), {o: rng.random() for o in "abc"}


@pytest.mark.parametrize("seed", range(60))
def test_order_keeps_every_job_is_stable_and_foretells_what_happens(seed: int) -> None:
    rng = random.Random(seed)
    queued, active, ends = drawn(rng)
    found = order(queued, active, last_end=ends)
    assert sorted(names(found)) == sorted(names(queued))
    assert order(rng.sample(queued, len(queued)), active, last_end=ends) == found, "however it was read"
    for owner in "abcd":
        mine = [entry for entry in found if entry.owner_id == owner]
        assert mine == sorted(mine, key=lambda e: (e.rank, e.id))
    if found:  # starting the first changes nothing for the others
        assert order(found[1:], [*active, found[0]], last_end=ends) == found[1:]


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_of_narrow_jobs_starves_no_wide_one_and_slots_are_never_overbooked(seed: int) -> None:
    """One person keeps the queue full of narrow jobs; another waits for all four slots."""
    rng = random.Random(seed)
    n_slots = 4
    active: dict[Entry, int] = {}
    ends: dict[str, float] = defaultdict(float)
    queued = [Entry("wide", "b", 0.5, n_slots)]
    for now in range(60):
        for entry in [e for e, until in active.items() if until <= now]:
            del active[entry]
            ends[entry.owner_id] = float(now)
        queued += [Entry(f"n{now}-{i}", "a", now + i / 10) for i in range(6)]
        while True:
            busy = sum(e.n_devices for e in active)
            assert busy <= n_slots
            found = pick(order(queued, list(active), last_end=ends), n_slots=n_slots, n_busy=busy)
            if found is None:
                break
            queued.remove(found)
            active[found] = now + rng.randint(1, 5)
            if found.id == "wide":
                return
    pytest.fail("the wide job never started")


@pytest.mark.parametrize("n_slots", [1, 2, 3])
def test_over_time_everybody_gets_the_same(n_slots: int) -> None:
    queued = [
        Entry(f"{owner}{i:03}", owner, float(i + 1000 * n))
        for n, owner in enumerate("abc")
        for i in range(40)
    ]
    active: list[Entry] = []
    ends: dict[str, float] = {}
    started = Counter[str]()
    for now in range(30):
        if active and len(active) == n_slots:
            done = active.pop(0)
            ends[done.owner_id] = float(now + 1)
        while found := pick(order(queued, active, last_end=ends), n_slots=n_slots, n_busy=len(active)):
            queued.remove(found)
            active.append(found)
            started[found.owner_id] += 1
    assert max(started.values()) - min(started.values()) <= 1


def test_only_the_first_in_line_is_picked() -> None:
    wide, narrow = Entry("w", "a", 0, 3), Entry("n", "b", 1)
    assert pick([wide, narrow], n_slots=4, n_busy=2) is None
    assert pick([wide, narrow], n_slots=4, n_busy=1) is wide
    assert pick([wide], n_slots=2, n_busy=0) is wide, "there are no more than that"
    assert pick([narrow], n_slots=0, n_busy=0) is None
    assert pick([], n_slots=1, n_busy=0) is None


def test_a_wide_job_waits_until_so_many_devices_have_a_free_slot() -> None:
    wide, late = Entry("w", "a", 0, 2), Entry("n", "b", 1)
    assert pick([wide, late], n_slots=4, n_busy=2, n_open=1) is None, "both free slots are on one device"
    assert pick([wide, late], n_slots=4, n_busy=2, n_open=2) is wide
    assert pick([late], n_slots=4, n_busy=2, n_open=1) is late
    assert pick([Entry("w", "a", 0, 3)], n_slots=4, n_busy=0, n_open=2) is not None, "all there are"


# -- on the database -----------------------------------------------------------------------------------


class _NoLauncher:
    def launch(self, attempt_path) -> None:
        """Nothing: the queue is what is looked at."""


@pytest.fixture
def supervisor(data_folder) -> Supervisor:
    return Supervisor(_NoLauncher())


def change(job: Job, **values: object) -> None:
    with write() as session:
        row = session.get_one(Job, job.id)
        for name, value in values.items():
            setattr(row, name, value)


def test_one_persons_hundred_jobs_do_not_hold_up_anothers(session: Session, supervisor, make_job) -> None:
    first, second, theirs = make_job("first"), make_job("second"), make_job("theirs")
    change(theirs, owner_id=make_user(session, "alan").id)
    assert supervisor._claim_next().id == first.id
    change(first, status=JobStatus.SUCCEEDED, finished_at=load(first.id).started_at)
    assert supervisor._claim_next().id == theirs.id
    assert supervisor._claim_next() is None
    assert load(second.id).status is JobStatus.QUEUED


def test_whose_latest_job_is_resumed_has_been_served(session: Session, supervisor, make_job) -> None:
    """One person stops and resumes a job again and again: another's turn comes all the same."""
    start = utc_now() - timedelta(hours=9)
    resumed, other = make_job("resumed"), make_job("other")
    done, first = make_job("done"), make_job("of another, who waits")
    alan = make_user(session, "alan").id
    change(resumed, attempt=2, started_at=start, heartbeat_at=start + timedelta(hours=3))
    change(other, rank=utc_now().timestamp() + 60)
    change(
        done,
        owner_id=alan,
        status=JobStatus.SUCCEEDED,
        started_at=start,
        finished_at=start + timedelta(hours=2),
    )
    change(first, owner_id=alan)
    with read() as opened:
        assert names(queue.read_line(opened).ready)[0] == first.id
    change(done, finished_at=start + timedelta(hours=4))
    with read() as opened:
        assert names(queue.read_line(opened).ready)[0] == resumed.id


def test_what_is_foretold_is_what_starts(session: Session, supervisor, make_job, monkeypatch) -> None:
    change_setting(monkeypatch, "SLOTS", "5")
    made = [make_job(f"j{i}") for i in range(5)]
    for job in made[2:]:
        change(job, owner_id=make_user(session, f"u{job.id[-4:]}").id)
    with read() as opened:
        places = queue.read_line(opened).positions
    started = [supervisor._claim_next().id for _ in range(5)]
    assert started == sorted(places, key=lambda job_id: places[job_id])


def test_a_paused_queue_starts_nothing_and_goes_on_where_it_was(supervisor, make_job) -> None:
    job = make_job()
    with write() as session:
        session.add(QueueState(is_paused=True, boot_id=liveness.boot_id()))
    supervisor.tick(review=True)
    assert load(job.id).status is JobStatus.QUEUED
    with write() as session:
        session.get_one(QueueState, 1).is_paused = False
    assert supervisor._claim_next().id == job.id


def test_after_a_restart_of_the_machine_queued_jobs_wait_for_a_word(supervisor, make_job) -> None:
    job = make_job()
    with write() as session:
        session.add(QueueState(boot_id="the boot before", changed_at=utc_now() - timedelta(days=1)))
    supervisor.tick(review=True)
    assert load(job.id).status is JobStatus.QUEUED
    with read() as session:
        state = queue.read_state(session)
        assert utc_now() - state.changed_at < timedelta(minutes=1)
        assert (state.is_paused, state.note, state.boot_id) == (True, queue.RESTARTED, liveness.boot_id())
    with write() as session:
        session.get_one(QueueState, 1).is_paused = False
    assert Supervisor(_NoLauncher())._claim_next().id == job.id, "the same boot pauses only once"


def test_an_empty_queue_is_not_paused_by_a_restart_nor_one_that_was_never_seen(supervisor, make_job) -> None:
    supervisor.tick(review=True)
    with write() as session:
        session.get_one(QueueState, 1).boot_id = "the boot before"
    queue.hold_after_restart()
    with read() as session:
        assert not queue.read_state(session).is_paused
    asked_for = make_job()
    with write() as session:
        session.get_one(QueueState, 1).boot_id = "the boot before"
    queue.hold_after_restart(but=[asked_for.id])
    with read() as session:
        assert not queue.read_state(session).is_paused


def test_a_job_asked_for_by_name_is_held_back_by_a_person_and_not_by_a_restart(make_job) -> None:
    job, other = make_job("asked for"), make_job("older")
    with write() as session:
        session.add(QueueState(boot_id="the boot before"))
    alone = Supervisor(_NoLauncher(), only=[job.id])
    alone.tick(review=True)
    assert (load(job.id).status, load(other.id).status) == (JobStatus.STARTING, JobStatus.QUEUED)
    with write() as session:
        session.get_one(QueueState, 1).changed_by = job.owner_id
    change(job, status=JobStatus.QUEUED)
    assert alone._claim_next() is None


@pytest.mark.parametrize(
    ("ended", "condition", "expected"),
    [
        (JobStatus.SUCCEEDED, "succeeded", JobStatus.STARTING),
        (JobStatus.FAILED, "ended", JobStatus.STARTING),
        (JobStatus.FAILED, "succeeded", JobStatus.STOPPED),
        (JobStatus.STOPPED, "succeeded", JobStatus.STOPPED),
        (JobStatus.LOST, "succeeded", JobStatus.STOPPED),
        (JobStatus.RUNNING, "ended", JobStatus.QUEUED),
    ],
)
def test_a_follower_starts_or_says_why_not(
    supervisor, make_job, monkeypatch, ended, condition, expected
) -> None:
    change_setting(monkeypatch, "SLOTS", "2")
    first = make_job("first")
    follower = make_job("second", after_job_id=first.id)
    change(first, status=ended)
    change(follower, spec=load(follower.id).spec | {"after_condition": condition})
    supervisor._claim_next()
    found = load(follower.id)
    assert found.status is expected
    if expected is JobStatus.STOPPED:
        assert found.message.startswith(f"“first” ended as {ended.value}")
        assert found.finished_at is not None
        with read() as session:
            assert [n.job_id for n in session.exec(select(Notification))] == [follower.id], (
                "its owner is told"
            )
