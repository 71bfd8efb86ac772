"""Merging from the server's side: the process it starts, how far it is, cancelling, and what is kept."""

import sys
from pathlib import Path

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import Role
from qlora_studio.contracts.merging import MergeReport
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound, StorageFull
from qlora_studio.db.models import Adapter, User
from qlora_studio.services import adapters, merging, models
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
shutil.copytree(request["model_path"], target)
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
    merging.start(session, actor=user, adapter_id=adapter.id, bits=bits)
    session.commit()
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

    model = merging.register(session, actor=user, adapter_id=adapter.id)
    session.commit()
    assert (model.name, model.status.value, model.source["kind"]) == ("mine, merged", "ready", "merged")
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
    assert not layout.merged_path(adapter.id).exists()


def test_a_merge_can_be_cancelled_and_there_is_only_one(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, _PREFIX + "time.sleep(600)")
    merging.start(session, actor=user, adapter_id=adapter.id)
    session.commit()
    with pytest.raises(Conflict, match="running already"):
        merging.start(session, actor=user, adapter_id=adapter.id)
    session.rollback()
    assert merging.get_status(session, actor=user, adapter_id=adapter.id).state == "running"
    merging.remove(session, actor=user, adapter_id=adapter.id)
    merging.wait(adapter.id, 20)
    assert merging.get_status(session, actor=user, adapter_id=adapter.id).state == "none"


def test_what_cannot_be_merged_is_refused_first(
    session: Session, user: User, stranger: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound):
        merging.start(session, actor=stranger, adapter_id=adapter.id)
    with pytest.raises(NotFound):
        merging.get_status(session, actor=stranger, adapter_id=adapter.id)
    with pytest.raises(Forbidden):
        merging.start(session, actor=make_user(session, "eve", Role.VIEWER), adapter_id=adapter.id)
    with pytest.raises(InvalidInput):
        merging.start(session, actor=user, adapter_id=adapter.id, bits=8)
    monkeypatch.setattr(merging, "_SPARE_BYTES", 2**60)
    with pytest.raises(StorageFull, match="Make space"):
        merging.start(session, actor=user, adapter_id=adapter.id)
    (Path(adapter.path) / "adapter_model.safetensors").unlink()
    with pytest.raises(Conflict, match="no longer"):
        merging.start(session, actor=user, adapter_id=adapter.id)


def test_deleting_the_adapter_deletes_what_was_merged(
    session: Session, user: User, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, _MERGES % REPORT.model_dump_json())
    assert _merge(session, user, adapter).state == "ready"
    adapters.delete(session, actor=user, adapter_id=adapter.id)
    session.commit()
    assert not layout.merged_path(adapter.id).exists()
