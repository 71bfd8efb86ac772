"""Jobs launched as a person launches them, on a supervisor that can be killed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from qlora_studio.db.engine import write
from qlora_studio.db.models import Job, User
from qlora_studio.services import jobs
from tests.faults.harness import SupervisorProcess, Zygote, kill_leftovers
from tests.jobs.workbench import make_dataset, make_model, make_spec

TOY = {
    "QLORA_STUDIO_WORKER": "toy",
    "QLORA_STUDIO_TOY_STEP_S": "0.05",
    "QLORA_STUDIO_STOP_GRACE_S": "3",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


@pytest.fixture
def supervisor(data_folder: Path, tmp_path: Path, zygote: Zygote) -> Iterator[SupervisorProcess]:
    process = SupervisorProcess(
        zygote, TOY | {"QLORA_STUDIO_DATA": str(data_folder)}, tmp_path / "supervisor.log"
    )
    yield process
    process.kill()
    kill_leftovers(data_folder)


@pytest.fixture
def launch(session: Session, user: User) -> Callable[..., Job]:
    dataset, model = make_dataset(session, user), make_model(session, user)

    def run(steps: int, name: str = "prompts", *, evaluate: int = 20, save: int = 10, **changes: Any) -> Job:
        optimization = {"max_steps": steps, "batch_size": 2}
        evaluation = {"every_steps": evaluate, "save_every_steps": save}
        spec = make_spec(
            dataset, model, name=name, optimization=optimization, evaluation=evaluation, **changes
        )
        with write() as own:  # as a request does: the supervisor writes at the same time
            return jobs.submit(own, actor=user, spec=spec)

    return run
