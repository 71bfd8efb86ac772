"""Damaged files and full disks while datasets are taken in; each test is one line of the table of faults."""

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from sqlalchemy import event
from sqlmodel import select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Task
from qlora_studio.db import engine
from qlora_studio.db.models import Clip, Dataset
from qlora_studio.ingest import examining, pipeline, staging
from qlora_studio.ingest.decoding import DecoderPool
from qlora_studio.ingest.names import clean_name
from qlora_studio.storage import layout
from tests.ingest import sounds

FRAGILE_DECODER = textwrap.dedent(
    """
    import os, signal, sys, time
    from qlora_studio.audio import decode
    from qlora_studio.ingest import decoder
    real = decode.inspect
    def inspect(path, **options):
        start = path.read_bytes()[:5]
        if start == b"CRASH": os.kill(os.getpid(), signal.SIGSEGV)
        if start == b"HANGS": time.sleep(60)
        if start == b"EATS ": bytearray(64 << 30)
        return real(path, **options)
    decode.inspect = inspect
    decoder.main()
    """
)
ODD_NAMES = (
    "näive café ☕.wav", "..\\..\\x.wav", "-rf.wav", "CON.wav", "a" * 300 + ".wav", "\u202egnp.wav",
    "$(touch x).wav", "=cmd().wav", "<script>.wav", "no ending", "two..dots.wav", " .wav",
)  # fmt: skip


@pytest.fixture
def dataset(session, user) -> Dataset:
    dataset = Dataset(
        owner_id=user.id, name="d", task=Task.AUDIO_CLASSIFICATION, status=DatasetStatus.PROCESSING,
        source={"kind": "upload"},
    )  # fmt: skip
    session.add(dataset)
    session.commit()
    return dataset


def stage(dataset: Dataset, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        with staging.Receiver(dataset.id, name, start=0, size=len(content), max_bytes=1 << 30) as receiver:
            receiver.write(content)
            receiver.finish()


def load(dataset: Dataset) -> tuple[Dataset, dict[str, Clip]]:
    with engine.read() as session:
        clips = session.exec(select(Clip).where(Clip.dataset_id == dataset.id)).all()
        return session.get_one(Dataset, dataset.id), {clip.filename: clip for clip in clips}


def taken_in_again(dataset: Dataset) -> Dataset:
    with engine.write() as session:
        session.get_one(Dataset, dataset.id).status = DatasetStatus.PROCESSING
    pipeline.run(dataset.id)
    return load(dataset)[0]


@pytest.mark.slow
@pytest.mark.fault(
    "F18",
    "files that are empty, cut, lying, silent, odd, or crash the decoder",
    "a verdict for each; ready with honest counts",
)
def test_f18_every_damaged_file_has_its_verdict_and_the_counts_are_honest(dataset, monkeypatch):
    fragile = partial(DecoderPool, command=[sys.executable, "-c", FRAGILE_DECODER], min_limit_s=3.0)
    monkeypatch.setattr(pipeline, "DecoderPool", fragile)
    bad = sounds.bad_files() | {
        "crashes.wav": (b"CRASH" + b"\0" * 99, "Crashes the decoder (signal 11)"),
        "hangs.wav": (b"HANGS" + b"\0" * 99, "Hangs the decoder: not done after 3 s"),
        "eats.wav": (b"EATS " + b"\0" * 99, "Too large"),
    }
    good = {clean_name(name): sounds.wav(0.2, pitch=200 + i) for i, name in enumerate(ODD_NAMES)}
    good["wide.wav"] = sounds.wav(0.2, rate=192_000, channels=8)
    stage(dataset, {name: content for name, (content, _) in bad.items()} | good)
    stage(dataset, {"silent.wav": sounds.wav(0.2, level=0.0)})
    pipeline.run(dataset.id)
    result, clips = load(dataset)
    assert result.status is DatasetStatus.READY
    assert (result.n_clips, result.n_excluded, result.n_rejected) == (len(good), 1, len(bad))
    assert result.progress_done == result.progress_total == len(clips) == len(good) + 1 + len(bad)
    assert result.duration_s == pytest.approx(0.2 * len(good))
    for name, (_, reason) in bad.items():
        assert clips[name].status is ClipStatus.REJECTED, name
        assert (clips[name].reason or "").startswith(reason), (name, clips[name].reason)
        assert clips[name].sha256 == "", "nothing of it is kept"
    for name, content in good.items():
        assert clips[name].status is ClipStatus.OK, (name, clips[name].reason)
        assert layout.blob_path(clips[name].sha256).read_bytes() == content
    assert (clips["silent.wav"].status, clips["silent.wav"].fingerprint) == (ClipStatus.EXCLUDED, b"")
    kept = [path for path in (layout.data_path() / "blobs").rglob("*") if path.is_file()]
    assert len(kept) == len(good) + 1


def full(*_args, **_options):
    raise OSError(28, "No space left on device")


@pytest.mark.fault("F8", "disk full while a dataset is taken in", "said so, what came is kept; goes on later")
@pytest.mark.parametrize("place", ["an original", "the sync", "gathering"])
@pytest.mark.slow
def test_f8_a_full_disk_is_said_and_everything_received_is_kept(dataset, monkeypatch, place):
    files = {f"{n}.wav": sounds.wav(0.1, pitch=200 + n) for n in range(6)}
    stage(dataset, files)
    with monkeypatch.context() as broken:
        if place == "an original":
            left = iter(range(3))
            keep = examining.blobs.keep
            broken.setattr(
                examining.blobs, "keep", lambda *args: keep(*args) if next(left, None) is not None else full()
            )
        else:
            broken.setattr(
                *((pipeline.blobs, "make_durable") if place == "the sync" else (pipeline, "match")), full
            )
        pipeline.run(dataset.id)
    failed, _ = load(dataset)
    assert failed.status is DatasetStatus.ERROR
    assert "disk is full" in failed.error
    assert "kept" in failed.error
    assert {item.name for item in staging.list_received(dataset.id) if item.is_complete} == set(files)
    result = taken_in_again(dataset)
    assert (result.status, result.n_clips, result.n_rejected) == (DatasetStatus.READY, 6, 0)


@contextmanager
def no_room_in_the_database() -> Iterator[None]:
    """Whatever this process writes to the database, it may not grow."""
    database = engine.get_engine()

    def bound(connection, _record, _proxy):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def free(connection, _record, _proxy):
        connection.execute("PRAGMA max_page_count = 1073741823")

    event.listen(database, "checkout", bound)
    try:
        yield
    finally:
        event.remove(database, "checkout", bound)
        event.listen(database, "checkout", free)


@pytest.mark.fault("F9", "no room in the database while a dataset is taken in", "nothing lost; goes on later")
def test_f9_a_database_without_room_loses_nothing_and_the_work_goes_on_later(dataset):
    files = {f"{n}.wav": sounds.wav(0.5, pitch=200 + n) for n in range(40)}
    stage(dataset, files)
    with no_room_in_the_database():
        pipeline.run(dataset.id)
    failed, clips = load(dataset)
    assert failed.status is DatasetStatus.ERROR
    assert "full" in failed.error
    assert len(clips) < len(files)
    assert len(staging.list_received(dataset.id)) == len(files)
    result = taken_in_again(dataset)
    assert (result.status, result.n_clips) == (DatasetStatus.READY, len(files))
    assert list((layout.data_path() / "staging").iterdir()) == []
