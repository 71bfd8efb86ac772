"""Backup and restore of a data folder in this process; real servers and jobs: `tests/faults/`."""

import json
import os
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import JobStatus, TrainingType
from qlora_studio.core import secrets
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound, StorageFull, StudioError, Unavailable
from qlora_studio.core.settings import get_settings
from qlora_studio.db import dumps, migrations
from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import Adapter, BaseAudioModel, Clip, HubPush, Job, QueueState, User
from qlora_studio.jobs import liveness
from qlora_studio.modelfiles import prepare
from qlora_studio.services import backup_contents, backups, models, restoring
from qlora_studio.storage import backup_archive, checkpoints, holding, layout
from qlora_studio.storage.backup_archive import FILES, MANIFEST
from tests.jobs.workbench import make_dataset, make_model, spec_data

Make = Callable[..., backups.MadeBackup]


@pytest.fixture
def world(session: Session, user: User, tmp_path: Path) -> Job:
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
def make(data_folder: Path, tmp_path: Path) -> Make:
    def run(target: Path | None = None, **options: Any) -> backups.MadeBackup:
        settings = get_settings()
        return backups.make_backup(
            target=target or tmp_path / "backup.zip",
            data_path=settings.data_path,
            database_url=settings.resolved_database_url,
            **options,
        )

    return run


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


def test_everything_comes_back_in_another_place(
    world: Job, make: Make, tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make()
    assert made.missing == []
    assert restoring.check_backup(source=made.path).revision == migrations.newest()
    there = tmp_path / "other" / "data"
    done = restoring.restore_backup(source=made.path, into=there)
    assert (done.folder, done.n_jobs_lost, done.aside) == (there, 1, None)
    assert (there / "secret.key").read_bytes() == (data_folder / "secret.key").read_bytes()
    assert stat.S_IMODE((there / "secret.key").stat().st_mode) == 0o600
    assert there.stat().st_mode == data_folder.stat().st_mode
    engine = make_engine(f"sqlite:///{there / 'studio.db'}")
    assert dumps.find_damage(engine) is None
    named = backup_contents.find_named(engine, there)
    assert len(named) == 9 + 2 + 2 + 2
    assert [name for name in named if not (there / name).is_file()] == []
    with Session(engine) as session:
        model = session.exec(select(BaseAudioModel)).one()
        prepare.check_unchanged(Path(model.path), model.details["files"], model.content_hash)
        assert Path(model.path).is_relative_to(there)
        assert Path(session.exec(select(Adapter)).one().path).is_relative_to(there)
        assert session.exec(select(HubPush.status)).one() == "failed"
        assert session.exec(select(Job.boot_id)).one() == liveness.RESTORED
        assert session.exec(select(QueueState.boot_id)).one() == liveness.RESTORED
    engine.dispose()
    clip = json.loads((there / "runs" / world.id / "clips.jsonl").read_text())
    assert Path(clip["path"]).is_file()
    assert Path(clip["path"]).is_relative_to(there)
    assert clip["text"] == str(data_folder), "what people wrote stays as it is"
    assert checkpoints.find_newest_whole(there / "runs" / world.id / "checkpoints") is not None


def test_what_is_half_written_or_of_a_process_stays_behind(world: Job, make: Make) -> None:
    kept = names(make().path)
    assert not [name for name in kept if ".partial" in name or name.endswith((".lock", ".slot"))]
    assert not {name.partition("/")[0] for name in kept} & {"staging", "spectrograms", "trials"}
    assert {"secret.key", "studio.db", MANIFEST, f"runs/{world.id}/attempt-1/shim.json"} <= kept


def test_the_file_is_its_owners_alone_and_replaces_none_unasked(
    world: Job, make: Make, tmp_path: Path
) -> None:
    made = make()
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    with pytest.raises(Conflict, match="--replace"):
        make()
    assert make(replace=True).path == made.path
    folder = tmp_path / "many"
    folder.mkdir()
    dated = make(folder).path
    assert dated.parent == folder
    assert dated.suffix == ".zip"
    assert list(folder.iterdir()) == [dated], "nothing else is left there"


def test_places_that_make_no_sense_are_refused(
    world: Job, make: Make, tmp_path: Path, data_folder: Path
) -> None:
    with pytest.raises(InvalidInput, match="Name another place"):
        make(data_folder / "backup.zip")
    with pytest.raises(InvalidInput, match="Make it first"):
        make(tmp_path / "nowhere" / "backup.zip")
    with pytest.raises(InvalidInput, match="that ends in"):
        make(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="QLORA_STUDIO_DATA"):
        backups.make_backup(
            target=tmp_path / "b.zip",
            data_path=tmp_path / "no",
            database_url=f"sqlite:///{tmp_path}/no/studio.db",
        )


# -- while others write ------------------------------------------------------------------------------------


def on_reading(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], None]) -> None:
    """Do something once, just before a file of that name is added."""
    add = backup_archive.ArchiveWriter.add
    left = [act]

    def adding(self: Any, added: str, source: Any) -> Any:
        if added.endswith(name) and left:
            left.pop()()
        return add(self, added, source)

    monkeypatch.setattr(backup_archive.ArchiveWriter, "add", adding)


def test_what_is_deleted_meanwhile_is_named_by_no_row(
    world: Job, session: Session, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = session.exec(select(Clip).order_by(col(Clip.position))).all()[-1]
    late = write(layout.run_path("job_late") / "clips.jsonl", b"").parent

    def delete() -> None:
        """A row and a file, as the server does: and something else with it that nobody named."""
        clip = session.get_one(Clip, gone.id)
        session.delete(clip)
        session.commit()
        layout.blob_path(gone.sha256).unlink()
        late.joinpath("clips.jsonl").unlink()
        late.rmdir()

    monkeypatch.setattr(backup_contents, "BULK", ())  # so that the database comes before all files
    on_reading(monkeypatch, layout.blob_path("0" * 64).name, delete)
    made = make()
    assert made.missing == []
    done = restoring.restore_backup(source=made.path, into=tmp_path / "there")
    with closing(sqlite3.connect(done.folder / "studio.db")) as opened:
        assert opened.execute("SELECT count(*) FROM clip WHERE id = ?", [gone.id]).fetchone() == (0,)


def test_what_is_added_meanwhile_is_there_for_every_row(
    world: Job, session: Session, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = session.exec(select(Clip.dataset_id)).first()

    def add() -> None:
        clip = Clip(dataset_id=dataset_id, position=99, filename="new", sha256="f" * 64, status="ok")  # type: ignore[arg-type]
        write(layout.blob_path(clip.sha256), b"new")
        session.add(clip)
        session.commit()

    on_reading(monkeypatch, "adapter_config.json", add)
    assert make().missing == []


def test_a_folder_that_is_swapped_meanwhile_is_never_half_old_and_half_new(
    world: Job, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = layout.run_path(world.id) / "adapter"

    def swap() -> None:
        adapter.rename(adapter.with_name(".adapter.old"))
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            write(adapter / name, b"new")

    on_reading(monkeypatch, "adapter_model.safetensors", swap)
    made = make()
    with zipfile.ZipFile(made.path) as opened:
        found = {n: opened.read(n) for n in opened.namelist() if f"{world.id}/adapter/" in n}
    assert set(found.values()) == {b"new"}
    assert len(found) == 2


def test_one_checkpoint_comes_along_however_fast_they_are_dropped(
    world: Job, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = layout.run_path(world.id) / "checkpoints"

    def save() -> None:
        checkpoints.save(folder, step=30, fill=lambda f: void((f / "x").write_bytes(b"30")), state={}, keep=1)

    on_reading(monkeypatch, "step-00000010/x", save)
    done = restoring.restore_backup(source=make().path, into=tmp_path / "there")
    newest = checkpoints.find_newest_whole(done.folder / "runs" / world.id / "checkpoints")
    assert newest is not None
    assert newest[0] == 30


def test_the_end_of_a_run_is_never_newer_than_its_adapter(
    world: Job, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = layout.run_path(world.id)

    def finish() -> None:
        write(run / "adapter" / "adapter_model.safetensors", b"the last one")
        write(run / "attempt-1" / "result.json", b"{}")

    on_reading(monkeypatch, "attempt-1/shim.json", finish)
    kept = names(make().path)
    assert f"runs/{world.id}/attempt-1/result.json" not in kept


def test_what_was_gone_before_is_told_and_fails_nothing(world: Job, make: Make) -> None:
    layout.blob_path("0" * 64).unlink()
    assert make().missing == [f"blobs/00/{'0' * 64}"]


def test_a_former_database_of_the_folder_stays_behind(world: Job, tmp_path: Path) -> None:
    data = layout.data_path()
    dumps.take(get_settings().resolved_database_url, tmp_path / "now.db")
    write(data / "studio.db", b"of last year")
    made = backups.make_backup(
        target=tmp_path / "b.zip", data_path=data, database_url=f"sqlite:///{tmp_path / 'now.db'}"
    )
    done = restoring.restore_backup(source=made.path, into=tmp_path / "there")
    assert (done.folder / "studio.db").read_bytes()[:6] == b"SQLite"


def test_a_name_that_could_not_be_restored_is_told_at_once(world: Job, make: Make) -> None:
    write(layout.data_path() / "a\\b", b"x")
    with pytest.raises(StudioError, match="Rename it"):
        make()


def test_a_full_disk_leaves_nothing_behind(
    world: Job, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.setattr(backup_archive.ArchiveWriter, "add", full)
    with pytest.raises(StorageFull, match="another disk"):
        make(folder / "b.zip")
    assert list(folder.iterdir()) == []


def test_what_a_killed_backup_left_goes_with_the_next(world: Job, make: Make, tmp_path: Path) -> None:
    left = [tmp_path / f".backup.zip.{end}" for end in ("4194303.partial", "db.4194303.partial-wal")]
    ours = tmp_path / f".backup.zip.{os.getppid()}.partial"
    for path in (*left, ours):
        path.write_bytes(b"half")
    make()
    assert not any(path.exists() for path in left)
    assert ours.exists()


# -- refusals ----------------------------------------------------------------------------------------------


def changed(source: Path, target: Path, change: Callable[[str, bytes], tuple[Any, bytes] | None]) -> Path:
    """A copy of a backup in which each member is what `change` makes of it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            member = change(name, old.read(name))
            if member is not None:
                new.writestr(*member)
    return target


def json_with(data: bytes, **values: Any) -> bytes:
    return json.dumps(json.loads(data) | values).encode()


def with_manifest(source: Path, target: Path, **values: Any) -> Path:
    return changed(
        source,
        target,
        lambda name, data: (
            name,
            json_with(data, **values) if name == MANIFEST else data,
        ),
    )


def refused(source: Path, into: Path, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        restoring.restore_backup(source=source, into=into)
    assert not into.exists()
    assert not [p for p in into.parent.iterdir() if p.name.startswith(f".{into.name}")]


def test_a_changed_a_short_and_a_strange_file_are_refused(world: Job, make: Make, tmp_path: Path) -> None:
    made, into = make().path, tmp_path / "there"
    flipped = bytearray(made.read_bytes())
    at = flipped.find(b"w" * 100)
    flipped[at] ^= 1
    (tmp_path / "flipped.zip").write_bytes(flipped)
    refused(tmp_path / "flipped.zip", into, "weights.bin is damaged")
    (tmp_path / "short.zip").write_bytes(made.read_bytes()[:-4000])
    refused(tmp_path / "short.zip", into, "cut short")
    other = changed(
        made, tmp_path / "o.zip", lambda n, d: (n, b"v" * 5000 if n.endswith("weights.bin") else d)
    )
    refused(other, into, "not as it was")
    refused(changed(made, tmp_path / "l.zip", lambda n, d: None if "weights" in n else (n, d)), into, "list")
    refused(
        changed(made, tmp_path / "m.zip", lambda n, d: None if n == MANIFEST else (n, d)), into, "no backup"
    )
    with pytest.raises(NotFound):
        restoring.restore_backup(source=tmp_path / "none.zip", into=into)


@pytest.mark.parametrize(
    "name", ["files/../out", "/out", "files//out", "files/./out", "files/studio.db-wal", "out"]
)
def test_names_that_lead_elsewhere_are_refused(world: Job, make: Make, tmp_path: Path, name: str) -> None:
    made = make().path
    file = {"name": name, "size_bytes": 1, "sha256": sha(b"x"), "mode": 0o644, "mtime_ns": 0}
    manifest = json.loads(zipfile.ZipFile(made).read(MANIFEST))
    bad = with_manifest(made, tmp_path / "bad.zip", files=[*manifest["files"], file])
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr(name, b"x")
    refused(bad, tmp_path / "there", "bad.zip can't be restored")
    assert not (tmp_path / "out").exists()


def test_links_in_the_zip_are_refused(world: Job, make: Make, tmp_path: Path) -> None:
    def link(name: str, data: bytes) -> tuple[Any, bytes]:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        return (info, data) if name.endswith("weights.bin") else (name, data)

    refused(changed(make().path, tmp_path / "l.zip", link), tmp_path / "there", "symbolic link")


def test_a_newer_schema_is_refused_and_says_what_to_install(world: Job, make: Make, tmp_path: Path) -> None:
    newer = with_manifest(make().path, tmp_path / "n.zip", revision="9999", product_version="7.0")
    refused(newer, tmp_path / "there", "Install 7.0 or newer")


def test_rows_that_name_nothing_are_damage(world: Job, make: Make, session: Session, tmp_path: Path) -> None:
    with closing(sqlite3.connect(layout.data_path() / "studio.db")) as opened:
        opened.execute("UPDATE job SET model_id = 'mod_none'")
        opened.commit()
    refused(make().path, tmp_path / "there", "damaged: a row of job")


def test_an_older_schema_is_restored_and_brought_up_to_date_by_the_next_start(
    data_folder: Path, tmp_path: Path
) -> None:
    from alembic import command

    old = tmp_path / "old"
    old.mkdir()
    url = f"sqlite:///{old / 'studio.db'}"
    engine = make_engine(url)
    command.upgrade(migrations.make_config(engine), "0001")
    engine.dispose()
    made = backups.make_backup(target=tmp_path / "old.zip", data_path=old, database_url=url)
    assert made.revision == "0001"
    done = restoring.restore_backup(source=made.path, into=tmp_path / "there")
    engine = make_engine(f"sqlite:///{done.folder / 'studio.db'}")
    migrations.upgrade(engine)
    assert migrations.is_current(engine)
    engine.dispose()


def test_a_folder_that_holds_something_is_moved_aside_and_only_when_asked(
    world: Job, make: Make, tmp_path: Path
) -> None:
    made, there = make().path, tmp_path / "there"
    write(there / "mine.txt", b"mine")
    with pytest.raises(Conflict, match="--replace"):
        restoring.restore_backup(source=made, into=there)
    assert tree(there) == {"mine.txt": b"mine"}
    done = restoring.restore_backup(source=made, into=there, replace=True)
    assert done.aside is not None
    assert tree(done.aside) == {"mine.txt": b"mine"}
    assert (there / "studio.db").is_file()
    assert not (there / "mine.txt").exists()


def test_a_folder_in_use_is_refused(world: Job, make: Make, data_folder: Path, tmp_path: Path) -> None:
    made = make().path
    before = tree(data_folder)

    def refuse(match: str) -> None:
        with pytest.raises(Conflict, match=match):
            restoring.restore_backup(source=made, into=data_folder, replace=True)

    with held_elsewhere(data_folder / "server.lock"):
        refuse("Stop it, and restore again")
    with held_elsewhere(data_folder / "supervisor.lock"):
        refuse("supervisor")
    with held_elsewhere(layout.attempt_path(world.id, 1) / "shim.lock"):
        refuse(f"jobs stop {world.id}")
    for name in ("server.lock", "supervisor.lock"):
        (data_folder / name).unlink()
        before.pop(name, None)
    assert tree(data_folder) == before
    holding.hold(data_folder, port=1)  # nobody holds it now
    holding.let_go(data_folder)


class held_elsewhere:
    """A lock that another open file holds, as another process would."""

    def __init__(self, path: Path) -> None:
        import fcntl

        self._file = path.open("a")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._file.close()


# -- PostgreSQL --------------------------------------------------------------------------------------------


def test_without_its_tools_postgresql_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="postgresql-client"):
        dumps.take("postgresql+psycopg://ada:secret@nowhere/studio", tmp_path / "d")


def test_the_password_of_postgresql_goes_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = write(tmp_path / "bin" / "pg_dump", b'#!/bin/sh\necho "$@ [$PGPASSWORD]" >&2\nexit 1\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    with pytest.raises(StudioError) as caught:
        dumps.take("postgresql+psycopg://ada:se%20cret@host:5433/studio", tmp_path / "d")
    assert "postgresql://ada@host:5433/studio" in caught.value.message
    assert "[se cret]" in caught.value.message


def test_a_backup_goes_into_the_kind_of_database_that_it_holds(
    world: Job, make: Make, tmp_path: Path
) -> None:
    made = make().path
    with pytest.raises(Conflict, match="Unset it"):
        restoring.restore_backup(source=made, into=tmp_path / "a", database_url="postgresql://host/x")
    postgres = changed(
        made,
        tmp_path / "p.zip",
        lambda n, d: ("studio.pgdump" if n == "studio.db" else n, d.replace(b"studio.db", b"studio.pgdump")),
    )
    postgres = with_manifest(postgres, tmp_path / "q.zip", database="postgresql")
    with pytest.raises(Conflict, match="createdb"):
        restoring.restore_backup(source=postgres, into=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_worlds_models_can_be_used_at_once(
    world: Job, make: Make, tmp_path: Path, session: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The starter as the product adds it, checked by the product in its new place."""
    starter = models.add_starter(session, actor=user)
    session.commit()
    done = restoring.restore_backup(source=make().path, into=tmp_path / "there")
    engine = make_engine(f"sqlite:///{done.folder / 'studio.db'}")
    with Session(engine) as there:
        row = there.get_one(BaseAudioModel, starter.id)
        prepare.check_unchanged(Path(row.path), row.details["files"], row.content_hash)
        assert Path(row.path).is_relative_to(done.folder)
    engine.dispose()
