"""The few requests of MLflow's REST API that tell a run: no client of MLflow's own, which is large."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

MAX_METRICS = 1_000  # in one request; the server takes no more
MAX_PARAMS = 100
_TIMEOUT_S = 15.0
_VALUE = 500  # characters of a parameter; old servers take no more


class MlflowError(Exception):
    """The server can't be reached, or answers with an error.

    `status` is 0 without an answer. `is_final` tells that the same request will not work later either.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_final(self) -> bool:
        return 400 <= self.status < 500 and self.status not in (401, 403, 408, 425, 429)


@dataclass(frozen=True)
class Point:
    """One value of a curve; None is not a number. `at_s` is in seconds since the epoch."""

    key: str
    step: int
    at_s: float
    value: float | None


class MlflowClient:
    """One server. Close it when done."""

    def __init__(self, url: str, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        base = f"{url.rstrip('/')}/api/2.0/mlflow/"
        self._http = httpx.Client(base_url=base, headers=headers, timeout=_TIMEOUT_S)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def find_experiment(self, name: str) -> str:
        """Return the id of an experiment; it is made if it is not there."""
        try:
            found = self._send("GET", "experiments/get-by-name", {"experiment_name": name})
            return str(found["experiment"]["experiment_id"])
        except MlflowError as error:
            if error.status != 404:
                raise
        return str(self._send("POST", "experiments/create", {"name": name})["experiment_id"])

    def find_run(self, experiment_id: str, tag: str, value: str) -> str:
        """Return the id of the run with a tag, or nothing."""
        asked = {"experiment_ids": [experiment_id], "filter": f"tags.`{tag}` = '{value}'", "max_results": 1}
        runs = self._send("POST", "runs/search", asked).get("runs") or []
        return str(runs[0]["info"]["run_id"]) if runs else ""

    def create_run(self, experiment_id: str, name: str, *, start_s: float, tags: Mapping[str, str]) -> str:
        """Return the id of a new run, which is running."""
        run = {
            "experiment_id": experiment_id,
            "run_name": name,
            "start_time": _milliseconds(start_s),
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        return str(self._send("POST", "runs/create", run)["run"]["info"]["run_id"])

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Tell parameters; those that are there already must be the same."""
        pairs = [{"key": key, "value": value[:_VALUE]} for key, value in params.items()]
        for start in range(0, len(pairs), MAX_PARAMS):
            self._send(
                "POST", "runs/log-batch", {"run_id": run_id, "params": pairs[start : start + MAX_PARAMS]}
            )

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Tell points of curves, oldest first."""
        for start in range(0, len(points), MAX_METRICS):
            metrics = [
                {
                    "key": p.key,
                    "value": "NaN" if p.value is None else p.value,
                    "timestamp": _milliseconds(p.at_s),
                    "step": p.step,
                }
                for p in points[start : start + MAX_METRICS]
            ]
            self._send("POST", "runs/log-batch", {"run_id": run_id, "metrics": metrics})

    def set_status(self, run_id: str, status: str, *, end_s: float | None = None) -> None:
        """Tell that a run is RUNNING again, or has FINISHED, FAILED or was KILLED."""
        changed: dict[str, Any] = {"run_id": run_id, "status": status}
        if end_s is not None:
            changed["end_time"] = _milliseconds(end_s)
        self._send("POST", "runs/update", changed)

    def _send(self, method: str, path: str, data: Mapping[str, Any]) -> dict[str, Any]:
        body = {"params": dict(data)} if method == "GET" else {"json": dict(data)}
        try:
            answer = self._http.request(method, path, **body)
        except httpx.HTTPError as error:
            raise MlflowError(f"it can't be reached ({type(error).__name__})") from error
        if answer.status_code >= 400:
            raise MlflowError(f"it answers {path} with error {answer.status_code}", status=answer.status_code)
        try:
            found = answer.json() if answer.content else {}
        except ValueError as error:
            raise MlflowError(f"what it answers {path} is not MLflow's") from error
        return found if isinstance(found, dict) else {}


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
