"""Downloads against a Hub of our own on loopback."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import ModelStatus
from qlora_studio.db.models import BaseAudioModel, User
from qlora_studio.services import model_intake, models
from qlora_studio.services.model_schemas import ModelCreate
from qlora_studio.storage import layout
from tests.modelfiles.build import whisper_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The few answers that the Hub's client asks for. `repos` maps an id to a folder or an error."""

    repos: dict[str, Path | int]
    seen_authorization: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        if self.headers.get("authorization"):
            self.seen_authorization.append(self.headers["authorization"])
        parts = self.path.split("?")[0].strip("/").split("/")
        repo = "/".join(parts[2:4] if parts[0] == "api" else parts[0:2])
        entry = self.repos.get(repo)
        if entry is None or isinstance(entry, int):
            self._send(
                entry or 401, b"{}", {"X-Error-Code": "RepoNotFound"} if entry is None else {}, with_body
            )
        elif parts[0] == "api":
            files = [{"rfilename": p.name, "size": p.stat().st_size} for p in entry.iterdir()]
            self._send(
                200, json.dumps({"id": repo, "sha": COMMIT, "siblings": files}).encode(), {}, with_body
            )
        else:
            path = entry / parts[-1]
            data = path.read_bytes()
            self._send(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{path.name}"'}, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Hub.repos, Hub.seen_authorization = {}, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_thisistheserversownsecrettoken")
    monkeypatch.setenv("QLORA_STUDIO_HUB_WAIT_S", "0.01")
    yield Hub
    server.shutdown()
    server.server_close()
    thread.join()


def download(session: Session, user: User, repo_id: str) -> BaseAudioModel:
    data = ModelCreate.model_validate({"source": {"kind": "hub", "repo_id": repo_id}})
    model = models.register(session, actor=user, data=data)
    assert model.status is ModelStatus.DOWNLOADING
    session.commit()
    model_intake.wait(model.id, 60)
    session.expire_all()
    return session.get_one(BaseAudioModel, model.id)


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


def test_a_model_that_is_not_there_is_said_so(session: Session, user: User, hub: type[Hub]) -> None:
    model = download(session, user, "someone/nothing")
    assert model.status is ModelStatus.ERROR
    assert "no public model" in (model.error or "")


def test_a_hub_in_trouble_is_tried_again_then_said_so(session: Session, user: User, hub: type[Hub]) -> None:
    hub.repos["someone/busy"] = 429
    model = download(session, user, "someone/busy")
    assert model.status is ModelStatus.ERROR
    assert "too many requests" in (model.error or "")


def test_offline_is_said_so(session: Session, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("QLORA_STUDIO_HUB_WAIT_S", "0.01")
    model = download(session, user, "someone/tiny")
    assert model.status is ModelStatus.ERROR
    assert "can't be reached" in (model.error or "")
