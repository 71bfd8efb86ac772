"""From files in staging to a dataset with honest counts."""

import os
import signal
import threading
import time

import pytest
from sqlmodel import select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Split, Task
from qlora_studio.db import engine
from qlora_studio.db.models import Clip, Dataset, User
from qlora_studio.ingest import launching, pipeline, staging
from qlora_studio.storage import layout
from tests.ingest import sounds


def stage(dataset_id: str, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        with staging.Receiver(dataset_id, name, start=0, size=len(content), max_bytes=1 << 30) as receiver:
            receiver.write(content)
            receiver.finish()


@pytest.fixture
def dataset(session, user):
    dataset = Dataset(
        owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT, status=DatasetStatus.PROCESSING,
        source={"kind": "upload"},
    )  # fmt: skip
    session.add(dataset)
    session.commit()
    return dataset


def by_name(dataset) -> dict[str, Clip]:
    with engine.read() as session:
        clips = session.exec(select(Clip).where(Clip.dataset_id == dataset.id)).all()
    return {clip.filename: clip for clip in clips}


def taken_in(dataset) -> tuple[Dataset, dict[str, Clip]]:
    pipeline.run(dataset.id)
    with engine.read() as session:
        clips = session.exec(select(Clip).where(Clip.dataset_id == dataset.id)).all()
        return session.get_one(Dataset, dataset.id), {c.filename: c for c in clips}


def test_bad_files_cost_themselves_only(dataset):
    bad = sounds.bad_files()
    good = {f"good-{i}.wav": sounds.wav(0.2, pitch=200 + i) for i in range(5)}
    silent = {"silent.wav": sounds.wav(0.2, level=0.0)}
    stage(dataset.id, {name: content for name, (content, _) in bad.items()} | good | silent)
    result, clips = taken_in(dataset)
    assert result.status is DatasetStatus.READY
    assert (result.n_clips, result.n_excluded, result.n_rejected) == (5, 1, len(bad))
    assert result.duration_s == pytest.approx(1.0)
    assert (result.progress_done, result.progress_total) == (len(clips), len(clips))
    for name, (_, reason) in bad.items():
        assert clips[name].status is ClipStatus.REJECTED
        assert clips[name].reason.startswith(reason)
    assert clips["silent.wav"].status is ClipStatus.EXCLUDED
    kept = layout.blob_path(clips["good-0.wav"].sha256)
    assert kept.read_bytes() == good["good-0.wav"]
    assert not layout.staging_path(dataset.id).exists()


def test_a_zip_with_labels_and_a_refused_zip(dataset):
    table = b"file_name,text\na.wav,one\nb.wav,two\n"
    good = sounds.zipped(
        {"set/metadata.csv": table, "set/a.wav": sounds.wav(0.2), "set/b.wav": sounds.wav(0.3)}
    )
    stage(dataset.id, {"set.zip": good, "old.tar": b"\0" * 257 + b"ustar" + b"\0" * 250})
    result, clips = taken_in(dataset)
    assert result.status is DatasetStatus.READY
    assert {n: c.text for n, c in clips.items() if c.status is ClipStatus.OK} == {
        "a.wav": "one",
        "b.wav": "two",
    }
    assert {c.split for c in clips.values() if c.status is ClipStatus.OK} == {Split.TRAIN, Split.VALIDATION}
    assert clips["old.tar"].reason.startswith("Archive refused: tar")


def test_nothing_usable_is_an_error_that_says_why(dataset):
    stage(dataset.id, {"evil.zip": sounds.zipped({"../../evil.wav": b"x"})})
    result, clips = taken_in(dataset)
    assert result.status is DatasetStatus.ERROR
    assert "points outside" in result.error
    assert clips["evil.zip"].status is ClipStatus.REJECTED


def test_an_unreadable_table_is_an_error_and_keeps_the_files(dataset):
    stage(dataset.id, {"a.wav": sounds.wav(), "metadata.csv": b"who,what\n1,2\n"})
    result, _ = taken_in(dataset)
    assert result.status is DatasetStatus.ERROR
    assert "Its columns: who, what" in result.error
    assert len(staging.list_received(dataset.id)) == 2


def test_an_unfinished_upload_is_listed(dataset):
    stage(dataset.id, {"a.wav": sounds.wav()})
    with staging.Receiver(dataset.id, "half.wav", start=0, size=100, max_bytes=1000) as receiver:
        receiver.write(b"x" * 40)
    result, clips = taken_in(dataset)
    assert (result.n_clips, result.n_rejected) == (1, 1)
    assert clips["half.wav"].reason == "Upload not finished: 40 bytes came. Add the file again."


def test_taking_in_again_gives_the_same_content(dataset):
    stage(dataset.id, {f"{i}.wav": sounds.wav(0.1, pitch=100 + i) for i in range(10)})
    with engine.write() as session:
        session.add(Clip(dataset_id=dataset.id, position=0, filename="left by a killed run", text="old"))
    first, clips = taken_in(dataset)
    assert len(clips) == 10
    assert first.version == 1
    with engine.write() as session:
        session.get_one(Dataset, dataset.id).status = DatasetStatus.PROCESSING
    stage(dataset.id, {f"{i}.wav": sounds.wav(0.1, pitch=100 + i) for i in range(10)})
    second, _ = taken_in(dataset)
    assert (second.version, second.content_hash) == (1, first.content_hash)


def test_bytes_measured_before_are_not_decoded_again(dataset, monkeypatch):
    stage(dataset.id, {"a.wav": sounds.wav(0.2), "b.wav": sounds.wav(0.2)})
    taken_in(dataset)
    with engine.write() as session:
        again = Dataset(
            owner_id=dataset.owner_id, name="e", task=dataset.task, status=DatasetStatus.PROCESSING
        )
        session.add(again)
    decoded = []
    monkeypatch.setattr(
        pipeline.DecoderPool, "inspect_many", lambda _, paths: decoded.extend(paths) or iter(())
    )
    stage(again.id, {"c.wav": sounds.wav(0.2)})
    result, clips = taken_in(again)
    assert result.n_clips == 1
    assert decoded == []
    first = by_name(dataset)["a.wav"]
    for name in ("duration_s", "peak", "loudness_db", "peaks", "clipped_ratio", "fingerprint", "sample_rate"):
        assert getattr(clips["c.wav"], name) == getattr(first, name)


def test_a_full_disk_is_named_and_nothing_received_is_lost(dataset, monkeypatch):
    stage(dataset.id, {"a.wav": sounds.wav()})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipeline.blobs, "keep", full)
    result, _ = taken_in(dataset)
    assert result.status is DatasetStatus.ERROR
    assert "disk is full" in result.error
    assert [item.is_complete for item in staging.list_received(dataset.id)] == [True]


def test_a_dataset_deleted_meanwhile_leaves_nothing(dataset, monkeypatch):
    stage(dataset.id, {"a.wav": sounds.wav()})

    def delete_first(*_):
        with engine.write() as session:
            session.delete(session.get_one(Dataset, dataset.id))

    monkeypatch.setattr(
        pipeline, "match", lambda *a, original=pipeline.match, **k: (delete_first(), original(*a, **k))[1]
    )
    pipeline.run(dataset.id)
    assert not layout.staging_path(dataset.id).exists()
    with engine.read() as session:
        assert session.exec(select(Clip)).all() == []


def test_work_that_is_cut_short_leaves_no_originals_behind(dataset, monkeypatch):
    """Deleted after clips were examined, and before they were in the database."""
    stage(dataset.id, {f"{i}.wav": sounds.wav(0.1, pitch=100 + i) for i in range(4)})

    def gone(*_):
        raise pipeline.DatasetGone

    monkeypatch.setattr(pipeline, "_flush", gone)
    pipeline.run(dataset.id)
    assert [p for p in (layout.data_path() / "blobs").rglob("*") if p.is_file()] == []


def test_a_process_that_cannot_be_started_is_an_error(dataset, monkeypatch):
    def full(*_args, **_options):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(launching.subprocess, "Popen", full)
    launching.launch(dataset.id)
    assert "can't be started" in _load(dataset.id).error


def test_a_server_folder_is_read_without_following_links_out(dataset, tmp_path, monkeypatch):
    root, outside = tmp_path / "root", tmp_path / "outside"
    sounds.write(root / "set", {"a.wav": sounds.wav(0.2), "b.wav": sounds.wav(0.3), ".hidden.wav": b"x"})
    sounds.write(outside, {"secret.wav": sounds.wav(0.4), "folder/deep.wav": sounds.wav(0.5)})
    (root / "set" / "link.wav").symlink_to(outside / "secret.wav")
    (root / "set" / "linked").symlink_to(outside / "folder")
    os.mkfifo(root / "set" / "pipe.wav")
    monkeypatch.setenv("QLORA_STUDIO_DATASET_ROOTS", str(root))
    pipeline.get_settings.cache_clear()
    with engine.write() as session:
        session.get_one(Dataset, dataset.id).source = {"kind": "folder", "path": str(root / "set")}
    result, clips = taken_in(dataset)
    assert result.n_clips == 2
    assert {n: c.reason.partition(":")[0] for n, c in clips.items() if c.reason} == {
        "link.wav": "Outside", "linked": "Not a plain file", "pipe.wav": "Not a plain file",
    }  # fmt: skip
    assert (root / "set" / "a.wav").exists(), "the original stays"


@pytest.mark.parametrize("kind", ["folder", "example"])
def test_a_folder_larger_than_the_accounts_space_is_no_way_around_it(dataset, tmp_path, monkeypatch, kind):
    sounds.write(tmp_path / "root", {"a.wav": sounds.wav(0.2), "b.wav": sounds.wav(0.3)})
    monkeypatch.setenv("QLORA_STUDIO_DATASET_ROOTS", str(tmp_path / "root"))
    pipeline.get_settings.cache_clear()
    with engine.write() as session:
        session.get_one(User, dataset.owner_id).max_bytes = 7000
        session.get_one(Dataset, dataset.id).source = {"kind": kind, "path": str(tmp_path / "root")}
    result, clips = taken_in(dataset)
    assert (result.status, clips) == (DatasetStatus.ERROR, {})
    assert "no room for" in result.error


def test_a_process_says_nothing_of_the_one_started_after_it(dataset, monkeypatch):
    class Failed:
        def wait(self) -> int:
            return 1

    older, newer = Failed(), Failed()
    monkeypatch.setitem(launching._processes, dataset.id, newer)
    launching._watch(dataset.id, older)
    assert _load(dataset.id).status is DatasetStatus.PROCESSING
    launching._watch(dataset.id, newer)
    assert _load(dataset.id).status is DatasetStatus.ERROR


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_an_error_and_can_be_started_again(dataset, monkeypatch):
    stage(dataset.id, {"a.wav": sounds.wav()})
    with pipeline._exclusive(dataset.id):  # the process waits for the lock, so it can be killed in time
        launching.launch(dataset.id)
        process = launching._processes[dataset.id]
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    error = _until(lambda: _load(dataset.id).error)
    assert "signal 9" in error
    with engine.write() as session:
        session.get_one(Dataset, dataset.id).status = DatasetStatus.PROCESSING
    launching.launch(dataset.id)
    assert launching.wait(dataset.id, 120)
    assert _load(dataset.id).status is DatasetStatus.READY


def test_two_at_once_take_in_once(dataset):
    stage(dataset.id, {f"{i}.wav": sounds.wav(0.1, pitch=100 + i) for i in range(5)})
    threads = [threading.Thread(target=pipeline.run, args=(dataset.id,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    result, clips = taken_in(dataset)
    assert (result.status, result.version, len(clips)) == (DatasetStatus.READY, 1, 5)


def _load(dataset_id: str) -> Dataset:
    with engine.read() as session:
        return session.get_one(Dataset, dataset_id)


def _until(probe, seconds: float = 60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.02)
    raise AssertionError("did not happen in time")
