"""`generations`: made in this process, listed, saved, deleted."""

from pathlib import Path

from tests.commands.conftest import Run, answer
from tests.services.test_generations import host, model, sound_model

__all__ = ["host", "model"]
AS_ADA = ("--user", "ada")


def test_takes_from_the_command_line(host, run: Run, model, tmp_path: Path, data_folder: Path) -> None:
    asked = ("generations", "make", "rain", "--model", model.id, "--seconds", "0.2", "--takes", "2", *AS_ADA)
    made = answer(run(*asked, "--seed", "3", "--json"))
    assert (made["status"], [take["seed"] for take in made["takes"]]) == ("succeeded", [3, 4])
    assert answer(run("generations", "list", "--json", *AS_ADA)) == [made]
    assert "2 of 2" in run("generations", "list", *AS_ADA).stdout
    assert made["takes"][1]["id"] in run("generations", "show", made["id"], *AS_ADA).stdout
    saved = run("generations", "save", made["id"], "--to", str(tmp_path / "out"), *AS_ADA).stdout.split()
    assert [Path(path).read_bytes()[:4] for path in saved] == [b"RIFF"] * 2
    again = run("generations", "save", made["id"], "--to", str(tmp_path / "out"), *AS_ADA, code=1)
    assert "there already" in again.stderr
    assert run(*asked[:-2], "--user", "ada", "--temperature", "9", code=2).stderr
    assert "read" in run("generations", "share", made["id"], "read", *AS_ADA).stdout
    first = made["takes"][0]["id"]
    run("generations", "like", first, *AS_ADA)
    (liked,) = answer(run("generations", "list", "--favorite", "--unrated", "--json", *AS_ADA))
    assert [take["is_favorite"] for take in liked["takes"]] == [True, False]
    run("generations", "like", first, "--remove", *AS_ADA)
    for narrowed in (
        ["--favorite"],
        ["--rated"],
        ["--tag", "warm"],
        ["--from-tests"],
        ["--model", "mod_none"],
    ):
        assert answer(run("generations", "list", *narrowed, "--json", *AS_ADA)) == [], narrowed
    run("generations", "delete", made["id"], *AS_ADA)
    assert run("generations", "show", made["id"], *AS_ADA, code=2).stderr
    assert list((data_folder / "generations").iterdir()) == []


def test_a_failure_is_told(host, run: Run, session, user) -> None:
    model = sound_model(session, user, "crash")
    failed = run("generations", "make", "rain", "--model", model.id, *AS_ADA, code=1)
    assert "ended unexpectedly" in failed.stderr


def test_texts_under_a_name(run: Run, user) -> None:
    kept = answer(run("prompts", "keep", "Roof", "rain on a roof", "--takes", "3", "--json", *AS_ADA))
    assert (kept["prompt"], kept["n_takes"]) == ("rain on a roof", 3)
    assert "already" in run("prompts", "keep", "roof", "hail", *AS_ADA, code=1).stderr
    run("prompts", "change", kept["id"], "--name", "Tin", *AS_ADA)
    assert "Tin" in run("prompts", "list", *AS_ADA).stdout
    run("prompts", "delete", kept["id"], *AS_ADA)
    assert answer(run("prompts", "list", "--json", *AS_ADA)) == []


def test_what_others_share_is_listed_by_itself(run: Run, user) -> None:
    assert "No generations yet." in run("generations", "list", "--shared", "--user", "ada").output
    assert "--favorite and --page only" in run("generations", "list", "--shared", "--rated", code=2).stderr
