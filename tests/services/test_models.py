import os
import shutil
from pathlib import Path

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import JobStatus, ModelStatus, Role, Task, TrainingType
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job, User
from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.services import model_intake, models
from qlora_studio.services.model_schemas import ModelCreate, ModelPublic, ModelUpdate
from qlora_studio.storage import layout
from tests.conftest import make_user
from tests.modelfiles.build import ctc_folder, musicgen_folder, whisper_folder


@pytest.fixture
def root(tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    monkeypatch.setenv("QLORA_STUDIO_MODEL_ROOTS", str(folder))
    get_settings.cache_clear()
    return folder


def path_source(folder: Path, **more: object) -> ModelCreate:
    return ModelCreate.model_validate(
        {"name": "Mine", "source": {"kind": "path", "path": str(folder)}, **more}
    )


def register(session: Session, user: User, folder: Path, **more: object) -> BaseAudioModel:
    model = models.register(session, actor=user, data=path_source(folder, **more))
    session.commit()
    return model


def test_a_path_is_ready_at_once_with_its_card(session: Session, user: User, root: Path) -> None:
    model = register(session, user, whisper_folder(root / "tiny"))
    assert model.status is ModelStatus.READY
    assert model.architecture == "WhisperForConditionalGeneration"
    assert model.max_duration_s == 30
    assert model.languages == ["en", "no"]
    assert model.lora_targets == ["fc1", "fc2", "k_proj", "out_proj", "q_proj", "v_proj"]
    assert len(model.content_hash) == 64
    assert Path(model.path) == layout.model_path(model.id)
    public = ModelPublic.of(model).model_dump(mode="json")
    assert public["details"]["layers"]["presets"]["auto"] == ["q_proj", "v_proj"]
    assert "files" not in public["details"]
    models.check_unchanged(model)


def test_a_refused_model_leaves_nothing(session: Session, user: User, root: Path) -> None:
    folder = whisper_folder(root / "tiny", model_type="musicgen")
    with pytest.raises(ModelRefused, match="MusicGen"):
        models.register(session, actor=user, data=path_source(folder))
    assert not (layout.data_path() / "models").exists()
    assert models.list_models(session, actor=user) == ([], 0)


def test_task_and_architecture_must_be_what_the_files_say(session: Session, user: User, root: Path) -> None:
    folder = whisper_folder(root / "tiny")
    with pytest.raises(InvalidInput) as caught:
        models.register(
            session, actor=user, data=path_source(folder, task="text-to-audio", architecture="Wav2Vec2ForCTC")
        )
    assert set(caught.value.fields) == {"task", "architecture"}


def test_sources_that_do_not_exist_are_named() -> None:
    with pytest.raises(ValueError, match="is sent by you"):
        ModelCreate.model_validate({"name": "x", "source": {"kind": "torrent"}})


def test_raters_and_viewers_cannot_register(session: Session, root: Path) -> None:
    rater = make_user(session, "rita", Role.RATER)
    with pytest.raises(Forbidden):
        models.register(session, actor=rater, data=path_source(whisper_folder(root / "tiny")))


def test_a_strangers_model_is_not_found(session: Session, user: User, stranger: User, root: Path) -> None:
    model = register(session, user, whisper_folder(root / "tiny"))
    for call in (
        lambda: models.get_model(session, actor=stranger, model_id=model.id),
        lambda: models.update_model(
            session, actor=stranger, model_id=model.id, data=ModelUpdate(name="stolen")
        ),
        lambda: models.delete_model(session, actor=stranger, model_id=model.id),
        lambda: models.get_usage(session, actor=stranger, model_id=model.id),
        lambda: models.recheck(session, actor=stranger, model_id=model.id),
    ):
        with pytest.raises(NotFound):
            call()
    assert models.list_models(session, actor=stranger) == ([], 0)


def test_lists_are_searched_sorted_and_paged(session: Session, user: User, root: Path) -> None:
    for index in range(5):
        register(session, user, whisper_folder(root / f"w{index}"), name=f"Whisper {index}")
    register(session, user, ctc_folder(root / "ctc"), name="50% wav")
    items, total = models.list_models(session, actor=user, query="whisper", sort="-name", page=2, page_size=2)
    assert [m.name for m in items] == ["Whisper 2", "Whisper 1"]
    assert total == 5
    assert models.list_models(session, actor=user, query="50%")[1] == 1
    assert models.list_models(session, actor=user, query="%")[1] == 1
    assert models.list_models(session, actor=user, query="wav2vec2forctc")[1] == 1
    assert models.list_models(session, actor=user, status=ModelStatus.ERROR)[1] == 0
    assert models.list_models(session, actor=user, task=Task.SPEECH_TO_TEXT)[1] == 6
    with pytest.raises(InvalidInput):
        models.list_models(session, actor=user, sort="owner_id")


def test_names_can_be_edited_but_not_emptied(session: Session, user: User, root: Path) -> None:
    model = register(session, user, whisper_folder(root / "tiny"))
    models.update_model(
        session, actor=user, model_id=model.id, data=ModelUpdate(name=" New ", description="d")
    )
    assert (model.name, model.description) == ("New", "d")
    with pytest.raises(InvalidInput):
        models.update_model(session, actor=user, model_id=model.id, data=ModelUpdate(name="   "))


def add_job(session: Session, user: User, model: BaseAudioModel) -> Job:
    dataset = Dataset(owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT)
    session.add(dataset)
    session.flush()
    job = Job(
        owner_id=user.id,
        name="night run",
        training_type=TrainingType.QLORA,
        dataset_id=dataset.id,
        model_id=model.id,
        status=JobStatus.RUNNING,
    )
    session.add(job)
    session.commit()
    return job


def test_a_model_in_use_is_kept_and_its_users_named(session: Session, user: User, root: Path) -> None:
    model = register(session, user, whisper_folder(root / "tiny"))
    job = add_job(session, user, model)
    session.add(Adapter(owner_id=user.id, name="first", job_id=job.id, base_model_id=model.id, path="x"))
    session.commit()
    with pytest.raises(Conflict, match="night run") as caught:
        models.delete_model(session, actor=user, model_id=model.id)
    assert caught.value.users_of == ["job “night run”", "adapter “first”"]
    assert models.get_usage(session, actor=user, model_id=model.id).is_busy
    assert models.count_active_jobs(session, model_ids=[model.id]) == {model.id: 1}


def test_deleting_removes_our_copy_and_not_the_source(session: Session, user: User, root: Path) -> None:
    folder = whisper_folder(root / "tiny")
    model = register(session, user, folder)
    models.delete_model(session, actor=user, model_id=model.id)
    assert layout.model_path(model.id).exists(), "nothing goes before the commit"
    session.commit()
    assert not layout.model_path(model.id).exists()
    assert (folder / "model.safetensors").exists()


def test_changed_files_stop_a_job_from_starting(session: Session, user: User, root: Path) -> None:
    folder = whisper_folder(root / "tiny")
    model = register(session, user, folder)
    shutil.copy(ctc_folder(root / "other") / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(Conflict, match="changed"):
        models.check_unchanged(model)
    with pytest.raises(Conflict, match="changed"):
        models.recheck(session, actor=user, model_id=model.id)


def test_large_weights_are_read_in_the_background(
    session: Session, user: User, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "HASH_AT_ONCE_BYTES", 10)
    model = register(session, user, whisper_folder(root / "tiny"))
    model_intake.wait(model.id, 20)
    session.expire_all()
    assert session.get_one(BaseAudioModel, model.id).status is ModelStatus.READY


def test_what_was_under_way_is_taken_up_after_a_restart(session: Session, user: User, root: Path) -> None:
    folder = whisper_folder(root / "tiny")
    model = BaseAudioModel(
        owner_id=user.id,
        name="m",
        task=Task.SPEECH_TO_TEXT,
        source={"kind": "path", "path": str(folder)},
        status=ModelStatus.CHECKING,
    )
    session.add(model)
    session.commit()
    orphan = layout.model_path("mod_000000000000")
    orphan.mkdir(parents=True)
    os.utime(orphan, (0, 0))
    being_made = layout.model_path("mod_000000000001")
    being_made.mkdir()
    assert model_intake.recover() == [model.id]
    model_intake.wait(model.id, 20)
    session.expire_all()
    assert session.get_one(BaseAudioModel, model.id).status is ModelStatus.READY
    assert not orphan.exists()
    assert being_made.exists()


def test_a_folder_that_left_the_roots_ends_in_error(
    session: Session, user: User, root: Path, tmp_path: Path
) -> None:
    model = BaseAudioModel(
        owner_id=user.id,
        name="m",
        task=Task.SPEECH_TO_TEXT,
        source={"kind": "path", "path": str(whisper_folder(tmp_path / "elsewhere"))},
        status=ModelStatus.CHECKING,
    )
    session.add(model)
    session.commit()
    model_intake.run(model.id)
    session.expire_all()
    model = session.get_one(BaseAudioModel, model.id)
    assert model.status is ModelStatus.ERROR
    assert "outside" in (model.error or "")


@pytest.mark.parametrize(
    "repo_id", ["; touch x", "$(x)/y", "a\nb", "--flag", "../../etc", "a/b/c", "", "a/../b", "-x/y"]
)
def test_hub_ids_that_are_no_ids_are_refused(session: Session, user: User, repo_id: str) -> None:
    with pytest.raises((InvalidInput, ValueError)):
        data = ModelCreate.model_validate({"source": {"kind": "hub", "repo_id": repo_id}})
        models.register(session, actor=user, data=data)
    assert models.list_models(session, actor=user)[1] == 0


def test_the_starter_is_added_once(
    session: Session, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qlora_studio.examples import catalog

    folders = {"speech": ctc_folder(tmp_path / "speech"), "sound": musicgen_folder(tmp_path / "sound")}
    monkeypatch.setattr(catalog, "starter_model_path", lambda which: folders[which])
    first = models.add_starter(session, actor=user)
    sound = models.add_starter(session, actor=user, which="sound")
    session.commit()
    assert models.add_starter(session, actor=user).id == first.id
    assert models.add_starter(session, actor=user, which="sound").id == sound.id
    assert (first.task, sound.task) == (Task.SPEECH_TO_TEXT, Task.TEXT_TO_AUDIO)
    first.source = {"kind": "starter"}  # as it was when there was one only
    session.add(first)
    session.commit()
    assert models.add_starter(session, actor=user).id == first.id
    assert first.status is ModelStatus.READY
    assert not os.path.islink(layout.model_path(first.id) / "model.safetensors")
