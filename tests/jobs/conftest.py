"""Jobs on a real data folder, run by the toy worker: the whole protocol without torch."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import DatasetStatus, ModelStatus, Split, Task, TrainingType
from qlora_studio.contracts.spec import ClipItem, TrainSpec
from qlora_studio.core.settings import get_settings
from qlora_studio.db.engine import read, write
from qlora_studio.db.models import BaseAudioModel, Dataset, Job, User
from qlora_studio.jobs import run_files
from qlora_studio.jobs.supervisor import Supervisor
from qlora_studio.launchers.local import LocalLauncher
from tests.conftest import make_user


def give_real_files(job: Job, folder: Path, *, n_train: int, **changes: dict[str, Any]) -> None:
    """Give a queued job a tiny model and clips that the real worker can train on.

    Args:
        changes: by part of its spec, what else is to be set there.
    """
    from tests.training import tiny  # torch

    model_path = tiny.make_wav2vec2_bert(folder / "model")
    clips = tiny.read_clips(tiny.write_clips(folder / "clips", n_train=n_train, n_validation=2))
    with write() as session:
        row = session.get_one(Job, job.id)
        row.spec = TrainSpec.model_validate(row.spec).model_dump(mode="json")
        for part, values in {"evaluation": {"probe": False}, **changes}.items():
            row.spec[part] |= values
        spec = TrainSpec.model_validate(row.spec)
        model = session.get_one(BaseAudioModel, row.model_id)
        model.path = str(model_path)
        session.add_all([row, model])
    run_files.write_run(job.id, spec=spec, clips=clips)


CLIPS = [
    ClipItem(
        id=f"clip_{i}",
        path=f"/nowhere/{i}.flac",
        duration_s=1.0,
        text=f"word number {i}",
        split=Split.VALIDATION if i % 3 == 0 else Split.TRAIN,
    )
    for i in range(9)
]


@pytest.fixture
def owner(session: Session) -> User:
    return make_user(session, "grace")


@pytest.fixture
def make_job(session: Session, owner: User) -> Callable[..., Job]:
    """Store a queued job with a ready dataset and model, and its run folder."""
    dataset = Dataset(
        owner_id=owner.id, name="prompts", task=Task.SPEECH_TO_TEXT, status=DatasetStatus.READY, version=1
    )
    model = BaseAudioModel(
        owner_id=owner.id, name="small", task=Task.SPEECH_TO_TEXT, status=ModelStatus.READY, path="/nowhere"
    )
    session.add_all([dataset, model])
    session.commit()

    def make(name: str = "first", *, steps: int = 10, after_job_id: str | None = None) -> Job:
        spec = TrainSpec.model_validate(
            {
                "name": name,
                "dataset_id": dataset.id,
                "model_id": model.id,
                "optimization": {"max_steps": steps},
            }
        )
        job = Job(
            owner_id=owner.id,
            name=name,
            training_type=TrainingType.QLORA,
            dataset_id=dataset.id,
            dataset_version=1,
            model_id=model.id,
            after_job_id=after_job_id,
            spec=spec.model_dump(mode="json"),
            total_steps=steps,
        )
        run_files.write_run(job.id, spec=spec, clips=CLIPS)
        session.add(job)
        session.commit()
        return job

    return make


@pytest.fixture
def supervisor(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.005")
    return Supervisor(LocalLauncher("toy"))


def change_setting(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"QLORA_STUDIO_{name}", value)
    get_settings.cache_clear()


def load(job_id: str) -> Job:
    with read() as session:
        return session.get_one(Job, job_id)


def is_gone(pid: int) -> bool:
    """Whether the process has ended (init may not have reaped it yet)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def tick_until(
    supervisor: Supervisor, condition: Callable[[], bool], *, within_s: float = 20.0, what: str = "condition"
) -> None:
    """Let the supervisor work until the condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        supervisor.tick(review=True)
        time.sleep(0.02)
