"""The zip of a job's results: all that there is, today's card, and the merged model on request."""

import io
import tracemalloc
import zipfile

import pytest
from sqlmodel import Session

from qlora_studio.contracts.merging import REPORT
from qlora_studio.core.errors import Conflict, NotFound
from qlora_studio.db.models import Job, User
from qlora_studio.jobs.events import EventReader
from qlora_studio.jobs.tensorboard import EventFile
from qlora_studio.services import results
from qlora_studio.storage import layout
from tests.services.outcomes import make_adapter, make_finished_job
from tests.services.test_merging import REPORT as MERGED


@pytest.fixture
def job(session: Session, user: User) -> Job:
    made = make_finished_job(session, user, attempts=3)
    for attempt in (1, 2, 3):
        reader = EventReader(layout.attempt_path(made.id, attempt) / "events.jsonl")
        EventFile(made.id, attempt).take(reader.read(), offset=reader.offset)
    return made


def unpack(streamed) -> zipfile.ZipFile:
    _, pieces = streamed
    return zipfile.ZipFile(io.BytesIO(b"".join(pieces)))


def test_everything_is_in_it_with_todays_card(session: Session, user: User, job: Job) -> None:
    make_adapter(session, user, job, name="renamed since")
    archive = unpack(results.stream_results(session, actor=user, job_id=job.id))
    names = archive.namelist()
    assert len(names) == len(set(names))
    assert {
        "README.md", "adapter/README.md", "adapter/adapter_model.safetensors", "adapter/adapter_config.json",
        "metrics.csv", "worker.log", "logs/attempt-1.log", "logs/attempt-2.log", "config.yaml",
    } <= set(names)  # fmt: skip
    assert len([name for name in names if name.startswith("tensorboard/events.out.tfevents")]) == 3
    assert not [name for name in names if "position" in name]
    assert archive.read("README.md") == archive.read("adapter/README.md")
    assert b"# renamed since" in archive.read("README.md")
    assert archive.read("logs/attempt-1.log") == b"attempt 1\nHF_TOKEN=[redacted]\n"
    assert archive.testzip() is None


def test_the_merged_model_comes_on_request_only(session: Session, user: User, job: Job) -> None:
    with pytest.raises(Conflict, match="no adapter"):
        results.stream_results(session, actor=user, job_id=job.id, merged=True)
    adapter = make_adapter(session, user, job)
    with pytest.raises(Conflict, match="not been merged"):
        results.stream_results(session, actor=user, job_id=job.id, merged=True)
    assert not results.has_merged(session, actor=user, job_id=job.id)
    folder = layout.merged_path(adapter.id)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / REPORT).write_text(MERGED.model_dump_json())
    assert results.has_merged(session, actor=user, job_id=job.id)
    without = unpack(results.stream_results(session, actor=user, job_id=job.id))
    assert "merged/model.safetensors" not in without.namelist()
    archive = unpack(results.stream_results(session, actor=user, job_id=job.id, merged=True))
    assert archive.read("merged/model.safetensors") == b"weights"


def test_large_weights_do_not_fill_the_memory(session: Session, user: User, job: Job) -> None:
    make_adapter(session, user, job)
    with (layout.run_path(job.id) / "adapter" / "adapter_model.safetensors").open("wb") as file:
        file.truncate(64 << 20)
    _, pieces = results.stream_results(session, actor=user, job_id=job.id)
    tracemalloc.start()
    n_bytes = sum(len(piece) for piece in pieces)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_bytes > 64 << 20
    assert peak < 8 << 20


def test_a_job_without_an_adapter_still_has_results(session: Session, user: User, job: Job) -> None:
    names = unpack(results.stream_results(session, actor=user, job_id=job.id)).namelist()
    assert "metrics.csv" in names
    assert "README.md" not in names


def test_tensorboards_files_alone(session: Session, user: User, stranger: User, job: Job) -> None:
    names = unpack(results.stream_tensorboard(session, actor=user, job_id=job.id)).namelist()
    assert len(names) == 3
    with pytest.raises(NotFound):
        results.stream_tensorboard(session, actor=stranger, job_id=job.id)
    with pytest.raises(NotFound):
        results.stream_results(session, actor=stranger, job_id=job.id)


def test_a_job_that_has_not_begun_has_none_for_tensorboard(session: Session, user: User) -> None:
    job = make_finished_job(session, user)
    with pytest.raises(NotFound, match="not begun"):
        results.stream_tensorboard(session, actor=user, job_id=job.id)
