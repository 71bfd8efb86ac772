"""A data folder with a little of everything, and backups of it."""

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, select

from qlora_studio.contracts.enums import JobStatus, TrainingType
from qlora_studio.core import secrets
from qlora_studio.core.settings import get_settings
from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import Adapter, Clip, HubPush, Job, QueueState, User
from qlora_studio.jobs import liveness
from qlora_studio.modelfiles import prepare
from qlora_studio.services import backups, restoring
from qlora_studio.storage import checkpoints, layout
from qlora_studio.storage.backup_archive import FILES
from tests.jobs.workbench import make_dataset, make_model, spec_data

Make = Callable[..., backups.MadeBackup]
Restore = Callable[..., restoring.Restored]


@pytest.fixture
def lived_in(session: Session, user: User, tmp_path: Path) -> Job:
    """A little of everything, and a job that runs."""
    data = layout.data_path()
    secrets.seal("a key")
    dataset, model = make_dataset(session, user), make_model(session, user)
    for clip in session.exec(select(Clip)):
        write(layout.blob_path(clip.sha256), clip.sha256.encode())
    weights = write(tmp_path / "elsewhere" / "weights.bin", b"w" * 5000)
    (Path(model.path) / "weights.bin").symlink_to(weights)
    model.details = {
        "files": [
            {"name": "weights.bin", "path": str(weights), "size_bytes": 5000, "sha256": sha(b"w" * 5000)}
            | {"mtime_ns": weights.stat().st_mtime_ns}
        ]
    }
    model.content_hash = prepare.content_hash(Path(model.path), model.details["files"])
    job = Job(
        owner_id=user.id, name="night", model_id=model.id, dataset_id=dataset.id, dataset_version=1,
        spec=spec_data(dataset, model), status=JobStatus.RUNNING, boot_id=liveness.boot_id(),
        training_type=TrainingType.QLORA,
    )  # fmt: skip
    session.add_all([model, job])
    session.flush()
    run = layout.run_path(job.id)
    line = {"id": "c", "path": str(layout.blob_path("0" * 64)), "text": str(data), "split": "train"}
    write(run / "clips.jsonl", json.dumps(line).encode() + b"\n")
    write(run / "config.yaml", b"name: night\n")
    write(run / "attempt-1" / "shim.json", b"{}")
    write(run / "attempt-1" / "shim.lock", b"")
    checkpoints.save(
        run / "checkpoints", step=10, fill=lambda folder: void((folder / "x").write_bytes(b"x")), state={}
    )
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        write(run / "adapter" / name, b"{}")
    adapter = Adapter(owner_id=user.id, name="a", base_model_id=model.id, path=str(run / "adapter"))
    session.add(adapter)
    session.flush()
    session.add(HubPush(owner_id=user.id, adapter_id=adapter.id, repo_id="ada/night", status="running"))
    session.add(QueueState(boot_id=liveness.boot_id()))
    session.commit()
    for name in (
        "staging/ds_1/files/half.wav", "spectrograms/p.png", "trials/u/c.f32", "rehearsal.slot",
        "server.lock",
        f"runs/{job.id}/checkpoints/.partial-step-00000020/x", f"runs/{job.id}/.adapter.partial/x",
        f"blobs/00/.{'0' * 64}.77.partial",
    ):  # fmt: skip
        write(data / name, b"half")
    return job


@pytest.fixture
def back_up(data_folder: Path, tmp_path: Path) -> Make:
    def run(target: Path | None = None, **options: Any) -> backups.MadeBackup:
        settings = get_settings()
        return backups.make_backup(
            target=target or tmp_path / "backup.zip",
            data_path=settings.data_path,
            database_url=settings.resolved_database_url,
            **options,
        )

    return run


@pytest.fixture
def restore(database_to_fill: str) -> Restore:
    def run(source: Path, into: Path, **options: Any) -> restoring.Restored:
        return restoring.restore_backup(source=source, into=into, database_url=database_to_fill, **options)

    return run


@contextmanager
def opened(done: restoring.Restored, database_url: str) -> Iterator[Engine]:
    """The database that was restored."""
    engine = make_engine(database_url or f"sqlite:///{done.folder / 'studio.db'}")
    try:
        yield engine
    finally:
        engine.dispose()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def sha(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def void(_: object) -> None:
    """For a function that is to return nothing."""


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return {name.removeprefix(FILES) for name in opened.namelist()}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
