"""Datasets, clips, models, adapters, pushes and accounts: shown, changed and deleted."""

import pytest
import typer.main
from sqlmodel import Session

from qlora_studio.cli import app
from qlora_studio.commands import console
from qlora_studio.contracts.enums import Role, Task
from qlora_studio.db.models import Dataset, HubPush, User
from qlora_studio.services import datasets, jobs, models
from tests.commands.conftest import Run, answer, problem, verbs
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model, make_spec
from tests.services.test_adapters import add

AS = ("--user", "ada")


def test_a_dataset_is_shown_changed_and_deleted(run: Run, session: Session, user: User) -> None:
    made = make_dataset(session, user)
    session.commit()
    assert f"{made.id}  Call centre" in run("dataset", "show", made.id, *AS).stdout
    run("dataset", "edit", made.id, *AS, code=2)
    assert run("dataset", "edit", made.id, "--name", "", *AS, code=2).stderr
    assert answer(run("dataset", "edit", made.id, "--name", "Night", "--json", *AS))["name"] == "Night"
    make_user(session, "eve")
    run("dataset", "delete", made.id, "--user", "eve", code=2)
    assert answer(run("dataset", "show", made.id, "--json", *AS))["name"] == "Night", "eve may not delete it"
    assert answer(run("dataset", "delete", made.id, "--json", *AS))["is_deleted"]
    run("dataset", "show", made.id, *AS, code=2)


def test_what_is_not_under_way_can_not_be_cancelled(run: Run, session: Session, user: User) -> None:
    made = make_dataset(session, user)
    session.commit()
    assert "under way" in problem(run("dataset", "cancel", made.id, "--json", *AS, code=1))["error"]


def test_clips_are_found_and_corrected(run: Run, session: Session, user: User) -> None:
    made = make_dataset(session, user, n_train=120, n_validation=3)
    session.commit()
    first = run("dataset", "clips", made.id, *AS, "--json")
    assert len(answer(first)) == 100
    assert "100 of 123 shown; --page 2" in first.stderr
    rest = run("dataset", "clips", made.id, "--page", "2", *AS, "--json")
    assert (len(answer(rest)), "23 of 123 shown" in rest.stderr) == (23, True)
    held = answer(run("dataset", "clips", made.id, "--split", "validation", "--json", *AS))
    assert [clip["split"] for clip in held] == ["validation"] * 3
    one = held[0]["id"]
    run("dataset", "edit-clip", one, *AS, code=2)
    changed = answer(run("dataset", "edit-clip", one, "--text", "hello", "--exclude", "--json", *AS))
    assert (changed["text"], changed["status"]) == ("hello", "excluded")
    left_out = answer(run("dataset", "clips", made.id, "--status", "excluded", "--json", *AS))
    assert [clip["id"] for clip in left_out] == [one]
    assert answer(run("dataset", "show", made.id, "--json", *AS))["version"] == 2


def test_a_model_and_its_adapter_are_changed_checked_and_deleted(
    run: Run, session: Session, user: User
) -> None:
    model = models.add_starter(session, actor=user)
    session.commit()
    adapter = add(session, model, "one")
    assert answer(run("model", "edit", model.id, "--name", "Other", "--json", *AS))["name"] == "Other"
    assert answer(run("model", "check", model.id, "--json", *AS))["status"] == "ready"
    assert "one" in run("model", "delete", model.id, *AS, code=1).stderr, "its adapter is named"
    assert not answer(run("adapters", "unmerge", adapter.id, "--json", *AS))["is_merged"]
    assert answer(run("adapters", "delete", adapter.id, "--json", *AS))["is_deleted"]
    run("adapters", "show", adapter.id, *AS, code=2)
    run("model", "delete", model.id, *AS)
    run("model", "show", model.id, *AS, code=2)


def test_on_a_terminal_deleting_is_asked_for(
    run: Run, session: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_dataset(session, user)
    session.commit()
    monkeypatch.setattr(console, "_is_terminal", lambda: True)
    assert "Delete" in run("dataset", "delete", made.id, *AS, code=1).stderr
    run("dataset", "show", made.id, *AS)
    run("dataset", "delete", made.id, "--yes", *AS)
    run("dataset", "show", made.id, *AS, code=2)


def test_pushes_are_listed_and_forgotten(run: Run, session: Session, user: User) -> None:
    model = models.add_starter(session, actor=user)
    session.commit()
    adapter = add(session, model, "one")
    push = HubPush(owner_id=user.id, adapter_id=adapter.id, repo_id="ada/one", status="failed", error="No.")
    session.add(push)
    session.commit()
    assert "ada/one" in run("pushes", "list", *AS).stdout
    listed = answer(run("pushes", "list", "--adapter", adapter.id, "--json", *AS))
    assert [one["id"] for one in listed] == [push.id]
    assert answer(run("pushes", "cancel", push.id, "--json", *AS))["is_cancelled"]
    assert answer(run("pushes", "list", "--json", *AS)) == []


def test_who_acts(run: Run, session: Session, user: User) -> None:
    make_user(session, "root-of-all", Role.ADMIN)
    assert answer(run("me", "--json"))["username"] == "root-of-all"
    assert run("me", *AS).stdout.startswith("ada (")
    assert answer(run("me", "--name", "Ada  L.", "--theme", "dark", *AS, "--json"))["name"] == "Ada L."
    run("me", "--theme", "pink", *AS, code=2)
    assert answer(run("user", "show", "ada", "--json"))["username"] == "ada"
    run("user", "show", "nobody", code=2)
    run("user", "show", "ada", *AS, code=1)


def test_a_dictation_that_is_not_there_can_not_be_stopped(run: Run) -> None:
    assert run("dictations", "stop", "dic_000000000000", code=2).stderr


def test_every_list_in_pages_can_show_the_next() -> None:
    found = dict(verbs(typer.main.get_command(app)))
    paged = [
        name
        for name, verb in found.items()
        if any(o == "--page" for p in verb.params for o in getattr(p, "opts", ()))
    ]
    whole = {"credential list", "token list", "prompts list"}  # their services answer all at once
    lists = {name for name in found if name.endswith(" list")}
    assert lists - set(paged) == whole


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_list_says_how_many_it_does_not_show(
    run: Run, session: Session, user: User, form: tuple[str, ...]
) -> None:
    for _ in range(101):
        session.add(Dataset(owner_id=user.id, name="One of many", task=Task.SPEECH_TO_TEXT))
    session.commit()
    first = run("dataset", "list", *form, *AS)
    assert first.stderr.strip() == "100 of 101 shown; --page 2"
    assert first.stdout.count("One of many") == 100
    last = run("dataset", "list", "--page", "2", *form, *AS)
    assert (last.stdout.count("One of many"), last.stderr.strip()) == (1, "1 of 101 shown")
    assert not run("dataset", "list", "--query", "nothing like it", *form, *AS).stderr


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_ctrl_c_ends_with_130_and_answers_nothing(
    run: Run, user: User, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "list_datasets", interrupted)
    result = run("dataset", "list", *form, *AS, code=130)
    assert not result.stdout
    assert "Traceback" not in result.stderr


def test_what_is_in_use_says_by_what(run: Run, session: Session, user: User) -> None:
    data, model = make_dataset(session, user), make_model(session, user)
    jobs.submit(session, actor=user, spec=make_spec(data, model))
    session.commit()
    for words in (("dataset", "delete", data.id), ("model", "delete", model.id)):
        assert "prompts-r16" in problem(run(*words, "--json", *AS, code=1))["users_of"][0]
        assert "prompts-r16" in run(*words, *AS, code=1).stderr
