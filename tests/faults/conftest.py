"""Jobs launched as a person launches them, on a supervisor that can be killed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlmodel import Session

from qlora_studio.db.engine import write
from qlora_studio.db.models import Job, User
from qlora_studio.services import jobs
from tests.faults.harness import SupervisorProcess, kill_leftovers
from tests.jobs.workbench import make_dataset, make_model, make_spec


@pytest.fixture
def supervisor(data_folder: Path) -> Iterator[SupervisorProcess]:
    process = SupervisorProcess(
        {
            "QLORA_STUDIO_DATA": str(data_folder),
            "QLORA_STUDIO_WORKER": "toy",
            "QLORA_STUDIO_TOY_STEP_S": "0.05",
            "QLORA_STUDIO_STOP_GRACE_S": "3",
            "OMP_NUM_THREADS": "1",
        }
    )
    yield process
    process.kill()
    kill_leftovers(data_folder)


@pytest.fixture
def launch(session: Session, user: User) -> Callable[..., Job]:
    dataset, model = make_dataset(session, user), make_model(session, user)

    def run(steps: int, name: str = "prompts") -> Job:
        changes = {"max_steps": steps, "batch_size": 2}
        evaluation = {"every_steps": 20, "save_every_steps": 10}
        spec = make_spec(dataset, model, name=name, optimization=changes, evaluation=evaluation)
        with write() as own:  # as a request does: the supervisor writes at the same time
            return jobs.submit(own, actor=user, spec=spec)

    return run
