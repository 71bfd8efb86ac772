"""The client's calls about jobs and their queue."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qlora_studio.client_answers import Check, Job, JobEvent, Log, Queue, Sweep
from qlora_studio.client_base import Connection, raise_for, sleep_until
from qlora_studio.contracts.enums import TERMINAL_STATUSES, StopMode
from qlora_studio.contracts.spec import TrainSpec


class JobCalls(Connection):
    """Jobs and their queue."""

    def check_job(self, spec: TrainSpec) -> Check:
        """Check a job and forecast what it needs, without starting it."""
        return Check.model_validate(self._send("POST", "/jobs/validate", json=spec.model_dump(mode="json")))

    def start_job(self, spec: TrainSpec, *, idempotency_key: str = "") -> Job:
        """Queue a job; the same key makes it once however often it is sent."""
        body = spec.model_dump(mode="json")
        return Job.model_validate(self._send("POST", "/jobs", json=body, headers=_once(idempotency_key)))

    def get_job(self, job_id: str) -> Job:
        return Job.model_validate(self._send("GET", f"/jobs/{job_id}"))

    def list_jobs(self, **filters: Any) -> Iterator[Job]:
        """All jobs that match, page by page."""
        return self._pages("/jobs", Job, filters)

    def stop_job(self, job_id: str, mode: StopMode = StopMode.SAVE) -> Job:
        return Job.model_validate(self._send("POST", f"/jobs/{job_id}/stop", json={"mode": mode.value}))

    def resume_job(self, job_id: str) -> Job:
        return Job.model_validate(self._send("POST", f"/jobs/{job_id}/resume"))

    def clone_job(
        self, job_id: str, changes: Mapping[str, Any] | None = None, *, idempotency_key: str = ""
    ) -> Job:
        """Queue a job again; `changes` replace keys of its spec, or keys of one of its parts."""
        path = f"/jobs/{job_id}/clone"
        return Job.model_validate(
            self._send("POST", path, json=dict(changes or {}), headers=_once(idempotency_key))
        )

    def take_next_action(self, job_id: str) -> Job:
        """Do what is offered after a failure; returns the job that is queued now."""
        return Job.model_validate(self._send("POST", f"/jobs/{job_id}/next-action"))

    def delete_job(self, job_id: str) -> None:
        self._send("DELETE", f"/jobs/{job_id}")

    def move_job(self, job_id: str, position: int) -> Queue:
        """Put a queued job into another place among your own, from 1."""
        return Queue.model_validate(self._send("POST", f"/jobs/{job_id}/move", json={"position": position}))

    def start_sweep(
        self, spec: TrainSpec, axes: Mapping[str, Sequence[Any]], *, idempotency_key: str = ""
    ) -> Sweep:
        """Queue one job for each combination of values; `axes` maps dotted keys of the spec to them."""
        body = {"spec": spec.model_dump(mode="json"), "axes": {key: list(v) for key, v in axes.items()}}
        return Sweep.model_validate(self._send("POST", "/sweeps", json=body, headers=_once(idempotency_key)))

    def get_sweep(self, sweep_id: str) -> Sweep:
        """A sweep with a row for each job."""
        return Sweep.model_validate(self._send("GET", f"/sweeps/{sweep_id}"))

    def list_sweeps(self, **filters: Any) -> Iterator[Sweep]:
        """All sweeps, page by page, without their rows."""
        return self._pages("/sweeps", Sweep, filters)

    def stop_sweep(self, sweep_id: str) -> Sweep:
        """Stop all of its jobs that have not ended, keeping adapters."""
        return Sweep.model_validate(self._send("POST", f"/sweeps/{sweep_id}/stop"))

    def get_queue(self) -> Queue:
        """Who waits in which place, and whether the queue moves."""
        return Queue.model_validate(self._send("GET", "/queue"))

    def pause_queue(self, note: str = "") -> Queue:
        """Have no further job started; what runs goes on."""
        return Queue.model_validate(self._send("PATCH", "/queue", json={"is_paused": True, "note": note}))

    def resume_queue(self) -> Queue:
        """Let the queue go on."""
        return Queue.model_validate(self._send("PATCH", "/queue", json={"is_paused": False}))

    def wait_for_job(self, job_id: str, *, timeout_s: float = 24 * 3600) -> Job:
        """Wait until a job has ended, however it ended.

        Raises:
            TimeoutError: it took longer; the job goes on.
        """
        deadline = time.monotonic() + timeout_s
        while (job := self.get_job(job_id)).status not in TERMINAL_STATUSES:
            sleep_until(deadline)
        return job

    def watch_job(self, job_id: str, *, last_event_id: str = "") -> Iterator[JobEvent]:
        """Yield a job's events as they come, until it has ended."""
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        with self._http.stream("GET", f"/jobs/{job_id}/events", headers=headers, timeout=None) as answer:
            raise_for(answer)
            yield from _parse_events(answer.iter_lines())

    def get_metrics(self, job_id: str, *keys: str, **part: float) -> dict[str, dict[str, list[Any]]]:
        """Curves by key, each with `step`, `time` and `value`.

        A part has as many points as a whole curve: `from_step`, `to_step`, `from_time`, `to_time` (seconds).
        """
        params = {"keys": ",".join(keys), **part} if keys else part
        return self._send("GET", f"/jobs/{job_id}/metrics", params=params)["series"]

    def get_log(self, job_id: str, **wanted: Any) -> Log:
        """The end of a log; `search`, `level`, `attempt`, or what came after an answer's `cursor`."""
        return Log.model_validate(self._send("GET", f"/jobs/{job_id}/logs", params=wanted))

    def get_samples(self, job_id: str, **wanted: int) -> list[dict[str, Any]]:
        """The fixed clips at the newest evaluation (or at a `step`), worst first, compared word by word."""
        return self._send("GET", f"/jobs/{job_id}/samples", params=wanted)["items"]

    def compare_jobs(self, *job_ids: str) -> dict[str, Any]:
        """Two to six jobs side by side: `differences`, `metrics`, `curves` and `samples`."""
        return self._send("GET", "/comparisons", params={"ids": ",".join(job_ids)})

    def download_results(self, job_id: str, to: Path, *, merged: bool = False) -> Path:
        """Write a job's results as a zip, with the merged model if wanted."""
        return self._download(f"/jobs/{job_id}/results", to, params={"merged": merged})

    def download_tensorboard(self, job_id: str, to: Path) -> Path:
        """Write a job's files for TensorBoard as a zip."""
        return self._download(f"/jobs/{job_id}/tensorboard", to)


def _once(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key} if key else {}


def _parse_events(lines: Iterator[str]) -> Iterator[JobEvent]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = fields.get(name, "") + value
        elif "data" in fields:
            yield JobEvent(
                id=fields.get("id", ""), type=fields.get("event", ""), data=json.loads(fields["data"])
            )
            fields = {}
