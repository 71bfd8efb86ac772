"""A dataset's way to vary clips: set on the dataset, taken along at launch, the job's own from then on."""

import pytest
import yaml
from pydantic import ValidationError

from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core.errors import NotFound
from qlora_studio.jobs import run_files
from qlora_studio.services import datasets, jobs, launches
from qlora_studio.services.datasets import DatasetUpdate
from qlora_studio.storage import layout
from tests.jobs.workbench import make_spec

NOISE = {"noise": {"probability": 1.0, "min_snr_db": 5.0, "max_snr_db": 10.0}}


def set_augmentation(session, actor, dataset, value):
    form = DatasetUpdate.model_validate({"augmentation": value})
    datasets.update(session, actor=actor, dataset_id=dataset.id, form=form)
    session.commit()


def test_a_launch_takes_along_what_the_dataset_says(session, user, dataset, model):
    set_augmentation(session, user, dataset, NOISE)
    job = jobs.submit(session, actor=user, spec=make_spec(dataset, model))
    session.commit()
    set_augmentation(session, user, dataset, {})
    worker = run_files.write_attempt(job, model=model, dataset=dataset)
    spec = TrainSpec.model_validate(job.spec)
    assert spec.augmentation is not None
    assert spec.augmentation.model_dump(exclude_none=True) == NOISE
    assert '"min_snr_db": 5.0' in (worker / "spec.json").read_text()
    written = yaml.safe_load((layout.run_path(job.id) / "config.yaml").read_text())
    assert TrainSpec.model_validate(written) == spec, "the YAML does the same again"


def test_without_a_setting_nothing_is_varied(session, user, dataset, model):
    job = jobs.submit(session, actor=user, spec=make_spec(dataset, model))
    assert job.spec["augmentation"] is None


def test_what_the_job_says_goes_before_what_the_dataset_says(session, user, dataset, model):
    set_augmentation(session, user, dataset, NOISE)
    job = jobs.submit(session, actor=user, spec=make_spec(dataset, model, augmentation={}))
    assert not TrainSpec.model_validate(job.spec).augmentation.is_on


def test_pairs_are_learnt_from_as_they_were_heard(session, user, dataset, model):
    set_augmentation(session, user, dataset, NOISE)
    spec = make_spec(dataset, model, training_type="preference")
    assert launches.with_augmentation(session, spec).augmentation is None
    spec = make_spec(dataset, model, training_type="preference", augmentation=NOISE)
    assert "augmentation" in jobs.validate(session, actor=user, spec=spec).errors


def test_setting_it_is_no_new_version_and_strangers_cannot(session, user, stranger, dataset):
    before = (dataset.version, dataset.content_hash)
    set_augmentation(session, user, dataset, NOISE)
    session.refresh(dataset)
    assert (dataset.version, dataset.content_hash) == before
    with pytest.raises(NotFound):
        set_augmentation(session, stranger, dataset, {})
    with pytest.raises(ValidationError):
        set_augmentation(session, user, dataset, {"noise": {"probability": 3}})
    session.refresh(dataset)
    assert dataset.augmentation == NOISE
