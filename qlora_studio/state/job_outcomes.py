"""What can be taken along from a job, and where else it can be looked at: TensorBoard, MLflow."""

import asyncio
from dataclasses import dataclass

import reflex as rx

from qlora_studio.contracts.enums import TERMINAL_STATUSES
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.jobs import tensorboard
from qlora_studio.services import jobs, mlflow, results
from qlora_studio.state.auth import authorized


@dataclass(frozen=True)
class Outcomes:
    """Addresses of what there is; empty where there is nothing."""

    results: str = ""
    merged: str = ""
    tensorboard: str = ""
    mlflow: str = ""
    push: str = ""


class OutcomesState(rx.State):
    """The card “Take it along” of a job's page."""

    outcomes: Outcomes = Outcomes()

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Look what this job has left so far."""
        job_id = str(getattr(self, "job_id", "") or "")
        try:
            self.outcomes = await asyncio.to_thread(_look, actor, job_id)
        except NotFound:
            self.outcomes = Outcomes()


def _look(actor: User, job_id: str) -> Outcomes:
    with db.read() as session:
        view = jobs.get_view(session, actor=actor, job_id=job_id)
        has_merged = results.has_merged(session, actor=actor, job_id=job_id)
        mlflow_address = mlflow.find_address(session, actor=actor, job_id=job_id)
    job, address = view.job, f"/api/v1/jobs/{view.job.id}"
    is_over = job.status in TERMINAL_STATUSES
    return Outcomes(
        results=f"{address}/results" if is_over else "",
        merged=f"{address}/results?merged=1" if is_over and has_merged else "",
        tensorboard=f"{address}/tensorboard" if tensorboard.list_files(job.id) else "",
        mlflow=mlflow_address,
        push=f"/adapters/{view.adapter_id}#push" if view.adapter_id else "",
    )
