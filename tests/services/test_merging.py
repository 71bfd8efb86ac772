"""Merging from the server's side: the process it starts, how far it is, cancelling, and what is kept."""

import fcntl
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import Role
from qlora_studio.contracts.merging import MergeReport
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound, StorageFull, TooLarge
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, User
from qlora_studio.ingest import quota, staging
from qlora_studio.services import adapters, audit, merging, model_intake, models
from qlora_studio.storage import layout
from tests.conftest import make_user

REPORT = MergeReport(
    bits=16,
    n_clips=2,
    is_synthetic=False,
    max_difference=0.1,
    mean_difference=0.01,
    relative=1e-4,
    tolerance=0.02,
)
_PREFIX = """
import json, pathlib, sys, time
request = json.loads(pathlib.Path(sys.argv[1]).read_text())
print("a library's own print")
print(json.dumps({"progress": "Merging the weights"}), flush=True)
"""
_MERGES = (
    _PREFIX
    + """
target = pathlib.Path(request["target_path"])
import shutil
shutil.copytree(request["model_path"], target, dirs_exist_ok=True)
report = %r
(target / "merge.json").write_text(report)
print(json.dumps({"report": json.loads(report)}), flush=True)
"""
)


@pytest.fixture
def adapter(session: Session, user: User, tmp_path: Path) -> Adapter:
    model = models.add_starter(session, actor=user)
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    made = Adapter(owner_id=user.id, name="mine", base_model_id=model.id, path=str(folder))
    session.add(made)
    session.commit()
    return made


def _child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(merging, "COMMAND", (sys.executable, "-c", code))


def _merge(session: Session, user: User, adapter: Adapter, bits: int = 16) -> merging.MergeStatus:
    merging.start(actor=user, adapter_id=adapter.id, bits=bits)
    merging.wait(adapter.id, 20)
    return merging.get_status(session, actor=user, adapter_id=adapter.id)


def test_a_merged_model_is_kept_zipped_and_added_as_a_base(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert merging.get_status(session, actor=user, adapter_id=adapter.id).state == "none"
    with pytest.raises(NotFound):
        merging.stream_merged(session, actor=user, adapter_id=adapter.id)
    _child(monkeypatch, _MERGES % REPORT.model_dump_json())
    status = _merge(session, user, adapter)
    assert (status.state, status.report) == ("ready", REPORT)
    name, pieces = merging.stream_merged(session, actor=user, adapter_id=adapter.id)
    assert name == "mine-merged.zip"
    assert b"".join(pieces)[:2] == b"PK"

    model = merging.register(actor=user, adapter_id=adapter.id)
    assert (model.name, model.status.value, model.source["kind"]) == ("mine, merged", "ready", "merged")
    assert merging.register(actor=user, adapter_id=adapter.id).id == model.id, "a double click"
    merging.remove(session, actor=user, adapter_id=adapter.id)
    assert merging.get_status(session, actor=user, adapter_id=adapter.id).state == "none"
    models.check_unchanged(model)  # it has its own copy


def test_a_refusal_is_told_and_nothing_is_kept(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, _PREFIX + 'print(json.dumps({"refused": "Not the same."}), flush=True); sys.exit(1)')
    status = _merge(session, user, adapter)
    assert (status.state, status.message) == ("failed", "Not the same.")
    _child(monkeypatch, _PREFIX + "import os; os.kill(os.getpid(), 9)")
    assert "memory" in _merge(session, user, adapter).message
    assert list((layout.data_path() / "merged").iterdir()) == []


def test_a_merge_can_be_cancelled_and_there_is_only_one(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, _PREFIX + "time.sleep(600)")
    merging.start(actor=user, adapter_id=adapter.id)
    with pytest.raises(Conflict, match="running already"):
        merging.start(actor=user, adapter_id=adapter.id)
    assert merging.get_status(session, actor=user, adapter_id=adapter.id).state == "running"
    merging.remove(session, actor=user, adapter_id=adapter.id)
    merging.wait(adapter.id, 20)
    assert merging.get_status(session, actor=user, adapter_id=adapter.id).state == "none"
    assert list((layout.data_path() / "merged").iterdir()) == []


def test_a_merge_of_another_process_is_not_joined_by_a_second(user: User, adapter: Adapter) -> None:
    with (layout.data_path() / "merging.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="running already"):
            merging.start(actor=user, adapter_id=adapter.id)


def test_a_copy_that_another_took_the_room_of_is_not_kept(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, _MERGES % REPORT.model_dump_json())
    _merge(session, user, adapter)
    with merging.copied(actor=user, adapter_id=adapter.id) as model:
        monkeypatch.setattr(get_settings(), "max_bytes_per_user", quota.held_bytes(session, user.id))
        with pytest.raises(TooLarge), db.write() as writing:
            merging.store_copy(writing, user, model)
    assert not layout.model_path(model.id).exists()


def test_what_cannot_be_merged_is_refused_first(
    session: Session, user: User, stranger: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound):
        merging.start(actor=stranger, adapter_id=adapter.id)
    with pytest.raises(NotFound):
        merging.get_status(session, actor=stranger, adapter_id=adapter.id)
    with pytest.raises(Forbidden):
        merging.start(actor=make_user(session, "eve", Role.VIEWER), adapter_id=adapter.id)
    with pytest.raises(InvalidInput):
        merging.start(actor=user, adapter_id=adapter.id, bits=8)
    monkeypatch.setattr(staging, "RESERVE_BYTES", 2**60)
    with pytest.raises(StorageFull, match="Make space"):
        merging.start(actor=user, adapter_id=adapter.id)
    (Path(adapter.path) / "adapter_model.safetensors").unlink()
    with pytest.raises(Conflict, match="no longer"):
        merging.start(actor=user, adapter_id=adapter.id)


def test_deleting_the_adapter_deletes_what_was_merged(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, _MERGES % REPORT.model_dump_json())
    assert _merge(session, user, adapter).state == "ready"
    adapters.delete(session, actor=user, adapter_id=adapter.id)
    session.commit()
    assert not layout.merged_path(adapter.id).exists()


def _is_free() -> bool:
    """Whether the database's write lock can be had."""
    with db.write() as writing:
        writing.connection()
    return True


def test_others_can_write_while_a_merged_model_is_copied(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, _MERGES % REPORT.model_dump_json())
    _merge(session, user, adapter)
    session.rollback()
    real, was_free = model_intake.take_in, []

    def take_in(*args: Any, **kwargs: Any) -> Any:
        was_free.append(_is_free())
        return real(*args, **kwargs)

    monkeypatch.setattr(model_intake, "take_in", take_in)
    merging.register(actor=user, adapter_id=adapter.id)
    assert was_free == [True]


def test_a_copy_whose_row_is_not_stored_goes(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, _MERGES % REPORT.model_dump_json())
    _merge(session, user, adapter)
    with merging.copied(actor=user, adapter_id=adapter.id) as model:
        assert Path(model.path).is_dir()
    assert not Path(model.path).exists()


def test_a_merge_that_could_not_begin_is_not_in_the_way(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, _MERGES % REPORT.model_dump_json())
    with monkeypatch.context() as broken:
        broken.setattr(audit, "record", _fail)
        with pytest.raises(StorageFull):
            merging.start(actor=user, adapter_id=adapter.id)
    with monkeypatch.context() as broken:
        broken.setattr(merging, "_clear_up", _fail)
        assert _merge(session, user, adapter).state == "failed"
    assert _merge(session, user, adapter).state == "ready"


def _fail(*_: object, **__: object) -> None:
    raise StorageFull("The disk is full.")


def test_the_process_gets_no_secrets(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLORA_STUDIO_S3_SECRET", "hidden")
    _child(monkeypatch, _PREFIX + "import os\nprint(json.dumps({'refused': '|'.join(os.environ)}))")
    names = _merge(session, user, adapter).message.split("|")
    assert "HF_HUB_OFFLINE" in names
    assert "QLORA_STUDIO_S3_SECRET" not in names


def test_what_is_merged_counts_and_the_quota_holds(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, _MERGES % REPORT.model_dump_json())
    before = quota.held_bytes(session, user.id)
    _merge(session, user, adapter)
    merged = quota.held_bytes(session, user.id) - before
    assert merged == sum(path.stat().st_size for path in layout.merged_path(adapter.id).iterdir())
    model = merging.register(actor=user, adapter_id=adapter.id)
    session.rollback()
    assert quota.held_bytes(session, user.id) == before + merged + model.size_bytes
    monkeypatch.setattr(get_settings(), "max_bytes_per_user", merged)
    with pytest.raises(TooLarge, match="Delete"), merging.copied(actor=user, adapter_id=adapter.id):
        pass
    with pytest.raises(TooLarge, match="Delete"):
        merging.start(actor=user, adapter_id=adapter.id)


def test_what_a_killed_server_left_is_swept(session: Session, adapter: Adapter) -> None:
    left = [
        layout.data_path() / "merged" / f".{adapter.id}.partial",
        layout.data_path() / "merged" / f".{adapter.id}.old",
        layout.data_path() / "adapters" / ".receiving-x",
        layout.data_path() / "adapters" / "ada_000000000000",
    ]
    kept = [layout.merged_path(adapter.id), layout.data_path() / "adapters" / ".unpacking-now"]
    for folder in (*left, *kept):
        folder.mkdir(parents=True)
    note = layout.data_path() / "merged" / f"{adapter.id}.log"
    note.touch()
    for path in (*left, kept[0], note):
        os.utime(path, (0, 0))
    adapters.sweep_leftovers()
    assert [path for path in (*left, note) if path.exists()] == []
    assert all(path.is_dir() for path in kept)
