"""What is offered after each failure, and that one click does it once."""

import json
from typing import Any

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import ExitReason, JobStatus, TrainingType
from qlora_studio.core.errors import Conflict, NotFound
from qlora_studio.db.models import Job, JobGroup, User
from qlora_studio.services import jobs, next_actions
from qlora_studio.services.remedies import find_next_action
from qlora_studio.storage import checkpoints, layout
from tests.jobs.workbench import make_dataset, make_model, make_spec

OOM = ExitReason.OOM_CUDA


@pytest.fixture
def failed(session: Session, user: User) -> Any:
    dataset, model = make_dataset(session, user), make_model(session, user)

    def make(reason: ExitReason | None, status: JobStatus = JobStatus.FAILED, **changes: Any) -> Job:
        job = jobs.submit(session, actor=user, spec=make_spec(dataset, model, **changes))
        job.status, job.reason = status, reason
        session.add(job)
        session.commit()
        return job

    return make


def unsaved(reason: ExitReason | None, **changes: Any) -> Job:
    spec = {"name": "n", "dataset_id": "ds_1", "model_id": "mod_1", **changes}
    kind = TrainingType(changes.get("training_type", "qlora"))
    return Job(
        owner_id="u", name="n", training_type=kind, dataset_id="ds_1", model_id="mod_1", spec=spec,
        status=JobStatus.FAILED, reason=reason,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("optimization", "changes"),
    [
        ({"batch_size": 8}, {"batch_size": 4, "gradient_accumulation": 2}),
        ({"batch_size": 8, "gradient_accumulation": 3}, {"batch_size": 4, "gradient_accumulation": 6}),
        ({"batch_size": 5}, {"batch_size": 2, "gradient_accumulation": 3}),
        ({"batch_size": 2}, {"batch_size": 1, "gradient_accumulation": 2}),
        ({"batch_size": 1}, {"gradient_checkpointing": True}),
        ({"batch_size": 4, "devices": 4}, {"gradient_checkpointing": True}),
        ({"batch_size": 1, "gradient_checkpointing": True, "mode": "exact"}, {"mode": "fast"}),
    ],
)
def test_out_of_memory_asks_for_less_and_keeps_what_a_step_learns_from(
    optimization: dict[str, Any], changes: dict[str, Any]
) -> None:
    action = find_next_action(unsaved(OOM, optimization=optimization))
    assert action is not None
    assert (action.kind, action.changes) == ("change", {"optimization": changes})


def test_when_nothing_is_left_to_halve_the_base_gets_smaller_or_a_person_chooses() -> None:
    least = {"batch_size": 1, "gradient_checkpointing": True}
    plain = find_next_action(unsaved(OOM, training_type="lora", qlora={"bits": 32}, optimization=least))
    assert plain is not None
    assert plain.changes == {"training_type": "qlora", "qlora": {"bits": 4}}
    nothing = find_next_action(unsaved(ExitReason.OOM_HOST, optimization=least))
    assert nothing is not None
    assert (nothing.kind, nothing.label) == ("open", "Choose a smaller model")


@pytest.mark.parametrize(
    ("reason", "kind", "label"),
    [
        (ExitReason.NAN_LOSS, "change", "Train again at a learning rate of 0.00017"),
        (ExitReason.DISK_FULL, "restart", "Start again, once there is space"),
        (ExitReason.BAD_DATA, "open", "Open the dataset"),
        (ExitReason.MODEL_LOAD, "open", "Open the model"),
        (ExitReason.INTERNAL, "open", "Read the log"),
        (ExitReason.KILLED, "restart", "Start again"),
        (ExitReason.HUNG, "restart", "Start again"),
        (ExitReason.REBOOT, "restart", "Start again"),
        (None, "restart", "Start again"),
    ],
)
def test_each_reason_has_one_next_action(
    data_folder: object, reason: ExitReason | None, kind: str, label: str
) -> None:
    action = find_next_action(unsaved(reason))
    assert action is not None
    assert (action.kind, action.label) == (kind, label)


def test_resume_is_offered_where_there_is_a_checkpoint(failed: Any) -> None:
    job = failed(ExitReason.KILLED)
    folder = layout.run_path(job.id) / "checkpoints" / "step-00000040"
    folder.mkdir(parents=True)
    (folder / "MANIFEST.json").write_text(json.dumps({"step": 40, "state": {}, "files": []}))
    action = find_next_action(job)
    assert action is not None
    assert (action.kind, action.label) == ("resume", "Resume from step 40")


def test_a_job_that_has_not_failed_has_none(failed: Any, session: Session, user: User) -> None:
    for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.STOPPED):
        job = failed(None, status)
        assert find_next_action(job) is None
        with pytest.raises(Conflict):
            next_actions.apply(session, actor=user, job_id=job.id)


def test_one_click_queues_the_changed_job_and_two_clicks_one(
    failed: Any, session: Session, user: User
) -> None:
    job = failed(OOM, optimization={"max_steps": 8, "batch_size": 4}, qlora={"rank": 4})
    first = next_actions.apply(session, actor=user, job_id=job.id)
    session.commit()
    again = next_actions.apply(session, actor=user, job_id=job.id)
    assert (first.id, first.status) == (again.id, JobStatus.QUEUED)
    assert first.id != job.id
    assert (first.spec["optimization"]["batch_size"], first.spec["qlora"]["rank"]) == (2, 4)
    assert first.spec["optimization"]["gradient_accumulation"] == 2
    assert len(session.exec(select(Job)).all()) == 2


def test_what_is_put_right_stays_in_its_sweep(failed: Any, session: Session, user: User) -> None:
    job = failed(OOM, optimization={"max_steps": 8, "batch_size": 4})
    session.add(JobGroup(id="grp_1", owner_id=user.id, name="ranks", axes={}))
    session.flush()
    job.group_id = "grp_1"
    session.commit()
    assert next_actions.apply(session, actor=user, job_id=job.id).group_id == "grp_1"


def test_one_click_resumes_and_two_clicks_resume_once(failed: Any, session: Session, user: User) -> None:
    job = failed(ExitReason.KILLED)
    for _ in range(2):
        assert next_actions.apply(session, actor=user, job_id=job.id).id == job.id
        session.commit()
        session.refresh(job)
        assert (job.status, job.attempt) == (JobStatus.QUEUED, 2)


def test_no_checkpoint_is_read_under_the_write_lock(
    failed: Any, session: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = failed(ExitReason.DISK_FULL)
    checkpoints.save(layout.run_path(job.id) / "checkpoints", step=3, fill=lambda _: None, state={})
    read: list[str] = []
    monkeypatch.setattr(checkpoints, "verify", lambda path: read.append(path.name))
    assert next_actions.apply(session, actor=user, job_id=job.id).attempt == 2
    assert read == []


def test_what_a_person_has_to_look_at_is_said(
    failed: Any, session: Session, user: User, stranger: User
) -> None:
    job = failed(ExitReason.BAD_DATA)
    with pytest.raises(Conflict, match="Open the dataset"):
        next_actions.apply(session, actor=user, job_id=job.id)
    with pytest.raises(NotFound):
        next_actions.apply(session, actor=stranger, job_id=job.id)
