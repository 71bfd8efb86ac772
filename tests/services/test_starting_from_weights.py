"""A job that trains an adapter on: whose, of which model, with its values, and that it has its own copy."""

import json

import pytest
from sqlmodel import select

from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models import Adapter, Job
from qlora_studio.jobs import run_files
from qlora_studio.services import job_checks, jobs, sweeps
from qlora_studio.storage import layout
from tests.conftest import make_user
from tests.jobs.workbench import make_model, make_spec


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


KINDS = [{"name": name, "n_in": 384, "n_out": 384, "n_layers": 12} for name in ("k_proj", "q_proj", "v_proj")]
PRESETS = {
    "auto": ["q_proj", "v_proj"],
    "attention": ["q_proj", "k_proj", "v_proj"],
    "all-linear": ["k_proj", "q_proj", "v_proj"],
    "decoder": ["q_proj", "v_proj"],
}


def blocks(*kinds, decoder_only=False):
    places = ["decoder.layers.{}.self_attn", "decoder.layers.{}.encoder_attn"]
    places += [] if decoder_only else ["encoder.layers.{}.self_attn"]
    return [f"model.{place.format(i)}.{kind}" for place in places for i in range(4) for kind in kinds]


@pytest.mark.parametrize(
    ("layers", "given", "kept"),
    [
        (blocks("q_proj", "v_proj"), "all-linear", "auto"),
        (blocks("k_proj", "q_proj", "v_proj"), "all-linear", "all-linear"),
        (blocks("q_proj", "v_proj", decoder_only=True), "auto", "decoder"),
        (blocks("k_proj"), "auto", ["k_proj"]),
        (blocks("q_proj")[:3], "auto", sorted(blocks("q_proj")[:3])),
    ],
)
def test_the_job_tells_the_adapters_own_rank_alpha_and_layers(
    layers, given, kept, session, user, dataset, model, adapter, tmp_path
):
    card = {"linear": KINDS, "presets": PRESETS, "n_linear_parameters": 36 * 384 * 384}
    model.details = {**model.details, "layers": card}
    session.add(model)
    config = {"r": 4, "lora_alpha": 12, "target_modules": layers}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    qlora = {"rank": 64, "alpha": 128, "dropout": 0.1, "target_modules": given}
    job = jobs.submit(
        session, actor=user, spec=make_spec(dataset, model, start_adapter_id=adapter.id, qlora=qlora)
    )
    stored = job.spec["qlora"]
    assert (stored["rank"], stored["alpha"], stored["dropout"]) == (4, 12, 0.1)
    assert stored["target_modules"] == kept
    assert "rank: 4\n" in (layout.run_path(job.id) / "config.yaml").read_text()
    plain = make_spec(dataset, model, qlora=qlora | {"rank": 4, "target_modules": "auto"})
    n_plain = job_checks.validate(session, actor=user, spec=plain).forecast["n_trainable"]
    n_more_layers = len(blocks("q_proj", "v_proj")) - len(layers)
    assert n_plain - job.forecast["n_trainable"] == n_more_layers * 4 * (384 + 384), "foretold of its own"


def test_a_copied_job_may_keep_layers_that_are_named_in_full(session, user, dataset, model, adapter):
    qlora = {"target_modules": ["model.decoder.layers.0.self_attn.q_proj"]}
    started = make_spec(dataset, model, start_adapter_id=adapter.id, qlora=qlora)
    assert job_checks.validate(session, actor=user, spec=started).ok
    alone = job_checks.validate(session, actor=user, spec=make_spec(dataset, model, qlora=qlora))
    assert "qlora.target_modules" in alone.errors


@pytest.mark.parametrize("axis", ["rank", "alpha", "target_modules"])
def test_a_sweep_does_not_try_what_the_adapter_says(axis, session, user, dataset, model, adapter):
    values = ["auto", "attention"] if axis == "target_modules" else [4, 8]
    spec = make_spec(dataset, model, start_adapter_id=adapter.id)
    with pytest.raises(InvalidInput) as caught:
        sweeps.submit(session, actor=user, spec=spec, axes={f"qlora.{axis}": values})
    assert "that adapter's own" in caught.value.fields[f"axes.qlora.{axis}"]
    assert session.exec(select(Job)).all() == []


@pytest.mark.parametrize("can_link", [True, False])
def test_the_jobs_of_a_sweep_share_one_copy_where_there_are_links(
    can_link, session, user, dataset, model, adapter, monkeypatch
):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    if not can_link:
        monkeypatch.setattr(run_files.os, "link", refuse)
    spec = make_spec(dataset, model, start_adapter_id=adapter.id)
    sweeps.submit(session, actor=user, spec=spec, axes={"optimization.learning_rate": [1e-4, 1e-3, 1e-2]})
    copies = [layout.run_path(job_id) / "start" for job_id in session.exec(select(Job.id))]
    assert [(copy / "adapter_model.safetensors").read_bytes() for copy in copies] == [b"weights"] * 3
    assert all((copy / "adapter_config.json").is_file() for copy in copies)
    n_files = len({(copy / "adapter_model.safetensors").stat().st_ino for copy in copies})
    assert n_files == (1 if can_link else 3)
