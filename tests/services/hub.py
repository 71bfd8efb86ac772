"""A Hugging Face Hub of our own on loopback: the few answers that its client asks for."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """`repos` maps an id to a folder or an error's status; `damaged` names files that arrive changed.

    `accounts` maps tokens to who they are; `pushed` has what was committed, by repository and file name.
    `trouble` makes requests fail, each once: a part of the address, and the status, "drop" or "silence".
    """

    repos: dict[str, Path | int]
    accounts: dict[str, dict[str, Any]]
    pushed: dict[str, dict[str, bytes]]
    private: dict[str, bool]
    n_commits: int
    large: dict[str, bytes]
    trouble: list[tuple[str, int | str]]
    hold: threading.Event | None
    damaged: set[str]
    seen_authorization: list[str]
    seen_paths: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    # -- writing

    def do_POST(self) -> None:
        self._note()
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self._is_troubled() and self._is_signed_in():
            self._write(self.path.split("?")[0].strip("/"), body)

    def do_PUT(self) -> None:
        """A large file: half of it is taken before a connection is dropped."""
        self._note()
        length = int(self.headers["content-length"])
        data = self.rfile.read(length // 2)
        if self._is_troubled():
            return
        if self.hold is not None:
            self.hold.wait(20)
        self.large[self.path.rpartition("/")[2]] = data + self.rfile.read(length - length // 2)
        self._send(200, b"", {}, True)

    def _write(self, path: str, body: bytes) -> None:
        repo = "/".join(
            path.removeprefix("api/models/").removesuffix(".git/info/lfs/objects/batch").split("/")[:2]
        )
        if path == "api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "api/repos/create":
            self._create(json.loads(body))
        elif repo not in self.pushed:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, True)
        elif "/preupload/" in path:
            self._json({"files": [self._preupload(repo, file) for file in json.loads(body)["files"]]})
        elif path.endswith("/objects/batch"):
            self._json({"objects": [self._batched(file) for file in json.loads(body)["objects"]]})
        elif "/commit/" in path:
            self._commit(repo, body)
        else:
            raise AssertionError(f"the Hub has no {path}")

    def _create(self, wanted: dict[str, Any]) -> None:
        repo = f"{wanted['organization'] or self._account()['name']}/{wanted['name']}"
        if repo.split("/", maxsplit=1)[0] not in self._account()["may_write"]:
            self._send(403, b"{}", {"X-Error-Message": "You don't have the rights"}, True)
        elif repo in self.pushed:
            self._send(409, b'{"error": "You already created this model repo"}', {}, True)
        else:
            self.pushed[repo], self.private[repo] = {}, wanted.get("visibility") == "private"
            self._json({"url": f"http://{self.headers['host']}/{repo}"})

    def _preupload(self, repo: str, file: dict[str, Any]) -> dict[str, Any]:
        known = self.pushed[repo].get(file["path"])
        mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
        oid = None
        if known is not None:
            blob = b"blob %d\0" % len(known) + known
            oid = hashlib.sha256(known).hexdigest() if mode == "lfs" else hashlib.sha1(blob).hexdigest()
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _batched(self, file: dict[str, Any]) -> dict[str, Any]:
        known = {"oid": file["oid"], "size": file["size"]}
        if file["oid"] in self.large:
            return known
        return known | {"actions": {"upload": {"href": f"http://{self.headers['host']}/large/{file['oid']}"}}}

    def _commit(self, repo: str, body: bytes) -> None:
        files: dict[str, bytes] = {}
        for line in body.splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            elif item["key"] == "lfsFile":
                files[item["value"]["path"]] = self.large[item["value"]["oid"]]
        self.pushed[repo] |= files
        type(self).n_commits += 1
        self._json(
            {"commitUrl": f"http://{self.headers['host']}/{repo}/commit/{COMMIT}", "commitOid": COMMIT}
        )

    def _note(self) -> None:
        if self.headers.get("authorization"):
            self.seen_authorization.append(self.headers["authorization"])
        if self.path != "/api/agent-harnesses":  # which the client asks for once a process, at any time
            self.seen_paths.append(self.path)

    def _account(self) -> dict[str, Any]:
        return self.accounts.get(self.headers.get("authorization", "").removeprefix("Bearer "), {})

    def _is_signed_in(self) -> bool:
        if self._account():
            return True
        self._send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"}, True)
        return False

    def _is_troubled(self) -> bool:
        for index, (part, status) in enumerate(self.trouble):
            if part in self.path:
                del self.trouble[index]
                if status == "silence":
                    time.sleep(0.6)
                if isinstance(status, str):
                    self.close_connection = True
                    self.connection.close()
                else:
                    self._send(status, b"{}", {}, True)
                return True
        return False

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, True)

    # -- reading

    def _answer(self, *, with_body: bool) -> None:
        self._note()
        if self._is_troubled():
            return
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "whoami-v2"]:
            if self._is_signed_in():
                self._json(self._account())
            return
        if parts[:2] == ["api", "models"] and (pushed := "/".join(parts[2:4])) in self.pushed:
            self._json({"id": pushed, "sha": COMMIT, "private": self.private[pushed], "siblings": []})
            return
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
    Hub.accounts, Hub.pushed, Hub.private, Hub.large, Hub.trouble = {}, {}, {}, {}, []
    Hub.n_commits, Hub.hold = 0, None
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_thisistheserversownsecrettoken")
    monkeypatch.setenv("QLORA_STUDIO_HUB_WAIT_S", "0.01")
    yield Hub
    server.shutdown()
    server.server_close()
    thread.join()
