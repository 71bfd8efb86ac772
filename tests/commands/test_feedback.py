"""`feedback`: rate, look, and see whether it is enough."""

from tests.commands.conftest import Run, answer
from tests.services.test_ratings import add_takes

AS_ADA = ("--user", "ada")


def test_feedback_from_the_command_line(run: Run, user) -> None:
    take, _ = add_takes(user)
    for stars in ("3", "5"):
        run("feedback", "rate", take.id, stars, "--tag", "warm", "--note", "[bold] text", *AS_ADA)
    assert "[bold] text" in run("feedback", "show", take.id, *AS_ADA).stdout
    assert [r["stars"] for r in answer(run("feedback", "show", take.id, "--json", *AS_ADA))] == [5]
    assert "1 of 2 takes rated, 1 ratings" in run("feedback", "stats", *AS_ADA).stdout
    assert answer(run("feedback", "stats", "--json", *AS_ADA))["n_ratings"] == 1
    said = run("feedback", "readiness", "--takes", "1", *AS_ADA).stdout
    assert said.strip() == "1 of 1 takes are rated 4 or more: enough to train on."
    assert answer(run("feedback", "readiness", "--json", *AS_ADA))["n_missing"] == 49
    assert run("feedback", "rate", take.id, "6", *AS_ADA, code=2).stderr
    run("feedback", "remove", take.id, *AS_ADA)
    assert "No ratings yet." in run("feedback", "show", take.id, *AS_ADA).stdout
