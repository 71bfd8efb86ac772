"""Datasets from a Hub of our own on loopback."""

import pytest
from pydantic import SecretStr

from qlora_studio.contracts.enums import DatasetStatus, Task
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import staging
from qlora_studio.services import credentials
from tests.ingest import sounds
from tests.ingest.test_formats import shard
from tests.ingest.test_pipeline import taken_in
from tests.services.hub import COMMIT, Hub, hub

__all__ = ["hub"]

pytestmark = pytest.mark.usefixtures("decoding_here")


@pytest.fixture
def dataset(session, user):
    def make(repo_id: str = "someone/calls", **source) -> Dataset:
        made = Dataset(
            owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT, status=DatasetStatus.PROCESSING,
            source={"kind": "hub", "repo_id": repo_id, "revision": "main"} | source,
        )  # fmt: skip
        session.add(made)
        session.commit()
        return made

    return make


@pytest.fixture
def calls(hub: type[Hub], tmp_path):
    folder = tmp_path / "calls"
    table = b"file_name,text\n" + b"".join(b"%d.wav,text %d\n" % (i, i) for i in range(5))
    clips = {f"audio/{i}.wav": sounds.wav(0.1, pitch=200 + i) for i in range(5)}
    junk = {"README.md": b"# x", ".gitattributes": b"x", "model.safetensors": b"x" * 50, "notes.pdf": b"%PDF"}
    sounds.write(folder, {"audio/metadata.csv": table} | clips | junk)
    hub.repos["someone/calls"] = folder
    return folder


def test_recordings_and_their_table_are_fetched_and_taken_in(dataset, hub, calls):
    result, clips = taken_in(dataset())
    assert (result.status, result.error, result.n_clips) == (DatasetStatus.READY, None, 5)
    assert clips["audio/3.wav"].text == "text 3"
    assert clips["notes.pdf"].reason.startswith("Not a recording")
    fetched = result.source["fetched"]
    assert fetched["bytes"] == fetched["total"] > 5000
    assert hub.seen_authorization == [], "the server's own token is nobody's"
    assert not any("README" in path or "safetensors" in path for path in hub.seen_paths)
    assert any(f"/resolve/{COMMIT}/" in path for path in hub.seen_paths), "one commit, however long it takes"


def test_parquet_shards_are_fetched_and_taken_apart(dataset, hub, tmp_path):
    sounds.write(tmp_path / "p", {"data/train-0.parquet": shard(6), "data/validation-0.parquet": shard(2)})
    hub.repos["someone/shards"] = tmp_path / "p"
    result, clips = taken_in(dataset("someone/shards"))
    assert (result.status, len(clips)) == (DatasetStatus.READY, 8)


def test_a_token_of_the_owners_is_used_and_nothing_else(dataset, hub, calls, user):
    form = credentials.HubToken(kind="hub", name="mine", token=SecretStr("hf_mine"))
    with engine.write() as session:
        credential = credentials.create(session, actor=user, form=form)
    result, _ = taken_in(dataset(credential_id=credential.id))
    assert result.status is DatasetStatus.READY
    assert set(hub.seen_authorization) == {"Bearer hf_mine"}


@pytest.mark.fault("F24", "a wrong checksum", "never taken in")
def test_a_damaged_file_is_never_taken_in(dataset, hub, calls):
    hub.damaged = {"3.wav"}
    made = dataset()
    result, clips = taken_in(made)
    assert (result.status, clips) == (DatasetStatus.ERROR, {})
    assert "3.wav arrived damaged" in result.error
    hub.damaged, hub.seen_paths[:] = set(), []
    with engine.write() as session:
        session.get_one(Dataset, made.id).status = DatasetStatus.PROCESSING
    held = {item.name for item in staging.list_received(made.id) if item.is_complete}
    assert taken_in(made)[0].status is DatasetStatus.READY
    again = {path.rpartition("/")[2] for path in hub.seen_paths}
    assert not again & {name.rpartition("/")[2] for name in held}, "what came whole isn't fetched twice"


@pytest.mark.fault("F24", "404, 401, 429 for a dataset", "said so; the fetch ends")
@pytest.mark.parametrize(
    ("repo", "status", "sentence"),
    [("someone/nothing", None, "no public dataset"), ("someone/busy", 429, "too many requests"),
     ("someone/broken", 503, "error 503")],
)  # fmt: skip
def test_a_hub_that_refuses_is_said_so(dataset, hub, repo, status, sentence):
    if status:
        hub.repos[repo] = status
    result, clips = taken_in(dataset(repo))
    assert (result.status, clips) == (DatasetStatus.ERROR, {})
    assert sentence in result.error
    assert len(hub.seen_paths) == (4 if status else 1)


@pytest.mark.fault("F24", "a dataset's Hub is offline", "said so")
def test_offline_is_said_so(dataset, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("QLORA_STUDIO_HUB_WAIT_S", "0.01")
    result, _ = taken_in(dataset())
    assert result.status is DatasetStatus.ERROR
    assert "can't be reached" in result.error


def test_names_that_lead_out_are_not_followed(dataset, hub, calls, monkeypatch):
    listing = Hub._listing

    def lying(self, repo, folder):
        answer = listing(self, repo, folder)
        answer["siblings"].append({"rfilename": "../../../escaped.wav", "size": 4, "blobId": "0" * 40})
        return answer

    monkeypatch.setattr(Hub, "_listing", lying)
    result, clips = taken_in(dataset())
    assert result.status is DatasetStatus.READY
    assert clips["escaped.wav"].reason.startswith("Outside")
