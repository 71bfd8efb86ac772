"""`share`, `token`, `user` and `audit`: as an admin on the studio's own machine."""

from pathlib import Path

from qlora_studio.commands import training
from qlora_studio.contracts.enums import Role, Task
from qlora_studio.services import tokens
from tests.commands.conftest import Run, answer
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model


def test_sharing_tokens_accounts_and_the_log(run: Run, session, user, tmp_path: Path) -> None:
    make_user(session, "root-of-all", Role.ADMIN)
    make_user(session, "bob", Role.VIEWER)
    data = make_dataset(session, user)
    as_ada, as_bob = ("--user", "ada"), ("--user", "bob")
    assert answer(run("dataset", "list", "--shared", "--json", *as_bob)) == []
    assert run("share", data.id, "read", *as_ada).stdout.strip() == f"{data.id}: read"
    assert len(answer(run("dataset", "list", "--shared", "--json", *as_bob))) == 1
    assert "shared by ada" in run("share", data.id, "use", *as_bob, code=1).stderr
    secret = run("token", "create", "nightly", "--scope", "all", *as_ada).stdout.strip()
    assert tokens.authenticate_bearer(secret).user.id == user.id
    (token,) = answer(run("token", "list", "--json", *as_ada))
    assert secret not in str(token)
    run("token", "revoke", token["id"], *as_ada)
    run("user", "set", "bob", "--role", "rater", "--max-jobs", "3", "--disable")
    (bob,) = answer(run("user", "list", "--query", "bob", "--json"))
    assert (bob["role"], bob["limit_jobs"], bob["is_disabled"]) == ("rater", 3, True)
    assert "disabled" in run("dataset", "list", *as_bob, code=1).stderr
    assert "Only an admin" in run("user", "list", *as_ada, code=1).stderr
    run("user", "set", "bob", "--enable", "--max-jobs", "-1")
    assert "/reset#" in run("user", "reset-password", "bob").stdout
    assert "Say who gets them" in run("user", "delete", "ada", code=1).stderr
    run("user", "delete", "ada", "--to", "bob")
    assert "dataset.share" in run("audit", "--object", data.id).stdout
    run("audit", "--action", "user", "--csv", str(tmp_path / "log.csv"))
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 5


def test_what_is_shared_for_use_is_shown_and_trained_with(run: Run, session, user) -> None:
    bob = make_user(session, "bob", Role.TRAINER)
    data, model = make_dataset(session, user), make_model(session, user)
    assert "no such model" in run("model", "show", model.id, "--user", "bob", code=2).stderr.lower()
    for thing in (data, model):
        run("share", thing.id, "use", "--user", "ada")
    assert answer(run("model", "show", model.id, "--user", "bob", "--json"))["id"] == model.id
    assert training.task_of(bob, data.id) == Task.SPEECH_TO_TEXT


def test_the_log_as_json(run: Run, session, user) -> None:
    make_user(session, "root-of-all", Role.ADMIN)
    data = make_dataset(session, user)
    for level in ("read", "use"):
        run("share", data.id, level, "--user", "ada")
    (last,) = answer(run("audit", "--last", "1", "--json"))
    assert (last["actor_name"], last["action"], last["object_id"]) == ("ada", "dataset.share", data.id)
