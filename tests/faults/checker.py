"""What must hold whatever happens: looked at all the time, and once more when everything has ended."""

import contextlib
import itertools
import json
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from qlora_studio.jobs import metrics
from qlora_studio.storage import checkpoints, orphans
from tests.faults.studio import own_processes

ACTIVE = ("starting", "running", "stopping")
TERMINAL = ("succeeded", "stopped", "failed", "lost")
LOOK_EVERY_S = 0.03
ENDED_WITHIN_S = 5.0


class Worked(Protocol):
    """What somebody was told."""

    name: str
    launched: dict[str, str]
    deleted: set[str]
    maybe_deleted: set[str]
    stopped: set[tuple[str, int]]
    uploads: dict[str, bytes]
    rated: dict[str, int]
    maybe_rated: dict[str, set[int]]


class Watch:
    """Reads the database over and over, as a page does, and notes what must never be seen."""

    def __init__(self, data: Path, *, slots: int) -> None:
        self._data = data
        self._slots = slots
        self._ended: dict[tuple[str, int], tuple[Any, ...]] = {}
        self._violations: dict[str, None] = {}
        self._n_looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> list[str]:
        """End and return what was violated; to have seen nothing at all counts as well."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if not self._n_looks:
            self._violations["the watch never saw the database"] = None
        return self.violations

    @property
    def violations(self) -> list[str]:
        """What was seen so far."""
        return list(self._violations)

    def _run(self) -> None:
        path = f"file:{self._data / 'studio.db'}?mode=ro"
        query = "SELECT id, attempt, status, reason, message, finished_at, step FROM job"
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                with contextlib.closing(sqlite3.connect(path, uri=True, timeout=1)) as database:
                    rows = database.execute(query).fetchall()
            except sqlite3.OperationalError:
                continue  # held, or not to be opened just now
            except sqlite3.DatabaseError as error:
                self._violations[f"the watch read a damaged database: {error}"] = None
                continue
            self._n_looks += 1
            self._look(rows)

    def _look(self, rows: list[tuple[Any, ...]]) -> None:
        n_active = sum(row[2] in ACTIVE for row in rows)
        if n_active > self._slots:
            self._violations[f"{n_active} active jobs on {self._slots} slots"] = None
        for job_id, attempt, status, *rest in rows:
            key, end = (job_id, attempt), (status, *rest)
            before = self._ended.get(key)
            if before is not None and before != end:
                self._violations[f"{job_id} attempt {attempt} had ended as {before} and became {end}"] = None
            if status in TERMINAL:
                self._ended[key] = end


def check(data: Path, people: list[Any], *, slots: int) -> list[str]:
    """Look at everything that is there when all jobs have ended and the server is gone."""
    with contextlib.closing(sqlite3.connect(data / "studio.db")) as database:
        database.row_factory = sqlite3.Row
        jobs = {row["id"]: dict(row) for row in database.execute("SELECT * FROM job")}
        violations = _of_database(database, data, jobs, people) + _of_stops(data, jobs, people)
        violations += _of_ratings(database, people)
    spans: list[tuple[float, float, str]] = []
    for job_id, job in jobs.items():
        violations += _of_run(data / "runs" / job_id, job, spans)
    violations += over_booked(spans, slots)
    return violations + _of_leftovers(data, jobs)


def count(data: Path) -> tuple[int, int]:
    """Jobs, and attempts that were begun."""
    folders = list((data / "runs").glob("job_*"))
    return len(folders), len(list((data / "runs").glob("job_*/attempt-*/events.jsonl")))


def _of_database(
    database: sqlite3.Connection, data: Path, jobs: dict[str, dict[str, Any]], people: list[Worked]
) -> list[str]:
    found = [f"integrity: {row[0]}" for row in database.execute("PRAGMA integrity_check") if row[0] != "ok"]
    found += [f"foreign key: {tuple(row)}" for row in database.execute("PRAGMA foreign_key_check")]
    datasets = {row[0] for row in database.execute("SELECT id FROM dataset")}
    for person in people:
        for job_id, name in person.launched.items():
            if job_id not in jobs and job_id not in person.maybe_deleted:
                found.append(f"{person.name}'s launch {job_id} was acknowledged and is lost")
            if job_id in jobs and (job_id in person.deleted or jobs[job_id]["name"] != name):
                found.append(f"{person.name}'s {job_id} is not what was acknowledged")
        names = [job["name"] for job in jobs.values()]
        found += [f"{name} was launched twice" for name in set(names) if names.count(name) > 1]
        for dataset_id, content in person.uploads.items():
            received = (data / "staging" / dataset_id).rglob("*")
            is_kept = any(path.is_file() and path.read_bytes() == content for path in received)
            if dataset_id not in datasets or not is_kept:
                found.append(f"{person.name}'s upload into {dataset_id} is lost")
    found += [f"{job['id']} is {job['status']}" for job in jobs.values() if job["status"] not in TERMINAL]
    return found


def _of_stops(data: Path, jobs: dict[str, dict[str, Any]], people: list[Worked]) -> list[str]:
    """Each attempt that was to stop has the wish in its folder, or left the queue and never ran."""
    found: list[str] = []
    for person in people:
        for job_id, attempt in sorted(person.stopped):
            folder = data / "runs" / job_id / f"attempt-{attempt}"
            if job_id not in jobs or (folder / "stop.json").is_file():
                continue
            job = jobs[job_id]
            if _events(folder):
                found.append(f"{person.name} was told that {job_id} attempt {attempt} stops, and it ran on")
            elif job["attempt"] < attempt or (job["attempt"] == attempt and job["status"] != "stopped"):
                found.append(
                    f"{person.name}'s stop of {job_id} attempt {attempt} is lost: "
                    f"attempt {job['attempt']} is {job['status']}"
                )
    return found


def _of_ratings(database: sqlite3.Connection, people: list[Worked]) -> list[str]:
    """Each take has the stars acknowledged last, or some that no answer came to, and is counted right."""
    stars = dict(database.execute("SELECT take_id, stars FROM rating").fetchall())
    found: list[str] = []
    for person in people:
        for take_id in person.rated.keys() | person.maybe_rated.keys():
            now, told = stars.get(take_id), person.rated.get(take_id)
            if now == told or now in person.maybe_rated.get(take_id, set()):
                continue
            was = "nobody gave it" if told is None else f"it was acknowledged as {told} stars and is {now}"
            found.append(f"{person.name}'s rating of {take_id}: {was}")
    counts = database.execute(
        "SELECT take.id, take.n_ratings, take.stars_sum, count(rating.stars), coalesce(sum(rating.stars), 0) "
        "FROM take LEFT JOIN rating ON rating.take_id = take.id GROUP BY take.id"
    )
    for take_id, n_counted, summed, n_ratings, stars_sum in counts:
        if (n_counted, summed) != (n_ratings, stars_sum):
            found.append(
                f"{take_id} counts {n_counted} ratings and {summed} stars of {n_ratings} and {stars_sum}"
            )
    return found


def _of_run(run: Path, job: dict[str, Any], spans: list[tuple[float, float, str]]) -> list[str]:
    """The attempts of one job: one worker at a time, each step once and in order."""
    found: list[str] = []
    own: list[tuple[float, float, str]] = []
    for attempt in sorted(run.glob("attempt-*"), key=lambda path: int(path.name.split("-")[1])):
        events = _events(attempt)
        name = f"{job['id']} {attempt.name}"
        if [e["seq"] for e in events] != list(range(1, len(events) + 1)):
            found.append(f"{name}: events are not numbered 1, 2, 3, …")
        if sum(e["type"] == "started" for e in events) > 1:
            found.append(f"{name}: two workers wrote to one attempt")
        steps = [e["step"] for e in events if e["type"] == "metric" and e["values"]["loss"] is not None]
        if steps and steps != list(range(steps[0], steps[0] + len(steps))):
            found.append(f"{name}: steps {steps}")
        if events:
            own.append((events[0]["ts"], events[-1]["ts"], name))
    for (_, end, first), (start, _, second) in itertools.pairwise(own):
        if start < end:
            found.append(f"{first} and {second} were alive together")
    spans += own
    return found + _of_curve(run, job) + _of_checkpoints(run, job)


def _of_curve(run: Path, job: dict[str, Any]) -> list[str]:
    steps = metrics.read_all(run / "metrics", "loss")[:]["step"].tolist()
    if steps != list(range(1, len(steps) + 1)):
        return [f"{job['id']}: the curve's steps are {steps}"]
    if job["status"] == "succeeded" and len(steps) != job["total_steps"]:
        return [f"{job['id']}: succeeded with {len(steps)} of {job['total_steps']} steps in its curve"]
    return []


def _of_checkpoints(run: Path, job: dict[str, Any]) -> list[str]:
    listed = checkpoints.list_steps(run / "checkpoints")
    found = [
        f"{job['id']}: {path.name} does not verify" for _, path in listed if not checkpoints.verify(path)
    ]
    if job["status"] == "succeeded" and not (run / "adapter" / "adapter_config.json").is_file():
        found.append(f"{job['id']}: succeeded without an adapter")
    return found


def over_booked(spans: list[tuple[float, float, str]], slots: int) -> list[str]:
    """How many workers lived at a time, by their own first and last event."""
    moves = sorted(
        [(start, 1, name) for start, _, name in spans] + [(end, -1, name) for _, end, name in spans]
    )
    moves = [move for move in moves if move[2] in {name for start, end, name in spans if end > start}]
    alive: dict[str, None] = {}
    for _, change, name in moves:
        alive.pop(name, None) if change < 0 else alive.setdefault(name)
        if len(alive) > slots:
            return [f"{len(alive)} workers on {slots} slots: {', '.join(alive)}"]
    return []


def _of_leftovers(data: Path, jobs: dict[str, Any]) -> list[str]:
    deadline = time.monotonic() + ENDED_WITHIN_S
    while (alive := own_processes(data)) and time.monotonic() < deadline:
        time.sleep(0.05)
    found = [f"process {pid} is left" for pid in alive]
    found += [f"runs/{name} belongs to no job" for name in _unknown_runs(data, jobs)]
    partial = [path for path in data.rglob("*") if ".partial" in path.name or path.name == ".reserve"]
    return found + [f"{path.relative_to(data)} is left" for path in partial]


def _unknown_runs(data: Path, jobs: dict[str, Any]) -> list[str]:
    """Run folders of no job that the sweep of a start two hours later would leave."""
    runs = data / "runs"
    unknown = [folder for folder in runs.iterdir() if folder.name not in jobs] if runs.exists() else []
    two_hours_ago = time.time() - 7200
    for folder in unknown:
        for path in (folder, *folder.rglob("*")):
            os.utime(path, (two_hours_ago, two_hours_ago))
    orphans.sweep(runs, jobs.__contains__)
    return [folder.name for folder in unknown if folder.exists()]


def _events(attempt: Path) -> list[dict[str, Any]]:
    try:
        text = (attempt / "events.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
