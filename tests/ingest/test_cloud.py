"""Datasets from S3 (moto's server) and Google Cloud Storage (a few answers of our own), all on loopback."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import pytest
from pydantic import SecretStr
from werkzeug.serving import make_server

from qlora_studio.contracts.enums import DatasetStatus, Task
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import cloud
from qlora_studio.ingest.refusal import SourceRefused
from qlora_studio.services import credentials
from tests.ingest import sounds
from tests.ingest.test_pipeline import taken_in

pytestmark = pytest.mark.usefixtures("decoding_here")
FILES = {
    "calls/metadata.csv": b"file_name,text\na.wav,one\nb.wav,two\n",
    "calls/a.wav": sounds.wav(0.2, pitch=200),
    "calls/b.wav": sounds.wav(0.2, pitch=300),
    "calls/README.md": b"x",
    "callsigns/c.wav": sounds.wav(0.2, pitch=400),
}


@pytest.fixture
def dataset(session, user):
    def make(url: str = "s3://lab/calls", **source: Any) -> Dataset:
        made = Dataset(
            owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT, status=DatasetStatus.PROCESSING,
            source={"kind": "cloud", "url": url} | source,
        )  # fmt: skip
        session.add(made)
        session.commit()
        return made

    return make


@pytest.fixture(autouse=True)
def _the_servers_own_keys(monkeypatch, tmp_path):
    """Keys that would open everything, where every library looks for some."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIASERVERSOWN", "AWS_SECRET_ACCESS_KEY": "servers-own-secret",
        "FSSPEC_S3_KEY": "AKIASERVERSOWN", "FSSPEC_S3_SECRET": "servers-own-secret",
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "servers-own.json"), "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    import fsspec.config

    monkeypatch.setitem(fsspec.config.conf, "s3", {"key": "AKIASERVERSOWN", "secret": "servers-own-secret"})


@pytest.fixture
def s3(monkeypatch, data_folder) -> Iterator[Any]:
    """A client of an S3 server here; `s3.seen` are the Authorization headers that came."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    seen: list[str] = []
    app = DomainDispatcherApplication(create_backend_app)

    def noting(environ, start_response):
        seen.append(environ.get("HTTP_AUTHORIZATION", ""))
        return app(environ, start_response)

    server = make_server("127.0.0.1", 0, noting, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("QLORA_STUDIO_S3_ENDPOINTS", f"https://other.example,{endpoint}/")
    get_settings.cache_clear()
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1"
    )
    client.create_bucket(Bucket="lab")
    for key, content in FILES.items():
        client.put_object(Bucket="lab", Key=key, Body=content, ACL="public-read")
    monkeypatch.setenv("AWS_PROFILE", "servers-own")
    seen.clear()
    client.seen, client.endpoint = seen, endpoint
    yield client
    client.close()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_a_public_bucket_is_read_without_any_key(dataset, s3):
    result, clips = taken_in(dataset(endpoint_url=s3.endpoint))
    assert (result.status, result.error) == (DatasetStatus.READY, None)
    assert {n: c.text for n, c in clips.items()} == {"a.wav": "one", "b.wav": "two"}
    assert result.source["fetched"]["bytes"] == sum(
        len(FILES[f"calls/{n}"]) for n in ("a.wav", "b.wav", "metadata.csv")
    )
    assert s3.seen
    assert set(s3.seen) == {""}, "anonymous, whatever keys the server has"


@pytest.mark.slow
def test_a_closed_bucket_stays_closed_whatever_the_server_may_read(dataset, s3):
    s3.put_object_acl(Bucket="lab", Key="calls/a.wav", ACL="private")
    result, clips = taken_in(dataset(endpoint_url=s3.endpoint))
    assert (result.status, clips) == (DatasetStatus.ERROR, {})
    assert result.error.startswith("The bucket doesn't let us read it.")
    assert set(s3.seen[1:]) == {""}


@pytest.mark.slow
def test_the_owners_key_is_used_and_no_other(dataset, s3, user):
    form = credentials.S3Key(kind="s3", name="mine", key=SecretStr("AKIAMINE"), secret=SecretStr("my-secret"))
    with engine.write() as session:
        credential = credentials.create(session, actor=user, form=form)
    result, _ = taken_in(
        dataset("s3://lab/calls/a.wav", endpoint_url=s3.endpoint, credential_id=credential.id)
    )
    assert (result.status, result.n_clips) == (DatasetStatus.READY, 1)
    assert all("Credential=AKIAMINE/" in header for header in s3.seen)
    with engine.write() as session:
        credentials.delete(session, actor=user, credential_id=credential.id)
    s3.seen.clear()
    result, _ = taken_in(dataset(endpoint_url=s3.endpoint, credential_id=credential.id))
    assert (result.status, s3.seen) == (DatasetStatus.ERROR, [])


@pytest.mark.slow
def test_keys_that_lead_out_are_not_followed_and_names_stay_apart(dataset, s3):
    for key in ("calls/../../evil.wav", "calls/x/../y.wav", "calls/folder/"):
        s3.put_object(Bucket="lab", Key=key, Body=b"x", ACL="public-read")
    result, clips = taken_in(dataset(endpoint_url=s3.endpoint))
    assert result.status is DatasetStatus.READY
    assert {n for n, c in clips.items() if (c.reason or "").startswith("Outside")} == {"evil.wav", "x/y.wav"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "sentence"),
    [("s3://nowhere/calls", "no such bucket"), ("s3://lab/nothing", "Nothing that may be a recording")],
)
def test_what_is_not_there_is_said_so(dataset, s3, url, sentence):
    result, _ = taken_in(dataset(url, endpoint_url=s3.endpoint))
    assert result.status is DatasetStatus.ERROR
    assert sentence in result.error


@pytest.mark.slow
def test_caps_are_kept_before_anything_is_fetched(dataset, s3, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_MAX_UPLOAD_BYTES", "7000")
    get_settings.cache_clear()
    result, _ = taken_in(dataset(endpoint_url=s3.endpoint))
    assert "holds more than" in result.error
    monkeypatch.setenv("QLORA_STUDIO_MAX_ARCHIVE_ENTRIES", "2")
    get_settings.cache_clear()
    result, _ = taken_in(dataset(endpoint_url=s3.endpoint))
    assert "more than 2 files" in result.error


@pytest.mark.slow
def test_a_server_that_is_not_allowed_any_more_is_not_asked(dataset, s3, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_S3_ENDPOINTS", "")
    get_settings.cache_clear()
    result, _ = taken_in(dataset(endpoint_url=s3.endpoint))
    assert "isn't allowed" in result.error
    assert s3.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "s3://", "s3:///x", "s3://UPPER/x", "s3://a/x", "s3://bucket.example@127.0.0.1/", "s3://bucket:80/x",
        "s3://bucket/a/../b", "s3://bucket/..", "s3://buc..ket/x", "s3://bucket/a\nb", "http://bucket/x",
        "gcs://bucket/x", "file:///etc/passwd", "s3://bucket\\x/y",
    ],
)  # fmt: skip
def test_links_that_are_none_are_refused(url):
    with pytest.raises(SourceRefused):
        cloud.parse_link(url)


class Google(BaseHTTPRequestHandler):
    """Lists and gives FILES, two to a page."""

    seen: list[str | None] = []

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("authorization"))
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        bucket = parts[parts.index("b") + 1]
        if bucket != "lab":
            self._send(403 if bucket == "private" else 404, json.dumps({"error": {"message": "no"}}).encode())
        elif parts[-1] == "o":
            names = [n for n in sorted(FILES) if n.startswith(query.get("prefix", ""))]
            start = int(query.get("pageToken", 0))
            page = {"items": [{"name": n, "size": str(len(FILES[n]))} for n in names[start : start + 2]]}
            if start + 2 < len(names):
                page["nextPageToken"] = str(start + 2)
            self._send(200, json.dumps(page).encode())
        else:
            content = FILES[unquote(parts[-1])]
            first, last = (int(n) for n in self.headers["Range"].removeprefix("bytes=").split("-"))
            self._send(206, content[first : last + 1])

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def google(monkeypatch) -> Iterator[type[Google]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Google)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(cloud, "GCS_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    Google.seen = []
    yield Google
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_a_public_bucket_of_google_is_read_without_any_key(dataset, google):
    result, clips = taken_in(dataset("gs://lab/calls/"))
    assert (result.status, result.error) == (DatasetStatus.READY, None)
    assert {n: c.text for n, c in clips.items()} == {"a.wav": "one", "b.wav": "two"}
    assert set(google.seen) == {None}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bucket", "sentence"), [("private", "doesn't let us read it"), ("nowhere", "no such bucket")]
)
def test_a_bucket_of_google_that_is_closed_or_not_there(dataset, google, bucket, sentence):
    result, _ = taken_in(dataset(f"gs://{bucket}/calls"))
    assert result.status is DatasetStatus.ERROR
    assert sentence in result.error
