"""`adapters merge`: what it prints, and the base model that it may add."""

import sys
from pathlib import Path

import pytest
from sqlmodel import Session

from qlora_studio.db.models import Adapter, User
from qlora_studio.services import merging, models
from tests.commands.conftest import Run, answer
from tests.services.test_merging import _MERGES, _PREFIX, REPORT


def test_a_merge_is_told_written_and_added(
    run: Run, session: Session, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.add_starter(session, actor=user)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    adapter = Adapter(owner_id=user.id, name="mine", base_model_id=model.id, path=str(tmp_path))
    session.add(adapter)
    session.commit()
    asked = ("adapters", "merge", adapter.id, "--user", "ada")
    refusal = 'print(json.dumps({"refused": "Not the same."}), flush=True); sys.exit(1)'
    monkeypatch.setattr(merging, "COMMAND", (sys.executable, "-c", _PREFIX + refusal))
    assert "Not the same." in run(*asked, code=1).stderr
    monkeypatch.setattr(merging, "COMMAND", (sys.executable, "-c", _MERGES % REPORT.model_dump_json()))
    to = tmp_path / "merged.zip"
    told = answer(run(*asked, "--register", "--name", "both", "--json"))
    assert told["merge"]["state"] == "ready"
    session.rollback()
    assert models.get_model(session, actor=user, model_id=told["model_id"]).name == "both"
    assert "held-out clips" in run(*asked, "--to", str(to)).stdout
    assert to.read_bytes()[:2] == b"PK"
