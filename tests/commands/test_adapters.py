"""`adapters`: what merging prints and adds, and the registry."""

import sys
from pathlib import Path

import pytest
from sqlmodel import Session
from typer.testing import Result

from qlora_studio.contracts.enums import Sharing
from qlora_studio.db.models import Adapter, User
from qlora_studio.services import merging, models
from tests.commands.conftest import Run, answer
from tests.conftest import make_user
from tests.services.test_adapters import add
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


def test_adapters_are_sorted_in_activated_and_put_away(run: Run, session: Session, user: User) -> None:
    model = models.add_starter(session, actor=user)
    made = [add(session, model, name) for name in ("one", "two")]
    one, two = (adapter.id for adapter in made)

    def tell(verb: str, *arguments: str, code: int = 0) -> Result:
        return run("adapters", verb, *arguments, "--user", "ada", code=code)

    tell("edit", one, "--stage", "production", "--tag", "Night", "--notes", "the quiet one")
    assert "tags: night" in tell("show", one).stdout
    replaced = answer(tell("edit", two, "--stage", "production", "--json"))["replaces"]
    assert replaced == one
    active = answer(tell("activate", one, "--strength", "0.5", "--json"))
    assert (active["is_active"], active["active_strength"], active["version"]) == (True, 0.5, 1)
    assert not answer(tell("deactivate", one, "--json"))["is_active"]
    assert "Job deleted -> two" in tell("lineage", two).stdout
    tell("archive", two)
    listed = answer(tell("list", "--tag", "night", "--stage", "candidate", "--json"))
    assert [row["id"] for row in listed] == [one]
    assert [row["id"] for row in answer(tell("list", "--archived", "--json"))] == [two]
    made[0].sharing = model.sharing = Sharing.READ
    session.add_all([made[0], model])
    session.commit()
    make_user(session, "eve")
    for asked in (("adapters", "show", one), ("model", "show", model.id)):
        assert asked[-1] in run(*asked, "--user", "eve").stdout, "it is shared to look at"
    tell("activate", two, code=1)
    tell("unarchive", two)
    assert len(answer(tell("list", "--json"))) == 2
    tell("activate", one, "--strength", "3", code=2)
