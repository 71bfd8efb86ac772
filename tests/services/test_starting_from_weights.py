"""A job that trains an adapter on: whose, of which model, and that it has its own copy."""

import json

import pytest

from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models import Adapter
from qlora_studio.jobs import run_files
from qlora_studio.services import job_checks, jobs
from qlora_studio.storage import layout
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model, make_spec


@pytest.fixture
def dataset(session, user):
    return make_dataset(session, user)


@pytest.fixture
def model(session, user):
    return make_model(session, user)


@pytest.fixture
def adapter(session, user, model, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": 16}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text("# Not needed")
    adapter = Adapter(owner_id=user.id, name="first run", base_model_id=model.id, path=str(folder))
    session.add(adapter)
    session.commit()
    return adapter


def test_the_job_has_its_own_copy_and_the_worker_is_told(session, user, dataset, model, adapter, tmp_path):
    spec = make_spec(dataset, model, start_adapter_id=adapter.id)
    assert any("rank 8" in text for text in job_checks.validate(session, actor=user, spec=spec).warnings)
    job = jobs.submit(session, actor=user, spec=spec)
    session.commit()
    copied = layout.run_path(job.id) / "start"
    assert {path.name for path in copied.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"renewed")
    assert (copied / "adapter_model.safetensors").read_bytes() == b"weights"
    attempt = run_files.write_attempt(job, model=model, dataset=dataset)
    assert json.loads((attempt / "spec.json").read_text())["start_path"] == str(copied)
    assert f"start_adapter_id: {adapter.id}" in (layout.run_path(job.id) / "config.yaml").read_text()


def test_without_one_nothing_is_copied(session, user, dataset, model):
    job = jobs.submit(session, actor=user, spec=make_spec(dataset, model))
    attempt = run_files.write_attempt(job, model=model, dataset=dataset)
    assert json.loads((attempt / "spec.json").read_text())["start_path"] is None
    assert not (layout.run_path(job.id) / "start").exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("missing", "There is no such adapter."),
        ("strangers", "There is no such adapter."),
        ("other model", "is for another base model"),
        ("pretraining", "starts from a whole model"),
        ("damaged", "are not all there"),
    ],
)
def test_an_adapter_that_cannot_be_trained_on_is_refused(
    wrong, sentence, session, user, dataset, model, adapter, tmp_path
):
    changes = {"start_adapter_id": "ada_none" if wrong == "missing" else adapter.id}
    if wrong == "strangers":
        adapter.owner_id = make_user(session, "mallory").id
    if wrong == "other model":
        adapter.base_model_id = make_model(session, user).id
    if wrong == "pretraining":
        changes["training_type"] = "pretraining"
    if wrong == "damaged":
        (tmp_path / "adapter" / "adapter_config.json").write_text("{")
    session.add(adapter)
    session.commit()
    with pytest.raises(InvalidInput) as caught:
        jobs.submit(session, actor=user, spec=make_spec(dataset, model, **changes))
    assert sentence in caught.value.fields["start_adapter_id"]
