"""A backup of a data folder in this process; real servers and jobs: `tests/faults/`."""

import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

from qlora_studio.core.errors import Conflict, InvalidInput, NotFound, StorageFull, StudioError
from qlora_studio.core.settings import get_settings
from qlora_studio.db import dumps, migrations
from qlora_studio.db.models import Adapter, BaseAudioModel, Clip, HubPush, Job, QueueState
from qlora_studio.jobs import liveness
from qlora_studio.modelfiles import prepare
from qlora_studio.services import backup_contents, backups, restoring
from qlora_studio.storage import backup_archive, checkpoints, layout
from qlora_studio.storage.backup_archive import DATABASES, MANIFEST
from tests.databases import is_sqlite
from tests.services.backup_world import Make, Restore, names, opened, void, write


def test_everything_comes_back_in_another_place(
    lived_in: Job, back_up: Make, restore: Restore, database_to_fill: str, tmp_path: Path, data_folder: Path
) -> None:
    made = back_up()
    assert made.missing == []
    assert restoring.check_backup(source=made.path).revision == migrations.newest()
    there = tmp_path / "other" / "data"
    done = restore(made.path, there)
    assert (done.folder, done.n_jobs_lost, done.aside) == (there, 1, None)
    assert (there / "secret.key").read_bytes() == (data_folder / "secret.key").read_bytes()
    assert stat.S_IMODE((there / "secret.key").stat().st_mode) == 0o600
    assert there.stat().st_mode == data_folder.stat().st_mode
    with opened(done, database_to_fill) as engine:
        assert dumps.find_damage(engine) is None
        named = backup_contents.find_named(engine, there)
    assert len(named) == 9 + 2 + 2 + 2
    assert [name for name in named if not (there / name).is_file()] == []
    with opened(done, database_to_fill) as engine, Session(engine) as session:
        model = session.exec(select(BaseAudioModel)).one()
        prepare.check_unchanged(Path(model.path), model.details["files"], model.content_hash)
        assert Path(model.path).is_relative_to(there)
        assert Path(session.exec(select(Adapter)).one().path).is_relative_to(there)
        assert session.exec(select(HubPush.status)).one() == "failed"
        assert session.exec(select(Job.boot_id)).one() == liveness.RESTORED
        assert session.exec(select(QueueState.boot_id)).one() == liveness.RESTORED
    clip = json.loads((there / "runs" / lived_in.id / "clips.jsonl").read_text())
    assert Path(clip["path"]).is_file()
    assert Path(clip["path"]).is_relative_to(there)
    assert clip["text"] == str(data_folder), "what people wrote stays as it is"
    assert checkpoints.find_newest_whole(there / "runs" / lived_in.id / "checkpoints") is not None


def test_what_is_half_written_or_of_a_process_stays_behind(lived_in: Job, back_up: Make) -> None:
    kept = names(back_up().path)
    database = DATABASES["sqlite" if is_sqlite() else "postgresql"]
    assert not [name for name in kept if ".partial" in name or name.endswith((".lock", ".slot"))]
    assert not {name.partition("/")[0] for name in kept} & {"staging", "spectrograms", "trials"}
    assert {"secret.key", database, MANIFEST, f"runs/{lived_in.id}/attempt-1/shim.json"} <= kept


def test_the_file_is_its_owners_alone_and_replaces_none_unasked(
    lived_in: Job, back_up: Make, tmp_path: Path
) -> None:
    made = back_up()
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    with pytest.raises(Conflict, match="--replace"):
        back_up()
    assert back_up(replace=True).path == made.path
    folder = tmp_path / "many"
    folder.mkdir()
    dated = back_up(folder).path
    assert dated.parent == folder
    assert dated.suffix == ".zip"
    assert list(folder.iterdir()) == [dated], "nothing else is left there"


def test_places_that_make_no_sense_are_refused(
    lived_in: Job, back_up: Make, tmp_path: Path, data_folder: Path
) -> None:
    with pytest.raises(InvalidInput, match="Name another place"):
        back_up(data_folder / "backup.zip")
    with pytest.raises(InvalidInput, match="Make it first"):
        back_up(tmp_path / "nowhere" / "backup.zip")
    with pytest.raises(InvalidInput, match="that ends in"):
        back_up(tmp_path / "nowhere")
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
    lived_in: Job,
    session: Session,
    back_up: Make,
    restore: Restore,
    database_to_fill: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
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
    made = back_up()
    assert made.missing == []
    done = restore(made.path, tmp_path / "there")
    with opened(done, database_to_fill) as engine, Session(engine) as restored:
        assert restored.get(Clip, gone.id) is None


def test_what_is_added_meanwhile_is_there_for_every_row(
    lived_in: Job, session: Session, back_up: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = session.exec(select(Clip.dataset_id)).first()

    def add() -> None:
        clip = Clip(dataset_id=dataset_id, position=99, filename="new", sha256="f" * 64, status="ok")  # type: ignore[arg-type]
        write(layout.blob_path(clip.sha256), b"new")
        session.add(clip)
        session.commit()

    on_reading(monkeypatch, "adapter_config.json", add)
    assert back_up().missing == []


def test_a_folder_that_is_swapped_meanwhile_is_never_half_old_and_half_new(
    lived_in: Job, back_up: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = layout.run_path(lived_in.id) / "adapter"

    def swap() -> None:
        adapter.rename(adapter.with_name(".adapter.old"))
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            write(adapter / name, b"new")

    on_reading(monkeypatch, "adapter_model.safetensors", swap)
    made = back_up()
    with zipfile.ZipFile(made.path) as archive:
        found = {n: archive.read(n) for n in archive.namelist() if f"{lived_in.id}/adapter/" in n}
    assert set(found.values()) == {b"new"}
    assert len(found) == 2


def test_one_checkpoint_comes_along_however_fast_they_are_dropped(
    lived_in: Job, back_up: Make, restore: Restore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = layout.run_path(lived_in.id) / "checkpoints"

    def save() -> None:
        checkpoints.save(folder, step=30, fill=lambda f: void((f / "x").write_bytes(b"30")), state={}, keep=1)

    on_reading(monkeypatch, "step-00000010/x", save)
    done = restore(back_up().path, tmp_path / "there")
    newest = checkpoints.find_newest_whole(done.folder / "runs" / lived_in.id / "checkpoints")
    assert newest is not None
    assert newest[0] == 30


def test_the_end_of_a_run_is_never_newer_than_its_adapter(
    lived_in: Job, back_up: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = layout.run_path(lived_in.id)

    def finish() -> None:
        write(run / "adapter" / "adapter_model.safetensors", b"the last one")
        write(run / "attempt-1" / "result.json", b"{}")

    on_reading(monkeypatch, "attempt-1/shim.json", finish)
    kept = names(back_up().path)
    assert f"runs/{lived_in.id}/attempt-1/result.json" not in kept


def test_what_was_gone_before_is_told_and_fails_nothing(lived_in: Job, back_up: Make) -> None:
    layout.blob_path("0" * 64).unlink()
    assert back_up().missing == [f"blobs/00/{'0' * 64}"]


@pytest.mark.sqlite("two files of it")
def test_a_former_database_of_the_folder_stays_behind(lived_in: Job, tmp_path: Path) -> None:
    data = layout.data_path()
    dumps.take(get_settings().resolved_database_url, tmp_path / "now.db")
    write(data / "studio.db", b"of last year")
    made = backups.make_backup(
        target=tmp_path / "b.zip", data_path=data, database_url=f"sqlite:///{tmp_path / 'now.db'}"
    )
    done = restoring.restore_backup(source=made.path, into=tmp_path / "there")
    assert (done.folder / "studio.db").read_bytes()[:6] == b"SQLite"


def test_a_name_that_could_not_be_restored_is_told_at_once(lived_in: Job, back_up: Make) -> None:
    write(layout.data_path() / "a\\b", b"x")
    with pytest.raises(StudioError, match="Rename it"):
        back_up()


def test_a_full_disk_leaves_nothing_behind(
    lived_in: Job, back_up: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.setattr(backup_archive.ArchiveWriter, "add", full)
    with pytest.raises(StorageFull, match="another disk"):
        back_up(folder / "b.zip")
    assert list(folder.iterdir()) == []


def test_what_a_killed_backup_left_goes_with_the_next(lived_in: Job, back_up: Make, tmp_path: Path) -> None:
    left = [tmp_path / f".backup.zip.{end}" for end in ("4194303.partial", "db.4194303.partial-wal")]
    ours = tmp_path / f".backup.zip.{os.getppid()}.partial"
    for path in (*left, ours):
        path.write_bytes(b"half")
    back_up()
    assert not any(path.exists() for path in left)
    assert ours.exists()
