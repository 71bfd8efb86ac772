"""What the shell completes: commands without importing any, ids of one's own things with their names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qlora_studio.contracts.enums import Role
from qlora_studio.db.models import Clip
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model

ASK = """
import sys
from qlora_studio.cli import main
sys.argv = ["qlora-studio"]
try:
    main()
finally:
    print(*sorted(name for name in sys.modules), file=sys.stderr)
"""


def complete(words: str) -> tuple[list[str], set[str]]:
    """What is offered for the last word, and which modules it took."""
    place = str(words.count(" "))
    asked = {"_QLORA_STUDIO_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": place}
    told = subprocess.run(
        [sys.executable, "-c", ASK], env=os.environ | asked, capture_output=True, text=True, timeout=60
    )
    return told.stdout.split(), set(told.stderr.split())


@pytest.mark.slow
def test_commands_are_offered_without_importing_any() -> None:
    offered, modules = complete("qlora-studio que")
    assert offered == ["queue"]
    assert not {name for name in modules if name.startswith("qlora_studio.") and name != "qlora_studio.cli"}
    offered, modules = complete("qlora-studio jobs re")
    assert offered == ["resume"]
    assert "qlora_studio.commands.datasets" not in modules


@pytest.mark.slow
def test_ids_are_offered_newest_first_of_ones_own_things(
    data_folder: Path, session, user, stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_user(session, "root-of-all", Role.ADMIN)
    model, mine = make_model(session, user), make_dataset(session, user)
    theirs = make_dataset(session, stranger)
    session.commit()
    assert complete("qlora-studio model show --user ada ")[0] == [model.id]
    offered, modules = complete("qlora-studio dataset report --user ada ds_")
    assert offered == [mine.id]
    assert not modules & {"torch", "transformers", "reflex", "librosa"}
    assert theirs.id not in offered
    assert complete("qlora-studio dataset report ")[0] == [], "the admin has none"
    clip = Clip(dataset_id=mine.id, position=0, filename="a b.wav", sha256="0" * 64)
    session.add(clip)
    session.commit()
    assert clip.id in complete("qlora-studio dataset clip --user ada ")[0]
    assert complete("qlora-studio dataset clip ")[0] == []
    assert "ada" in complete("qlora-studio user show ")[0]
    assert complete("qlora-studio user show --user ada ")[0] == [], "she is no admin"
    assert complete("qlora-studio dataset report --user nobody ")[0] == []


@pytest.mark.slow
def test_nothing_is_made_while_somebody_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QLORA_STUDIO_DATA", str(tmp_path / "none"))
    assert complete("qlora-studio jobs show ")[0] == []
    assert not (tmp_path / "none").exists()
