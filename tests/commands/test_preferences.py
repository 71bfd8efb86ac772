"""`preferences`: a pair to hear, a vote, and back."""

from pathlib import Path

from qlora_studio.storage import layout
from tests.commands.conftest import Run, answer
from tests.services.test_ratings import add_takes

AS_ADA = ("--user", "ada")


def test_pairs_from_the_command_line(run: Run, user, tmp_path: Path) -> None:
    for take in add_takes(user):
        path = layout.take_path(take.generation_id, take.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(take.id.encode())
    pair = answer(run("preferences", "next", "--to", str(tmp_path / "to"), "--json", *AS_ADA))["pair"]
    left, right = pair["first"]["id"], pair["second"]["id"]
    assert (tmp_path / "to" / "right.wav").read_text() == right
    assert "rain" in run("preferences", "next", *AS_ADA).stdout
    run("preferences", "vote", left, right, "tie", *AS_ADA)
    assert answer(run("preferences", "vote", left, right, "left", "--json", *AS_ADA))["verdict"] == "left"
    assert "No two takes" in run("preferences", "next", *AS_ADA).stdout
    assert len(answer(run("preferences", "list", "--json", *AS_ADA))) == 1
    assert "left is taken back" in run("preferences", "undo", *AS_ADA).stdout
    assert "No votes yet." in run("preferences", "list", *AS_ADA).stdout
    run("preferences", "vote", left, left, "left", *AS_ADA, code=2)
