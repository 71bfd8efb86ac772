"""Downloads against a Hub of our own on loopback."""

from pathlib import Path

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import ModelStatus
from qlora_studio.db.models import BaseAudioModel, User
from qlora_studio.services import model_intake, models
from qlora_studio.services.model_schemas import ModelCreate
from qlora_studio.storage import layout
from tests.modelfiles.build import whisper_folder
from tests.services.hub import COMMIT, Hub, hub

__all__ = ["hub"]


def download(session: Session, user: User, repo_id: str) -> BaseAudioModel:
    data = ModelCreate.model_validate({"source": {"kind": "hub", "repo_id": repo_id}})
    model = models.register(session, actor=user, data=data)
    assert model.status is ModelStatus.DOWNLOADING
    session.commit()
    model_intake.wait(model.id, 60)
    session.expire_all()
    return session.get_one(BaseAudioModel, model.id)


@pytest.mark.slow
def test_a_model_is_downloaded_checked_and_ready(
    session: Session, user: User, hub: type[Hub], tmp_path: Path
) -> None:
    hub.repos["someone/tiny"] = whisper_folder(tmp_path / "tiny")
    model = download(session, user, "https://huggingface.co/someone/tiny")
    assert (model.status, model.error) == (ModelStatus.READY, None)
    assert model.source["commit"] == COMMIT
    assert model.downloaded_bytes == model.size_bytes > 0
    assert (layout.model_path(model.id) / "model.safetensors").is_file()
    assert not layout.staging_path(model.id).exists()
    assert hub.seen_authorization == [], "the server's own token is nobody's"


@pytest.mark.slow
def test_what_cannot_be_trained_is_refused_before_its_weights_come(
    session: Session, user: User, hub: type[Hub], tmp_path: Path
) -> None:
    folder = whisper_folder(tmp_path / "tiny")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    hub.repos["someone/pickled"] = folder
    model = download(session, user, "someone/pickled")
    assert model.status is ModelStatus.ERROR
    assert "can run code" in (model.error or "")
    hub.repos["someone/music"] = whisper_folder(tmp_path / "music", model_type="musicgen")
    model = download(session, user, "someone/music")
    assert "MusicGen" in (model.error or "")
    assert not list(layout.staging_path(model.id).rglob("*.safetensors"))


@pytest.mark.fault("F24", "404 for a model", "said so")
def test_a_model_that_is_not_there_is_said_so(session: Session, user: User, hub: type[Hub]) -> None:
    model = download(session, user, "someone/nothing")
    assert model.status is ModelStatus.ERROR
    assert "no public model" in (model.error or "")


@pytest.mark.fault("F24", "429 for a model", "tried again, then said so")
@pytest.mark.slow
def test_a_hub_in_trouble_is_tried_again_then_said_so(session: Session, user: User, hub: type[Hub]) -> None:
    hub.repos["someone/busy"] = 429
    model = download(session, user, "someone/busy")
    assert model.status is ModelStatus.ERROR
    assert "too many requests" in (model.error or "")


@pytest.mark.fault("F24", "a model's Hub is offline", "said so; never half a model ready")
@pytest.mark.slow
def test_offline_is_said_so(session: Session, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("QLORA_STUDIO_HUB_WAIT_S", "0.01")
    model = download(session, user, "someone/tiny")
    assert model.status is ModelStatus.ERROR
    assert "can't be reached" in (model.error or "")
