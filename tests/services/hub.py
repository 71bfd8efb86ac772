"""A Hugging Face Hub of our own on loopback: the few answers that its client asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """`repos` maps an id to a folder or an error's status; `damaged` names files that arrive changed."""

    repos: dict[str, Path | int]
    damaged: set[str]
    seen_authorization: list[str]
    seen_paths: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        if self.headers.get("authorization"):
            self.seen_authorization.append(self.headers["authorization"])
        self.seen_paths.append(self.path)
        parts = self.path.split("?")[0].strip("/").split("/")
        is_api = parts[0] == "api"
        parts = parts[2:] if is_api else parts[1:] if parts[0] == "datasets" else parts
        entry = self.repos.get("/".join(parts[:2]))
        if entry is None or isinstance(entry, int):
            error = {"X-Error-Code": "RepoNotFound"} if entry is None else {}
            self._send(entry or 401, b"{}", error, with_body)
        elif is_api:
            self._send(200, json.dumps(self._listing("/".join(parts[:2]), entry)).encode(), {}, with_body)
        else:
            path = entry / "/".join(parts[4:])
            data = path.read_bytes()
            if path.name in self.damaged:
                data = bytes(len(data))
            self._send(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{path.name}"'}, with_body)

    def _listing(self, repo: str, folder: Path) -> dict[str, Any]:
        files = [self._listed(folder, path) for path in sorted(folder.rglob("*")) if path.is_file()]
        return {"id": repo, "sha": COMMIT, "siblings": files}

    def _listed(self, folder: Path, path: Path) -> dict[str, Any]:
        data = path.read_bytes()
        named = {"rfilename": path.relative_to(folder).as_posix(), "size": len(data)}
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        if path.suffix in (".wav", ".parquet", ".safetensors"):  # what the Hub keeps in large file storage
            sha256 = hashlib.sha256(data).hexdigest()
            return named | {"blobId": git, "lfs": {"sha256": sha256, "size": len(data), "pointerSize": 1}}
        return named | {"blobId": git}

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """The Hub, and a token of this server's own that nobody may use."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Hub.repos, Hub.damaged, Hub.seen_authorization, Hub.seen_paths = {}, set(), [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_thisistheserversownsecrettoken")
    monkeypatch.setenv("QLORA_STUDIO_HUB_WAIT_S", "0.01")
    yield Hub
    server.shutdown()
    server.server_close()
    thread.join()
