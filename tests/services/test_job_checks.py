"""What a launch is refused or warned of, and what a check tells beside it."""

import pytest
from sqlmodel import select

from qlora_studio.contracts.enums import (
    DatasetStatus,
    Split,
    Task,
)
from qlora_studio.core import devices
from qlora_studio.core.errors import (
    InvalidInput,
)
from qlora_studio.db.models import Clip
from qlora_studio.services import jobs
from qlora_studio.storage import layout
from tests.jobs.workbench import make_spec


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"dataset_id": "ds_none"}, "dataset_id"),
        ({"model_id": "mod_none"}, "model_id"),
        ({"after_job_id": "job_none"}, "after_job_id"),
        ({"training_type": "preference"}, "training_type"),
        ({"training_type": "lora"}, "qlora.bits"),
        ({"qlora": {"bits": 16}}, "qlora.bits"),
        ({"qlora": {"target_modules": ["no_such"]}}, "qlora.target_modules"),
        ({"qlora": {"target_modules": []}}, "qlora.target_modules"),
        ({"evaluation": {"metric": "der"}}, "evaluation.metric"),
        ({"optimization": {"devices": 2}}, "optimization.devices"),
        (
            {"training_type": "pretraining", "optimization": {"scheduler": "range_test"}},
            "optimization.scheduler",
        ),
    ],
)
def test_nonsense_is_refused_field_by_field(submit, changes, field):
    with pytest.raises(InvalidInput) as caught:
        submit(**changes)
    assert list(caught.value.fields) == [field]


@pytest.mark.parametrize(
    ("optimization", "sentence"),
    [
        ({"devices": 3, "batch_size": 8}, "This machine has 2 devices for jobs. Give 2 or less."),
        ({"devices": 2, "batch_size": 1}, "A batch of 1 can't be shared by 2 devices"),
        ({"devices": 2, "scheduler": "range_test"}, "A learning rate test runs on one device."),
    ],
)
def test_what_several_devices_can_not_do_is_said(submit, monkeypatch, optimization, sentence):
    monkeypatch.setattr(devices, "most_devices", lambda: 2)
    with pytest.raises(InvalidInput) as caught:
        submit(optimization=optimization)
    assert caught.value.fields["optimization.devices"].startswith(sentence)


def test_a_job_on_two_devices_is_told_in_its_yaml_and_forecast(session, submit, monkeypatch):
    monkeypatch.setattr(devices, "most_devices", lambda: 2)
    job = submit(optimization={"devices": 2, "batch_size": 4})
    assert job.forecast["memory"]["n_devices"] == 2
    assert "devices: 2" in (layout.run_path(job.id) / "config.yaml").read_text()


def test_every_wrong_field_of_the_form_is_named():
    with pytest.raises(InvalidInput) as caught:
        jobs.parse_spec({"name": "", "qlora": {"rank": 0, "x": 1}, "optimization": {"learning_rate": 1e308}})
    assert set(caught.value.fields) == {
        "name",
        "dataset_id",
        "model_id",
        "qlora.rank",
        "qlora.x",
        "optimization.learning_rate",
    }


def test_a_dataset_must_be_ready_of_the_task_and_large_enough(session, submit, dataset, model):
    model.task = Task.TEXT_TO_AUDIO
    session.add(model)
    with pytest.raises(InvalidInput, match="for text-to-audio"):
        submit()
    model.task = Task.SPEECH_TO_TEXT
    dataset.status = DatasetStatus.PROCESSING
    session.add_all([model, dataset])
    with pytest.raises(InvalidInput, match="not ready"):
        submit()
    dataset.status = DatasetStatus.READY
    for clip in session.exec(select(Clip).where(Clip.split == Split.VALIDATION)):
        clip.text = "  "
        session.add(clip)
    session.add(dataset)
    with pytest.raises(InvalidInput, match="validation"):
        submit()


def test_clips_without_words_are_left_out_and_said_so(session, user, submit, dataset, model):
    clip = session.exec(select(Clip).where(Clip.position == 0)).one()
    clip.text = None
    session.add(clip)
    session.commit()
    check = jobs.validate(session, actor=user, spec=make_spec(dataset, model))
    assert check.warnings[0] == "1 clip is left out: without text."
    assert len((layout.run_path(submit().id) / "clips.jsonl").read_text().splitlines()) == 8


def test_speakers_learn_from_segments_and_are_judged_by_the_diarization_error(session, user, dataset, model):
    dataset.task = model.task = Task.SPEAKER_DIARIZATION
    clip = session.exec(select(Clip).where(Clip.position == 0)).one()
    clip.text = None
    session.add_all([dataset, model, clip])
    session.commit()
    check = jobs.validate(session, actor=user, spec=make_spec(dataset, model, evaluation={"metric": "der"}))
    assert check.warnings[0] == "1 clip is left out: without segments."
    assert "evaluation.metric" not in check.errors
    check = jobs.validate(session, actor=user, spec=make_spec(dataset, model, evaluation={"metric": "cer"}))
    assert check.errors["evaluation.metric"] == "For speaker-diarization choose one of: der, loss."


def test_classes_learn_from_labels_and_are_judged_by_accuracy(session, user, dataset, model):
    dataset.task = model.task = Task.AUDIO_CLASSIFICATION
    for clip in session.exec(select(Clip).where(Clip.position != 0)):
        clip.text, clip.label = None, "door" if clip.position % 2 else "bell"
        session.add(clip)
    session.add_all([dataset, model])
    session.commit()
    check = jobs.validate(
        session, actor=user, spec=make_spec(dataset, model, evaluation={"metric": "accuracy"})
    )
    assert check.warnings[0] == "1 clip is left out: without label."
    assert "evaluation.metric" not in check.errors
    assert (
        "evaluation.metric" not in jobs.validate(session, actor=user, spec=make_spec(dataset, model)).errors
    )
    by_words = make_spec(dataset, model, evaluation={"metric": "cer"})
    by_words = jobs.validate(session, actor=user, spec=by_words)
    assert by_words.errors["evaluation.metric"].endswith("choose one of: accuracy, macro_f1, loss.")


def test_a_check_gives_command_yaml_and_forecast(session, user, dataset, model):
    check = jobs.validate(session, actor=user, spec=make_spec(dataset, model, name="a; touch x"))
    assert check.ok
    assert check.command == "qlora-studio train a--touch-x.yaml"
    assert "dataset_id: " in check.yaml
    assert {"memory", "time", "disk"} <= set(check.forecast)
