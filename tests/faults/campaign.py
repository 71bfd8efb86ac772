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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.faults import checker
from tests.faults.harness import Zygote, wait_for
from tests.faults.nemesis import FAULTS, Nemesis
from tests.faults.people import Home, Person
from tests.faults.studio import StudioProcess, own_processes
from tests.faults.volume import small_volume

ON_THE_WAY = ("queued", "starting", "running", "stopping")  # in the order in which a job goes
SLOTS = 2
WORK_S = 2.5
SETTLE_S = 60.0
VOLUME_BYTES = 64_000_000
Things = tuple[str, str, list[str]]  # ids of a dataset, a model and takes
TOY_FAULTS = (
    "", "", "crash@4", "kill_in_save@5", "kill_in_eval@10", "kill_in_adapter", "nan@6", "hang@7",
    "slow_save@5",
)  # fmt: skip
PEOPLE = ("ada", "grace", "lise", "rosalind")


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
    data.mkdir()
    volume = contextlib.ExitStack()
    if any(what == "fill disk" for _, what in schedule.faults):
        volume.enter_context(small_volume(data, VOLUME_BYTES))
    shutil.copytree(home.path, data, dirs_exist_ok=True)
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
        violations += nemesis.violations
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
    if violations:
        shutil.copytree(data, folder / "kept", symlinks=True)  # its volume goes
    volume.close()
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


def make_home(zygote: Zygote, folder: Path, make_things: Callable[[Path, str], Things]) -> Home:
    """Make the folder that every schedule begins with.

    Args:
        make_things: stores what the person of that name has in a data folder.
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
        {name: ids[2] for name, ids in things.items()},
    )


def make_things(folder: Path, name: str) -> Things:
    """A dataset, a model and takes of a person, stored beside a server that is not running."""
    from sqlmodel import Session, select

    from qlora_studio.db.engine import make_engine
    from qlora_studio.db.models import User
    from tests.jobs.workbench import make_dataset, make_model
    from tests.services.takes import make_takes

    engine = make_engine(f"sqlite:///{folder / 'studio.db'}")
    with Session(engine) as session:
        person = session.exec(select(User).where(User.username == name)).one()
        dataset, model = make_dataset(session, person), make_model(session, person, data_path=folder)
        ids = dataset.id, model.id, [take.id for take in make_takes(session, person, 3)]
        session.commit()
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
