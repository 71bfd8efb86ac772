"""`listening`: set up, taken, read, from the command line."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlora_studio.services import inference, listening_making, making
from qlora_studio.services.engine_host import EngineHost
from tests.commands.conftest import Run, answer
from tests.services.test_engine_host import COMMAND
from tests.services.test_generations import sound_model

AS_ADA = ("--user", "ada")


@pytest.fixture
def host(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineHost]:
    made = EngineHost(COMMAND, idle_s=60.0)
    monkeypatch.setattr(inference, "host", made)
    for module in (making, listening_making):
        monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.01)
    yield made
    made._end_child()
    for thread in threading.enumerate():
        if thread.name.startswith("takes "):
            thread.join(10)


@pytest.mark.slow
def test_a_listening_test_from_the_command_line(run: Run, host, session, user, tmp_path: Path) -> None:
    models = [sound_model(session, user, does).id for does in ("cpu", "gpu")]
    contestants = [part for model in models for part in ("--contestant", model)]
    made = answer(
        run("listening", "create", "Which", *contestants, "--prompt", "rain", "--seconds", "0.1",
            "--catch-every", "0", "--json", *AS_ADA)
    )  # fmt: skip
    assert (made["status"], made["n_takes_done"]) == ("open", 4)
    test_id = made["id"]
    asked = answer(run("listening", "next", test_id, "--to", str(tmp_path / "to"), "--json", *AS_ADA))
    assert {path.name for path in (tmp_path / "to").iterdir()} == {"left.wav", "right.wav"}
    run("listening", "answer", asked["questions"][0]["id"], "left", *AS_ADA)
    assert "1 answered" in run("listening", "next", test_id, *AS_ADA).stdout
    assert "Which" in run("listening", "list", *AS_ADA).stdout
    said = run("listening", "results", test_id, *AS_ADA).stdout
    assert "can't be told apart yet" in " ".join(said.split())
    for word, n_votes in (("leave-out", 0), ("keep", 1), ("rule", 1)):
        told = answer(run("listening", "decide", test_id, "ada", word, "--json", *AS_ADA))
        assert told["n_votes"] == n_votes
    run("listening", "decide", test_id, "nobody", "keep", *AS_ADA, code=2)
    run("listening", "close", test_id, *AS_ADA)
    run("listening", "retry", test_id, *AS_ADA, code=1)
    run("listening", "export", test_id, "--to", str(tmp_path / "all.csv"), *AS_ADA)
    assert "Rain cpu" in (tmp_path / "all.csv").read_text()
    run("listening", "delete", test_id, *AS_ADA)
    assert "No listening tests yet." in run("listening", "list", *AS_ADA).stdout
    for wrong in ("a:b:c", "a:b:1:d"):
        run("listening", "create", "Which", "--contestant", wrong, "--contestant", models[0],
            "--prompt", "rain", *AS_ADA, code=2)  # fmt: skip
