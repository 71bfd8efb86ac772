"""`--json`: every verb that answers has it, and then prints one document and nothing else."""

import typer.main

from qlora_studio.cli import app
from qlora_studio.contracts.enums import Role
from tests.commands.conftest import Run, answer, problem, verbs
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset

WITHOUT = {"serve": "goes on until it is stopped"}


def test_every_verb_answers_in_json() -> None:
    found = dict(verbs(typer.main.get_command(app)))
    assert len(found) > 100
    options = {name: {o for p in verb.params for o in getattr(p, "opts", ())} for name, verb in found.items()}
    assert {name for name, known in options.items() if "--json" not in known} == set(WITHOUT)


def test_what_only_does_something_says_so_in_json_too(run: Run, session, user) -> None:
    make_user(session, "root-of-all", Role.ADMIN)
    make_user(session, "bob", Role.VIEWER)
    data = make_dataset(session, user)
    as_ada = ("--user", "ada", "--json")
    assert answer(run("share", data.id, "use", *as_ada)) == {"id": data.id, "sharing": "use", "note": ""}
    token = answer(run("token", "create", "nightly", *as_ada))
    assert answer(run("token", "revoke", token["id"], *as_ada)) == {"id": token["id"], "is_revoked": True}
    changed = answer(run("user", "set", "bob", "--role", "rater", "--json"))
    assert (changed["username"], changed["role"]) == ("bob", "rater")
    assert "/reset#" in answer(run("user", "reset-password", "bob", "--json"))["url"]
    kept = answer(run("prompts", "keep", "bell", "a small bell", *as_ada))
    assert answer(run("prompts", "delete", kept["id"], *as_ada))["is_deleted"]
    assert answer(run("user", "delete", "bob", "--json")) == {"username": "bob", "is_deleted": True}


def test_what_goes_wrong_is_one_document_too(run: Run, session, user) -> None:
    for words in (("jobs", "delete", "job_000000000000"), ("listening", "close", "tst_000000000000")):
        assert set(problem(run(*words, "--json", code=2))) == {"error", "fields"}
