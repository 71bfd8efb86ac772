"""Sweeps: every combination once, all or none, one table."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import JobStatus, Role
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core.errors import Forbidden, InvalidInput, NotFound, StorageFull, TooLarge
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Adapter, AuditEvent, Job, JobGroup, User
from qlora_studio.jobs import run_files
from qlora_studio.services import jobs, sweeps
from qlora_studio.storage import layout
from tests.jobs.workbench import make_dataset, make_model, make_spec

AXES: dict[str, list[Any]] = {"qlora.rank": [4, 8], "optimization.learning_rate": [0.001, 0.002, 0.004]}


@pytest.fixture
def spec(session: Session, user: User) -> TrainSpec:
    return make_spec(make_dataset(session, user), make_model(session, user), name="which")


@pytest.fixture
def launch(session: Session, user: User, spec: TrainSpec) -> Callable[..., JobGroup]:
    def run(axes: dict[str, list[Any]] = AXES, **options: Any) -> JobGroup:
        group = sweeps.submit(session, actor=user, spec=spec, axes=axes, **options)
        session.commit()
        return group

    return run


def all_jobs(session: Session) -> list[Job]:
    return list(session.exec(select(Job)))


def test_every_combination_becomes_a_job_of_one_group(
    session: Session, user: User, launch: Callable[..., JobGroup]
) -> None:
    group = launch()
    made = jobs.list_group(session, group_id=group.id)
    pairs = [(v.job.spec["qlora"]["rank"], v.job.spec["optimization"]["learning_rate"]) for v in made]
    assert pairs == [(r, lr) for r in (4, 8) for lr in (0.001, 0.002, 0.004)]
    assert made[0].job.name == "which: rank 4, learning rate 0.001"
    assert {v.group_name for v in made} == {"which"}
    assert [v.queue_position for v in made] == [1, 2, 3, 4, 5, 6], "in the order of their values"
    clips = {(layout.run_path(v.job.id) / "clips.jsonl").read_text() for v in made}
    assert [text.count("\n") for text in clips] == [9], "all learn from the same"
    assert len({v.job.spec["optimization"]["max_steps"] for v in made}) == 1, "the rest is the same"
    assert "sweep.create" in session.exec(select(AuditEvent.action)).all()


def test_the_same_key_makes_one_sweep(session: Session, launch: Callable[..., JobGroup]) -> None:
    assert launch(launch_key="k").id == launch(launch_key="k").id
    assert len(all_jobs(session)) == 6
    assert launch(launch_key="other").id != launch(launch_key="third").id


@pytest.mark.parametrize(
    ("axes", "field", "sentence"),
    [
        ({}, "axes", "one to 3 parameters"),
        ({f"qlora.{k}": [1, 2] for k in ("rank", "alpha", "dropout", "bits")}, "axes", "not of 4"),
        ({"qlora.speed": [1, 2]}, "axes.qlora.speed", "is no parameter"),
        ({"name": ["a", "b"]}, "axes.name", "is no parameter"),
        ({"qlora.rank": [4, 4]}, "axes.qlora.rank", "there twice"),
        ({"qlora.rank": []}, "axes.qlora.rank", "at least one"),
        ({"qlora.rank": [4]}, "axes", "these values make 1"),
        ({"qlora.rank": list(range(1, 66))}, "axes", "these values make 65"),
        ({"preference.beta": [0.1, 0.2]}, "axes.preference.beta", "Only preference"),
        ({"optimization.epochs": [1], "optimization.max_steps": [5, 6]}, "axes", "not both"),
        ({"qlora.rank": [4, 0]}, "axes.qlora.rank", "greater than or equal to 1"),
        ({"qlora.target_modules": ["auto", "none"]}, "axes.qlora.target_modules", ""),
        ({"optimization.devices": [1, 9]}, "optimization.devices", "1 device"),
    ],
)
def test_a_wrong_axis_is_named_and_nothing_is_made(
    session: Session, launch: Callable[..., JobGroup], axes: dict[str, list[Any]], field: str, sentence: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        launch(axes)
    session.rollback()
    assert sentence in caught.value.fields[field]
    assert all_jobs(session) == []
    assert session.exec(select(JobGroup)).all() == []
    assert not list((layout.data_path() / "runs").glob("*"))


def test_the_length_tried_takes_the_place_of_the_other_one(
    launch: Callable[..., JobGroup], session: Session
) -> None:
    launch({"optimization.epochs": [1, 2]})
    lengths = [
        (j.spec["optimization"]["epochs"], j.spec["optimization"]["max_steps"]) for j in all_jobs(session)
    ]
    assert sorted(lengths) == [(1.0, None), (2.0, None)]


def test_a_full_disk_half_way_leaves_nothing(
    session: Session, launch: Callable[..., JobGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config, n_written = run_files.write_config, 0

    def full_at_the_third(*args: Any, **kwargs: Any) -> Any:
        nonlocal n_written
        n_written += 1
        if n_written == 3:
            raise OSError(28, "No space left on device")
        return write_config(*args, **kwargs)

    monkeypatch.setattr(run_files, "write_config", full_at_the_third)
    with pytest.raises(StorageFull):
        launch()
    session.rollback()
    assert all_jobs(session) == []
    assert not list((layout.data_path() / "runs").glob("*"))


def test_one_person_queues_so_many_jobs_and_no_more(
    session: Session, launch: Callable[..., JobGroup], stranger: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLORA_STUDIO_MAX_QUEUED_JOBS", "7")
    get_settings.cache_clear()
    group = launch()
    with pytest.raises(
        TooLarge, match="6 of your jobs are in the queue; 6 more would be over the limit of 7"
    ):
        launch(launch_key="second")
    session.rollback()
    assert len(all_jobs(session)) == len(list((layout.data_path() / "runs").glob("*"))) == 6
    first = all_jobs(session)[0]
    first.status = JobStatus.RUNNING
    session.add(first)
    session.commit()
    assert launch({"qlora.rank": [4, 8]}).id != group.id, "what runs does not wait"


def test_the_table_tells_each_jobs_values_and_marks_the_best(
    session: Session, user: User, launch: Callable[..., JobGroup]
) -> None:
    group = launch()
    for job, wer in zip(
        jobs.list_group(session, group_id=group.id), (0.5, 0.3, None, 0.4, 0.3, 0.9), strict=True
    ):
        if wer is not None:
            job.job.best_metrics, job.job.base_metrics = {"wer": wer}, {"wer": 0.8}
            job.job.status = JobStatus.SUCCEEDED
            session.add(job.job)
    session.flush()
    second = all_jobs(session)
    adapter = Adapter(
        owner_id=user.id, name="a", job_id=second[0].id, base_model_id=second[0].model_id, path="x"
    )
    session.add(adapter)
    session.commit()
    found = sweeps.get_sweep(session, actor=user, group_id=group.id)
    assert (found.metric, found.n_jobs, found.statuses) == (
        "wer", 6, {JobStatus.SUCCEEDED: 5, JobStatus.QUEUED: 1},
    )  # fmt: skip
    assert [row.best for row in found.rows] == [0.5, 0.3, None, 0.4, 0.3, 0.9]
    assert [row.is_best for row in found.rows] == [False, True, False, False, False, False], (
        "the first of equals"
    )
    assert found.rows[1].values == {"qlora.rank": 4, "optimization.learning_rate": 0.002}
    assert found.best_job_id == found.rows[1].job_id
    assert {row.base for row in found.rows} == {0.8, None}
    assert [row.adapter_id for row in found.rows if row.job_id == second[0].id] == [adapter.id]


def test_all_of_it_is_stopped_at_once(session: Session, user: User, launch: Callable[..., JobGroup]) -> None:
    group = launch()
    first = jobs.list_group(session, group_id=group.id)[0].job
    first.status = JobStatus.RUNNING
    session.add(first)
    session.commit()
    layout.attempt_path(first.id, 1).mkdir(parents=True)
    assert sweeps.stop(session, actor=user, group_id=group.id) == 6
    session.commit()
    statuses = sweeps.get_sweep(session, actor=user, group_id=group.id).statuses
    assert statuses == {JobStatus.STOPPING: 1, JobStatus.STOPPED: 5}


def test_a_sweep_is_its_owners_and_goes_with_its_last_job(
    session: Session, user: User, stranger: User, launch: Callable[..., JobGroup]
) -> None:
    group = launch({"qlora.rank": [4, 8]})
    for call in (sweeps.get_sweep, sweeps.stop):
        with pytest.raises(NotFound):
            call(session, actor=stranger, group_id=group.id)
    assert sweeps.list_sweeps(session, actor=stranger) == ([], 0)
    assert [s.n_jobs for s in sweeps.list_sweeps(session, actor=user)[0]] == [2]
    found, total = jobs.list_jobs(session, actor=user, group_id=group.id)
    assert (len(found), total) == (2, 2)
    for view in found:
        jobs.delete(session, actor=user, job_id=view.job.id)
        session.commit()
    assert session.exec(select(JobGroup)).all() == []
    user.role = Role.VIEWER
    with pytest.raises(Forbidden):
        launch()
