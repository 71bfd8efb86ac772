"""Faults drawn at random while people work, and a checker of what must hold whatever happens.

    python -m tests.faults.campaign --schedules 200 --seed 1

A seed gives a schedule: what each person does, what the nemesis breaks, and when. Everything runs on real
processes with the toy worker. A violation prints the seed, the schedule and the folder that it is kept in.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.faults import checker
from tests.faults.harness import Zygote, wait_for
from tests.faults.nemesis import FAULTS, Nemesis
from tests.faults.studio import StudioProcess, own_processes, spec

ON_THE_WAY = ("queued", "starting", "running", "stopping")  # in the order in which a job goes
SLOTS = 2
STEPS = (6, 12, 25)
WORK_S = 2.5
SETTLE_S = 60.0
TOY_FAULTS = (
    "", "", "crash@4", "kill_in_save@5", "kill_in_eval@10", "kill_in_adapter", "nan@6", "hang@7",
    "slow_save@5",
)  # fmt: skip
PEOPLE = ("ada", "grace", "lise", "rosalind")
# What a person may be told while things break: done, gone, not now (with the reason), no room. Never a 500.
# 413: somebody has queued as many jobs as one may.
ANSWERS = frozenset({200, 201, 202, 204, 404, 409, 413, 503, 507})


@dataclass
class Home:
    """A data folder to copy: people with tokens, each with a dataset and a model."""

    path: Path
    tokens: dict[str, str]
    datasets: dict[str, str]
    models: dict[str, str]


@dataclass
class Schedule:
    """What happens when, in seconds after the start; all of it from the seed."""

    seed: int
    toy_fault: str
    faults: list[tuple[float, str]]

    @classmethod
    def draw(cls, seed: int) -> "Schedule":
        dice = random.Random(seed)
        times = sorted(dice.uniform(0.3, WORK_S) for _ in range(dice.randint(2, 4)))
        return cls(seed, dice.choice(TOY_FAULTS), [(at, dice.choice(FAULTS)) for at in times])

    def __str__(self) -> str:
        faults = ", ".join(f"{at:.2f} s {what}" for at, what in self.faults)
        return f"seed {self.seed}: toy {self.toy_fault or 'well'}; {faults}"


@dataclass
class Person:
    """Somebody who launches, stops, resumes, deletes and reads, and remembers what was acknowledged."""

    name: str
    studio: StudioProcess
    home: Home
    dice: random.Random
    launched: dict[str, str] = field(default_factory=dict)  # id: name
    deleted: set[str] = field(default_factory=set)
    maybe_deleted: set[str] = field(default_factory=set)
    stopped: set[tuple[str, int]] = field(default_factory=set)  # id and attempt
    uploads: dict[str, bytes] = field(default_factory=dict)  # dataset id: what was taken
    foreign: list[str] = field(default_factory=list)

    def work(self, is_over: Callable[[], bool]) -> None:
        """Do one thing after the other; a server that is away is tried again."""
        with self.studio.client(self.home.tokens[self.name], timeout_s=5) as client:
            while not is_over():
                act = self.dice.choice(
                    (
                        self._launch,
                        self._launch,
                        self._stop,
                        self._resume,
                        self._delete,
                        self._read,
                        self._upload,
                    )
                )
                with contextlib.suppress(httpx.TransportError):
                    act(client)
                time.sleep(self.dice.uniform(0, 0.12))

    def _launch(self, client: httpx.Client) -> None:
        name = f"{self.name} {len(self.launched)}-{self.dice.randrange(10**6)}"
        body = spec(self.home.datasets[self.name], self.home.models[self.name], name, self.dice.choice(STEPS))
        for _ in range(40):  # as a client does: the same key until there is an answer
            try:
                answer = expected(client.post("/jobs", json=body, headers={"Idempotency-Key": name}))
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if answer.status_code == 201:
                self.launched[answer.json()["id"]] = name
            return

    def _some_job(self) -> str | None:
        return self.dice.choice(sorted(self.launched)) if self.launched else None

    def _stop(self, client: httpx.Client) -> None:
        if job_id := self._some_job():
            mode = self.dice.choice(("save", "save", "kill"))
            answer = expected(client.post(f"/jobs/{job_id}/stop", json={"mode": mode}))
            if answer.status_code == 202:
                self.stopped.add((job_id, answer.json()["attempt"]))

    def _resume(self, client: httpx.Client) -> None:
        if job_id := self._some_job():
            expected(client.post(f"/jobs/{job_id}/resume"))

    def _delete(self, client: httpx.Client) -> None:
        if (job_id := self._some_job()) and self.dice.random() < 0.4:
            was_in_doubt = job_id in self.maybe_deleted
            self.maybe_deleted.add(job_id)  # stays so where no answer comes
            answer = expected(client.delete(f"/jobs/{job_id}"))
            if answer.status_code == 204:
                self.deleted.add(job_id)
            elif not was_in_doubt:  # refused, so it has to be there
                self.maybe_deleted.discard(job_id)

    def _upload(self, client: httpx.Client) -> None:
        if len(self.uploads) >= 2:
            return
        body = {"name": f"{self.name} data", "task": "speech-to-text", "source": {"kind": "upload"}}
        made = expected(client.post("/datasets", json=body))
        if made.status_code != 201:
            return
        content = os.urandom(20_000)
        dataset_id = made.json()["id"]
        if expected(client.put(f"/datasets/{dataset_id}/files/a.wav", content=content)).is_success:
            self.uploads[dataset_id] = content

    def _read(self, client: httpx.Client) -> None:
        answer = expected(client.get("/jobs", params={"page_size": 100}))
        if answer.status_code != 200:
            return
        self.foreign += [j["id"] for j in answer.json()["items"] if not j["name"].startswith(f"{self.name} ")]
        if job_id := self._some_job():
            for path in ("", "/metrics", "/logs"):
                expected(client.get(f"/jobs/{job_id}{path}"))

    def pry(self, client: httpx.Client, others: set[str]) -> None:
        """Ask for another person's jobs by their ids."""
        for job_id in sorted(others)[:5]:
            for path in ("", "/metrics", "/logs", "/samples"):
                if client.get(f"/jobs/{job_id}{path}").status_code != 404:
                    self.foreign.append(job_id)


def expected(answer: httpx.Response) -> httpx.Response:
    """Return an answer that people may get; any other one, such as a 500, ends their work as a violation."""
    asked = answer.request
    told = f"{asked.method} {asked.url.path} was answered {answer.status_code}: {answer.text[:500]}"
    assert answer.status_code in ANSWERS, told
    return answer


@dataclass
class Outcome:
    """What a schedule came to."""

    schedule: Schedule
    violations: list[str]
    n_jobs: int
    n_attempts: int
    folder: Path


def run(
    schedule: Schedule, home: Home, zygote: Zygote, *, n_people: int = 2, work_s: float = WORK_S
) -> Outcome:
    """Run one schedule in a folder of its own, which stays only if something was violated.

    What goes wrong on the way (a job that never ends, a server that does not answer) is a violation as well,
    so that its seed is told.
    """
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    data = folder / "data"
    shutil.copytree(home.path, data)
    env = {
        "QLORA_STUDIO_WORKER": "toy",
        "QLORA_STUDIO_TOY_STEP_S": "0.03",
        "QLORA_STUDIO_TOY_FAIL": schedule.toy_fault,
        "QLORA_STUDIO_STOP_GRACE_S": "1.5",
        "QLORA_STUDIO_SLOTS": str(SLOTS),
        "OMP_NUM_THREADS": "1",
    }
    studio = StudioProcess(zygote, data, env)
    dice = random.Random(schedule.seed)
    people = [Person(name, studio, home, random.Random(dice.random())) for name in PEOPLE[:n_people]]
    nemesis = Nemesis(studio, dice)
    watch = checker.Watch(data, slots=SLOTS)
    violations: list[str] = []
    try:
        studio.start()
        watch.start()
        violations += _play(schedule, people, nemesis, work_s)
        nemesis.let_go()
        _settle(studio, people)
        violations += _foreign(studio, people)
        watch.stop()
        studio.kill()
        violations += checker.check(data, people, slots=SLOTS)
    except Exception as error:
        violations.append(f"{type(error).__name__}: {error}")
    finally:
        violations += watch.stop()
        studio.kill()
        for pid in own_processes(data):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    n_jobs, n_attempts = checker.count(data)
    if not violations:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(schedule, violations, n_jobs, n_attempts, folder)


def _play(schedule: Schedule, people: list[Person], nemesis: Nemesis, work_s: float) -> list[str]:
    """Let them; returns the answers that nobody should get."""
    started = time.monotonic()
    is_broken = threading.Event()  # all that was to be broken

    def is_over() -> bool:
        return is_broken.is_set() and time.monotonic() > started + work_s

    with ThreadPoolExecutor(len(people)) as pool:
        working = [pool.submit(person.work, is_over) for person in people]
        try:
            for at, what in schedule.faults:
                time.sleep(max(0.0, started + at - time.monotonic()))
                nemesis.do(what)
        finally:
            is_broken.set()
        errors = [work.exception() for work in working]
        return [f"{type(error).__name__}: {error}" for error in errors if error is not None]


def _settle(studio: StudioProcess, people: list[Person]) -> None:
    """End what runs, as people do before they leave, and wait until everything has."""
    studio.wait_until_it_answers()
    for person in people:
        with studio.client(person.home.tokens[person.name]) as client:

            def is_quiet(client: httpx.Client = client) -> bool:
                left = [job for status in ON_THE_WAY for job in _jobs(client, status)]
                for job in left:
                    if job["status"] != "stopping":
                        client.post(f"/jobs/{job['id']}/stop")
                return not left

            wait_for(is_quiet, within_s=SETTLE_S, what=f"{person.name}'s jobs to end")


def _jobs(client: httpx.Client, status: str) -> list[dict[str, Any]]:
    """A page of the jobs in one status: of all there may be more than a page holds."""
    answer = client.get("/jobs", params={"status": status, "page_size": 100})
    return answer.raise_for_status().json()["items"]


def _foreign(studio: StudioProcess, people: list[Person]) -> list[str]:
    for person in people:
        others = {job_id for other in people if other is not person for job_id in other.launched}
        with studio.client(person.home.tokens[person.name]) as client:
            person.pry(client, others)
    return [f"{person.name} was shown {job_id}" for person in people for job_id in person.foreign]


def make_home(zygote: Zygote, folder: Path, make_things: Callable[[Path, str], tuple[str, str]]) -> Home:
    """Make the folder that every schedule begins with.

    Args:
        make_things: stores a dataset and a model for the person of that name in a data folder; returns ids.
    """
    studio = StudioProcess(zygote, folder, {"OMP_NUM_THREADS": "1", "QLORA_STUDIO_SLOTS": "0"})
    studio.start()
    studio.wait_until_it_answers()
    tokens = {name: studio.sign_up(name) for name in PEOPLE}
    studio.kill()
    things = {name: make_things(folder, name) for name in PEOPLE}
    with contextlib.closing(sqlite3.connect(folder / "studio.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Home(
        folder,
        tokens,
        {name: ids[0] for name, ids in things.items()},
        {name: ids[1] for name, ids in things.items()},
    )


def make_things(folder: Path, name: str) -> tuple[str, str]:
    """A dataset and a model of a person, stored beside a server that is not running."""
    from sqlmodel import Session, select

    from qlora_studio.db.engine import make_engine
    from qlora_studio.db.models import User
    from tests.jobs.workbench import make_dataset, make_model

    engine = make_engine(f"sqlite:///{folder / 'studio.db'}")
    with Session(engine) as session:
        person = session.exec(select(User).where(User.username == name)).one()
        ids = make_dataset(session, person).id, make_model(session, person, data_path=folder).id
    engine.dispose()
    return ids


def run_many(seeds: list[int], home: Home, zygote: Zygote, *, at_once: int = 4) -> list[Outcome]:
    """Run schedules side by side, in the order of their seeds."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda seed: run(Schedule.draw(seed), home, zygote), seeds))


def main() -> int:
    """Run as many schedules as asked for and print what was violated."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--schedules", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1, help="of the first schedule; the others count up")
    parser.add_argument("--at-once", type=int, default=4)
    wanted = parser.parse_args()
    zygote = Zygote()
    with tempfile.TemporaryDirectory(prefix="campaign-home-") as folder:
        home = make_home(zygote, Path(folder), make_things)
        seeds = list(range(wanted.seed, wanted.seed + wanted.schedules))
        outcomes = run_many(seeds, home, zygote, at_once=wanted.at_once)
    zygote.close()
    for outcome in outcomes:
        for violation in outcome.violations:
            print(f"{outcome.schedule}\n  {violation}\n  kept in {outcome.folder}")
    n_jobs, n_attempts = (
        sum(counts) for counts in zip(*((o.n_jobs, o.n_attempts) for o in outcomes), strict=True)
    )
    n_bad = sum(bool(outcome.violations) for outcome in outcomes)
    print(
        f"{len(outcomes)} schedules, {n_jobs} jobs, {n_attempts} attempts: {n_bad} schedules with violations"
    )
    return 1 if n_bad else 0


if __name__ == "__main__":
    sys.exit(main())
