"""`transcribe` and `classify`: what they print, and what they refuse."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import ModelStatus, Task
from qlora_studio.db.models import BaseAudioModel, User
from qlora_studio.services import inference
from qlora_studio.services.engine_host import EngineHost
from tests.commands.conftest import Run, answer
from tests.ingest import sounds
from tests.modelfiles.build import whisper_folder
from tests.services.test_engine_host import COMMAND


@pytest.fixture
def host(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineHost]:
    made = EngineHost(COMMAND, idle_s=60.0)
    monkeypatch.setattr(inference, "host", made)
    yield made
    made._end_child()


def test_a_recording_is_written_down(run: Run, host: EngineHost, data_folder: Path, tmp_path: Path) -> None:
    model = answer(run("model", "add", str(whisper_folder(tmp_path / "tiny")), "--json"))["id"]
    clip = tmp_path / "a.wav"
    clip.write_bytes(sounds.wav(0.5))
    assert run("transcribe", str(clip), "--model", model).stdout.strip().isdigit(), "what the stand-in says"
    said = answer(run("transcribe", str(clip), "--model", model, "--json"))
    assert (said["model_id"], said["adapter_id"], said["duration_s"]) == (model, None, 0.5)
    assert clip.is_file()
    assert not list((data_folder / "trials").rglob("*.f32"))
    assert "writes down speech" in run("classify", str(clip), "--model", model, code=2).stderr
    assert run("transcribe", str(tmp_path / "none.wav"), "--model", model, code=2).stderr
    assert run("transcribe", str(clip), "--model", "mod_none", code=2).stderr
    (tmp_path / "b.wav").write_bytes(b"text")
    assert "Not audio" in run("transcribe", str(tmp_path / "b.wav"), "--model", model, code=2).stderr


def test_speakers_and_sounds(
    run: Run, host: EngineHost, session: Session, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference.models, "check_unchanged", lambda model: None)
    monkeypatch.setattr(inference, "_is_base_of_use", lambda model: True)
    ids = {}
    for task in (Task.SPEAKER_DIARIZATION, Task.TEXT_TO_AUDIO):
        model = BaseAudioModel(
            owner_id=user.id, name="m", task=task, path="/models/cpu", status=ModelStatus.READY
        )
        session.add(model)
        ids[task] = model.id
    session.commit()
    clip, made = tmp_path / "a.wav", tmp_path / "made.wav"
    clip.write_bytes(sounds.wav(0.5))
    said = run("diarize", str(clip), "--model", ids[Task.SPEAKER_DIARIZATION], "--user", "ada")
    assert [line.split()[3] for line in said.stdout.splitlines()] == ["0.100", "0.600"], (
        "a line for each turn"
    )
    asked = ("generate", "rain", "--model", ids[Task.TEXT_TO_AUDIO], "--user", "ada", "--seconds", "1")
    run(*asked, "--output", str(made))
    assert made.read_bytes()[:4] == b"RIFF"
    made.write_bytes(b"somebody's work")
    assert "there already" in run(*asked, "--output", str(made), code=1).stderr
    assert made.read_bytes() == b"somebody's work"
    assert run(*asked, "--output", str(tmp_path / "no" / "made.wav"), code=2).stderr
