from pathlib import Path

import numpy as np
import pytest
import soundfile
from sqlmodel import Session, select

from qlora_studio.contracts.enums import DatasetStatus, JobStatus, Split, Task, TrainingType
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, Clip, Dataset, Job, User
from qlora_studio.services import drafts, models
from qlora_studio.services.drafts import Draft
from qlora_studio.services.model_schemas import ModelCreate
from qlora_studio.services.presets import preset_for
from qlora_studio.state import wizard_loading as loading
from qlora_studio.storage import layout
from qlora_studio.storage.atomic import sha256_file
from tests.modelfiles.build import whisper_folder


@pytest.fixture
def model(session: Session, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaseAudioModel:
    monkeypatch.setenv("QLORA_STUDIO_MODEL_ROOTS", str(tmp_path))
    get_settings.cache_clear()
    folder = whisper_folder(tmp_path / "tiny")
    form = ModelCreate.model_validate({"name": "Tiny", "source": {"kind": "path", "path": str(folder)}})
    made = models.register(session, actor=user, data=form)
    session.commit()
    return made


@pytest.fixture
def dataset(session: Session, user: User, tmp_path: Path) -> Dataset:
    """Eight clips to train on and two held out, at another rate than the model's."""
    made = Dataset(
        owner_id=user.id,
        name="Words",
        task=Task.SPEECH_TO_TEXT,
        status=DatasetStatus.READY,
        n_clips=10,
        duration_s=5.0,
        version=1,
    )
    session.add(made)
    session.flush()
    wav = tmp_path / "clip.wav"
    soundfile.write(wav, 0.1 * np.random.default_rng(0).standard_normal(4000), 8_000)
    digest = sha256_file(wav)
    blob = layout.blob_path(digest)
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(wav.read_bytes())
    for position in range(10):
        session.add(
            Clip(
                dataset_id=made.id,
                position=position,
                filename=f"{position}.wav",
                sha256=digest,
                duration_s=0.5,
                sample_rate=8_000,
                text=f"word {position}",
                split=Split.TRAIN if position < 8 else Split.VALIDATION,
            )
        )
    session.commit()
    return made


def ready_draft(dataset: Dataset, model: BaseAudioModel) -> Draft:
    return Draft(
        name="first",
        dataset_id=dataset.id,
        model_id=model.id,
        step=3,
        values=drafts.preset_values(preset=preset_for(family="whisper", task=Task.SPEECH_TO_TEXT)),
    )


def test_an_empty_start_offers_what_is_ready(user: User, dataset: Dataset, model: BaseAudioModel) -> None:
    loaded = loading.load(user)
    assert loaded.draft.step == 0
    assert [row.name for row in loaded.datasets] == ["Words"]
    assert loading.load(user, "nothing like it").datasets == []


def test_the_address_chooses(user: User, dataset: Dataset, model: BaseAudioModel) -> None:
    assert loading.start_draft(user, {}) is None
    started = loading.start_draft(user, {"dataset": dataset.id})
    assert started is not None
    assert started.step == 1
    started = loading.start_draft(user, {"model": model.id})
    assert started is not None
    assert (started.step, started.dataset_id) == (2, dataset.id), "what was chosen before stays"
    for asked, kind in (("preference", "preference"), ("nonsense", "preference"), ("qlora", "qlora")):
        started = loading.start_draft(user, {"dataset": dataset.id, "type": asked})
        assert started is not None
        assert started.values["training_type"] == kind
    loaded = loading.load(user)
    assert (loaded.dataset.name, loaded.model.name) == ("Words", "Tiny")
    assert loaded.splits.train.startswith("8 clips")
    assert loaded.preset_layers["auto"] == "q_proj, v_proj"


def test_no_step_is_shown_before_it_can_be_done(user: User, dataset: Dataset, model: BaseAudioModel) -> None:
    assert loading.load(user, step=3).draft.step == 0
    loading.start_draft(user, {"dataset": dataset.id})
    assert loading.load(user, step=3).draft.step == 1
    loading.start_draft(user, {"model": model.id})
    assert loading.load(user, step=3).draft.step == 3
    assert loading.load(user, step=1).draft.step == 1


def test_presets_follow_the_model_until_touched(user: User, dataset: Dataset, model: BaseAudioModel) -> None:
    loading.start_draft(user, {"dataset": dataset.id, "model": model.id})
    draft = loading.load(user).draft
    assert draft.values["optimization.learning_rate"] == "0.001"
    assert any("Whisper tiny" in reason for reason in loading.load(user).reasons)
    draft.values["optimization.epochs"], draft.is_touched = "7", True
    loading.save(user, draft)
    assert loading.load(user).draft.values["optimization.epochs"] == "7"


def test_what_has_gone_is_taken_out(
    session: Session, user: User, stranger: User, dataset: Dataset, model: BaseAudioModel
) -> None:
    loading.save(user, ready_draft(dataset, model))
    loading.save(stranger, ready_draft(dataset, model))
    assert loading.load(stranger).dataset.id == "", "another's dataset can't be seen through a draft"
    models.delete_model(session, actor=user, model_id=model.id)
    session.commit()
    loaded = loading.load(user)
    assert (loaded.draft.step, loaded.model.id, loaded.draft.model_id) == (1, "", "")


def test_a_job_of_another_cannot_be_cloned(user: User) -> None:
    with pytest.raises(NotFound):
        loading.start_draft(user, {"clone": "job_000000000000"})


def test_the_review_forecasts_decodes_and_names_the_command(
    user: User, dataset: Dataset, model: BaseAudioModel
) -> None:
    found = loading.review(user, ready_draft(dataset, model))
    assert found.errors == {}
    assert found.view.memory_fits
    assert found.view.memory.endswith("B")
    assert {part.name for part in found.parts} >= {"Weights", "Adapter", "Optimiser", "Activations"}
    assert found.view.command.startswith("qlora-studio train ")
    assert "learning_rate: 0.001" in found.view.yaml
    assert len(found.batch) == 4
    assert "8,000 samples" in found.batch[0].heard, "half a second at the model's 16 kHz"
    assert found.batch == loading.review(user, ready_draft(dataset, model)).batch, "drawn by the job's seed"


def test_a_recording_that_is_gone_is_said(user: User, dataset: Dataset, model: BaseAudioModel) -> None:
    for blob in (layout.data_path() / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    assert all(row.error for row in loading.review(user, ready_draft(dataset, model)).batch)


def test_two_launches_of_one_draft_make_one_job(
    session: Session, user: User, dataset: Dataset, model: BaseAudioModel
) -> None:
    draft = ready_draft(dataset, model)
    loading.save(user, draft)
    first, second = loading.launch(user, draft), loading.launch(user, draft)
    assert first == second
    session.expire_all()
    job = session.get_one(Job, first)
    assert (job.status, job.name) == (JobStatus.QUEUED, "first")
    assert (layout.run_path(job.id) / "clips.jsonl").read_text().count("\n") == 10
    assert loading.load(user).draft.launch_key != draft.launch_key, "the draft is gone"
    again = loading.start_draft(user, {"clone": first})
    assert again is not None
    assert loading.launch(user, again) != first


def test_a_wrong_draft_launches_nothing(
    session: Session, user: User, dataset: Dataset, model: BaseAudioModel
) -> None:
    draft = ready_draft(dataset, model)
    draft.values["qlora.rank"] = "0"
    with pytest.raises(InvalidInput):
        loading.launch(user, draft)
    draft = ready_draft(dataset, model)
    draft.dataset_id = "ds_000000000000"
    with pytest.raises(InvalidInput):
        loading.launch(user, draft)
    assert loading.load(user).draft.step == 0


def test_classes_are_judged_by_accuracy(user: User, dataset: Dataset, model: BaseAudioModel) -> None:
    assert [key for key, _ in loading.load(user).metrics] == ["wer", "cer", "loss"]
    with db.write() as session:
        for table, key in ((Dataset, dataset.id), (BaseAudioModel, model.id)):
            session.get_one(table, key).task = Task.AUDIO_CLASSIFICATION
    loading.start_draft(user, {"dataset": dataset.id, "model": model.id})
    loaded = loading.load(user)
    assert loaded.draft.values["evaluation.metric"] == "accuracy"
    assert loaded.metrics[0] == ["accuracy", "Accuracy"]
    touched = loaded.draft.model_copy(update={"is_touched": True})
    loading.save(user, touched.model_copy(update={"values": touched.values | {"evaluation.metric": "wer"}}))
    assert loading.load(user).draft.values["evaluation.metric"] == "accuracy"


def _label(session: Session, dataset: Dataset, labels: dict[int, str]) -> None:
    """Make it a dataset of sounds for one text, with marks of preference."""
    dataset.task = Task.TEXT_TO_AUDIO
    for clip in session.exec(select(Clip).where(Clip.dataset_id == dataset.id)):
        clip.text, clip.label = "a bell", labels.get(clip.position)
    session.commit()


def _chosen(user: User, dataset: Dataset, kind: str = "preference") -> loading.Loaded:
    values = drafts.preset_values() | {"training_type": kind}
    loading.save(user, Draft(dataset_id=dataset.id, model_id="", step=2, is_touched=True, values=values))
    return loading.load(user)


@pytest.fixture
def sounds(
    session: Session, dataset: Dataset, model: BaseAudioModel, monkeypatch: pytest.MonkeyPatch
) -> Dataset:
    """The dataset, and a model of its task."""
    monkeypatch.setattr(loading, "furthest", lambda draft: loading.LAST_CHOICE)
    pairs = {0: "1+", 1: "1-", 2: "2+", 3: "2-", 8: "3+", 9: "3-"}
    _label(session, dataset, pairs)
    return dataset


def test_preferences_can_be_chosen_where_there_are_pairs(user: User, sounds: Dataset) -> None:
    loaded = _chosen(user, sounds)
    assert [kind for kind, _ in loaded.training_types] == ["qlora", "lora", "preference"]
    assert "2 pairs of this dataset; 1 are held out" in loaded.pairs
    assert loaded.draft.values["evaluation.metric"] == "reward_accuracy"
    assert [key for key, _ in loaded.metrics] == ["reward_accuracy", "loss"]
    assert _chosen(user, sounds, "qlora").draft.values["evaluation.metric"] == "loss"


def test_without_pairs_it_is_said_and_the_usual_type_is_back(
    session: Session, user: User, sounds: Dataset
) -> None:
    _label(session, sounds, {})
    loaded = _chosen(user, sounds)
    assert [kind for kind, _ in loaded.training_types] == ["qlora", "lora"]
    assert loaded.pairs.endswith("This dataset has none.")
    assert loaded.draft.values["training_type"] == "qlora"
    assert loaded.draft.values["evaluation.metric"] == "loss"
    _label(session, sounds, {0: "1+", 1: "1-"})
    assert "1 pairs to train on and 0 held out" in _chosen(user, sounds).pairs


def test_a_job_of_preferences_is_built_from_the_draft(user: User, sounds: Dataset) -> None:
    draft = _chosen(user, sounds).draft
    draft.name, draft.model_id = "Bells", "mdl"
    draft.values |= {
        "preference.beta": "0.3",
        "preference.loss": "robust",
        "preference.label_smoothing": "0.1",
    }
    spec = drafts.build_spec(draft)
    assert (spec.training_type, spec.evaluation.metric) == (TrainingType.PREFERENCE, "reward_accuracy")
    assert (spec.preference.beta, spec.preference.label_smoothing) == (0.3, 0.1)
    draft.values["preference.loss"] = "sigmoid"
    assert "robust only" in loading.field_errors(draft)["preference.label_smoothing"]


def test_a_step_back_does_not_take_the_preference_away(user: User, sounds: Dataset) -> None:
    draft = _chosen(user, sounds).draft
    loading.save(user, draft.model_copy(update={"values": draft.values | {"qlora.bits": "16"}}))
    back = loading.load(user, step=1).draft
    assert back.values["training_type"] == "preference"
    loading.save(user, back)
    assert loading.load(user, step=2).draft.values["training_type"] == "preference"


def test_where_preference_goes_its_bits_go_too(session: Session, user: User, sounds: Dataset) -> None:
    draft = _chosen(user, sounds).draft
    loading.save(user, draft.model_copy(update={"values": draft.values | {"qlora.bits": "16"}}))
    _label(session, sounds, {})
    values = loading.load(user).draft.values
    assert (values["training_type"], values["qlora.bits"]) == ("qlora", "4")


def test_a_sweep_is_launched_once_and_reviewed_as_one(
    session: Session, user: User, dataset: Dataset, model: BaseAudioModel
) -> None:
    draft = ready_draft(dataset, model)
    draft.sweep = {"qlora.rank": "4, 8, 16"}
    loading.save(user, draft)
    found = loading.review(user, draft)
    assert found.warnings[0] == "This starts 3 jobs. The forecast is of the first: rank 4."
    assert found.view.command.startswith("qlora-studio sweep ")
    assert "sweep:\n  qlora.rank:\n  - 4" in found.view.yaml
    first, second = loading.launch_from(user, draft), loading.launch_from(user, draft)
    assert first == second
    assert first.startswith("/training/sweeps/grp_")
    assert sorted(job.spec["qlora"]["rank"] for job in session.exec(select(Job))) == [4, 8, 16]
    assert loading.load(user).draft.launch_key != draft.launch_key, "the draft is gone"
    draft.sweep = {"qlora.rank": "4, 0"}
    with pytest.raises(InvalidInput):
        loading.launch_from(user, draft)


def test_a_job_can_wait_for_one_that_has_not_ended(
    session: Session, user: User, dataset: Dataset, model: BaseAudioModel
) -> None:
    assert loading.load(user).befores == [["", "Nothing: as soon as there is room"]]
    first = loading.launch(user, ready_draft(dataset, model))
    assert [job_id for job_id, _ in loading.load(user).befores] == ["", first]
    draft = ready_draft(dataset, model)
    draft.values |= {"after_job_id": first, "after_condition": "succeeded"}
    loading.save(user, draft)
    assert loading.load(user).draft.values["after_job_id"] == first, "presets leave it alone"
    follower = session.get_one(Job, loading.launch(user, draft))
    assert (follower.after_job_id, follower.spec["after_condition"]) == (first, "succeeded")
    again = loading.start_draft(user, {"clone": follower.id})
    assert again is not None
    assert again.values["after_job_id"] == first
    with db.write() as opened:
        opened.get_one(Job, first).status = JobStatus.FAILED
    assert loading.load(user).draft.values["after_job_id"] == ""
    again = loading.start_draft(user, {"clone": follower.id})
    assert again is not None
    assert again.values["after_job_id"] == ""


def test_an_adapter_can_be_trained_on(
    session: Session, user: User, stranger: User, dataset: Dataset, model: BaseAudioModel
) -> None:
    assert loading.load(user).starts == [["", "The base model as it is"]]
    made = Adapter(
        owner_id=user.id, name="Words, Tiny", base_model_id=model.id, dataset_id=dataset.id, path="/nowhere"
    )
    session.add(made)
    session.commit()
    started = loading.start_draft(user, {"adapter": made.id})
    assert started is not None
    assert (started.dataset_id, started.model_id, started.step) == (dataset.id, model.id, 2)
    loaded = loading.load(user)
    assert loaded.starts[1:] == [[made.id, "Words, Tiny"]]
    assert loaded.draft.values["start_adapter_id"] == made.id
    assert loaded.draft.values["optimization.learning_rate"] == "0.001", "presets come all the same"
    assert drafts.build_spec(loaded.draft.model_copy(update={"name": "n"})).start_adapter_id == made.id
    with pytest.raises(NotFound):
        loading.start_draft(stranger, {"adapter": made.id})
    session.delete(made)
    session.commit()
    assert loading.load(user).draft.values["start_adapter_id"] == ""


def test_who_has_chosen_what_to_train_is_expected_to_launch(
    session: Session, user: User, model: BaseAudioModel, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[str] = []
    monkeypatch.setattr(
        loading.job_access, "expect_launch", lambda _, *, actor: expected.append(actor.username)
    )
    loading.load(user)
    assert expected == []
    loading.save(user, Draft(dataset_id=dataset.id, model_id=model.id, step=2))
    loading.load(user)
    assert expected == [user.username]
