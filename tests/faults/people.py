"""People who work during a campaign, and remember what they were told."""

import contextlib
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.faults.studio import StudioProcess, spec

STEPS = (6, 12, 25)
# What a person may be told while things break: done, gone, not now (with the reason), no room. Never a 500.
# 413: somebody has queued as many jobs as one may.
ANSWERS = frozenset({200, 201, 202, 204, 404, 409, 413, 503, 507})


@dataclass
class Home:
    """A data folder to copy: people with tokens, each with a dataset, a model and takes to rate."""

    path: Path
    tokens: dict[str, str]
    datasets: dict[str, str]
    models: dict[str, str]
    takes: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Person:
    """Somebody who launches, stops, resumes, deletes, rates and reads, and remembers what was answered."""

    name: str
    studio: StudioProcess
    home: Home
    dice: random.Random
    launched: dict[str, str] = field(default_factory=dict)  # id: name
    deleted: set[str] = field(default_factory=set)
    maybe_deleted: set[str] = field(default_factory=set)
    stopped: set[tuple[str, int]] = field(default_factory=set)  # id and attempt
    uploads: dict[str, bytes] = field(default_factory=dict)  # dataset id: what was taken
    rated: dict[str, int] = field(default_factory=dict)  # take id: stars that were acknowledged last
    maybe_rated: dict[str, set[int]] = field(default_factory=dict)  # … that no answer came to
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
                        self._rate,
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

    def _rate(self, client: httpx.Client) -> None:
        if not (takes := self.home.takes.get(self.name)):
            return
        take_id, stars = self.dice.choice(takes), self.dice.randint(1, 5)
        body = {"criterion": "overall", "stars": stars}
        try:
            answer = expected(client.put(f"/takes/{take_id}/rating", json=body))
        except httpx.TransportError:
            self.maybe_rated.setdefault(take_id, set()).add(stars)
            raise
        if answer.status_code == 200:
            self.rated[take_id] = stars

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
