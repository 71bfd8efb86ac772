"""Jobs side by side: what differs, what came of it, and the same clips."""

import pytest

from qlora_studio.contracts.enums import TrainingType
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db.models import Job, JobSample
from qlora_studio.jobs.metrics import MetricsWriter, sequence
from qlora_studio.services import comparisons
from qlora_studio.services.comparisons import Difference
from qlora_studio.storage import layout
from tests.jobs.workbench import make_dataset, make_model


@pytest.fixture
def make_job(session, user):
    dataset, model = make_dataset(session, user), make_model(session, user)

    def make(rate=1e-3, **values):
        job = Job(
            owner_id=user.id,
            name=f"rate {rate}",
            training_type=TrainingType.QLORA,
            dataset_id=dataset.id,
            model_id=model.id,
            spec={"name": f"rate {rate}", "optimization": {"learning_rate": rate, "seed": 0}},
            **values,
        )
        session.add(job)
        session.commit()
        return job

    return make


def sample(job, clip_id, now, error, step=10):
    return JobSample(job_id=job.id, step=step, clip_id=clip_id, reference="press two", now=now, error=error)


def test_only_settings_that_differ_are_listed():
    a = {"name": "a", "qlora": {"rank": 8, "alpha": 16}, "after_job_id": None, "augmentation": {}}
    b = {"name": "b", "qlora": {"rank": 16, "alpha": 16}, "after_job_id": "job_1", "augmentation": {"n": 1}}
    assert comparisons.differences([a, b]) == [
        Difference("qlora.rank", [8, 16]),
        Difference("augmentation", [{}, None]),
        Difference("augmentation.n", [None, 1]),
    ]
    assert comparisons.differences([a, a]) == []


def test_jobs_are_set_side_by_side_in_the_order_asked_for(session, user, make_job):
    first = make_job(1e-3, base_metrics={"wer": 0.5}, best_metrics={"wer": 0.2, "step": 40})
    second = make_job(2e-3, base_metrics={"wer": 0.5}, last_metrics={"loss": 1.0, "cer": 0.1})
    found = comparisons.compare_jobs(session, actor=user, job_ids=[second.id, first.id, second.id])
    assert [view.job.id for view in found.views] == [second.id, first.id]
    assert found.differences == [Difference("optimization.learning_rate", [2e-3, 1e-3])]
    rows = {row.key: (row.base, row.best, row.last) for row in found.metrics}
    assert rows == {
        "wer": ([0.5, 0.5], [None, 0.2], [None, None]),
        "cer": ([None, None], [None, None], [0.1, None]),
    }


def test_the_same_clips_stand_side_by_side_worst_first(session, user, make_job):
    first, second, third = make_job(), make_job(), make_job()
    session.add_all(
        [
            sample(first, "clip_a", "press two", 0.0),
            sample(first, "clip_b", "press", 0.5),
            sample(first, "clip_b", "never asked for", 1.0, step=5),
            sample(second, "clip_a", "press to", 0.5),
            sample(second, "clip_b", "", 1.0),
            sample(second, "clip_alone", "x", 1.0),
        ]
    )
    session.commit()
    found = comparisons.compare_jobs(session, actor=user, job_ids=[first.id, second.id, third.id])
    assert [row.clip_id for row in found.clips] == ["clip_b", "clip_a"]
    heard, misheard, unheard = found.clips[1].outputs
    assert [(w.text, w.kind) for w in heard.words] == [("press", "same"), ("two", "same")]
    assert [w.kind for w in misheard.words] == ["same", "wrong", "missing"]
    assert unheard.sample is None


@pytest.mark.parametrize("ids", [[], ["job_1"], ["job_1", "job_1"], [f"job_{i}" for i in range(7)]])
def test_fewer_than_two_and_more_than_six_are_refused(session, user, ids):
    with pytest.raises(InvalidInput, match="two to six"):
        comparisons.compare_jobs(session, actor=user, job_ids=ids)


def test_a_strangers_job_is_not_there(session, stranger, make_job):
    with pytest.raises(NotFound):
        comparisons.compare_jobs(session, actor=stranger, job_ids=[make_job().id, make_job().id])


def test_curves_of_the_machine_are_not_compared(make_job):
    first, second = make_job(), make_job()
    points = {"loss": [(sequence(1, 1), 1, 0.0, 2.0)], "rss_bytes": [(sequence(1, 2), 1, 0.0, 1e9)]}
    MetricsWriter(layout.run_path(first.id) / "metrics").append(points)
    ids = [first.id, second.id]
    assert comparisons.curve_keys(ids) == ["loss"]
    of_first, of_second = comparisons.read_curves(ids, ["loss"])
    assert (of_first["loss"].value, of_second) == ([2.0], {})
