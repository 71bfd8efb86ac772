"""`feedback`: rate, look, and see whether it is enough."""

from qlora_studio.ingest import launching, pipeline
from tests.commands.conftest import Run, answer
from tests.services.test_feedback_datasets import heard
from tests.services.test_ratings import add_takes, rate

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
    assert "(the server's rule)" in run("feedback", "rule", *AS_ADA).stdout
    said = run("feedback", "rule", "--takes", "7", "--criterion", "Warmth", *AS_ADA).stdout
    assert said.strip() == "7 takes rated 4 or more by warmth are enough (your own rule)."
    said = run("feedback", "rule", "--criterion", "", *AS_ADA).stdout
    assert said.strip() == "7 takes rated 4 or more are enough (your own rule)."
    assert answer(run("feedback", "rule", "--forget", "--json", *AS_ADA))["n_needed"] == 50
    assert [
        day["n_ratings"] for day in answer(run("feedback", "days", "--days", "1", "--json", *AS_ADA))
    ] == [1]
    assert run("feedback", "rate", take.id, "6", *AS_ADA, code=2).stderr
    run("feedback", "remove", take.id, *AS_ADA)
    assert "No ratings yet." in run("feedback", "show", take.id, *AS_ADA).stdout


def test_a_dataset_of_good_takes_from_the_command_line(run: Run, user, monkeypatch, decoding_here) -> None:
    monkeypatch.setattr(launching, "launch", pipeline.run)
    for take, stars in zip(heard(user, 3), (5, 4, 1), strict=True):
        rate(user, take, stars)
    count = run("feedback", "dataset", "--preview", *AS_ADA).stdout
    assert count.strip() == "2 rows of 2 takes, 1 texts"
    made = answer(run("feedback", "dataset", "Good", "--json", *AS_ADA))
    assert (made["status"], made["n_clips"]) == ("ready", 2)
    assert "Nothing to do" in run("feedback", "update", made["id"], *AS_ADA).stdout
    rate(user, heard(user, 1)[0], 5)
    assert "1 takes come, 0 go, 2 stay" in run("feedback", "update", made["id"], "--preview", *AS_ADA).stdout
    assert "3 takes, ready" in run("feedback", "update", made["id"], *AS_ADA).stdout
    assert answer(run("feedback", "update", made["id"], "--json", *AS_ADA))["version"] == 2
    pairs = run("feedback", "dataset", "--preview", "--pairs", "ratings", "--min-gap", "3", "--json", *AS_ADA)
    assert answer(pairs)["n_rows"] == 3
    assert "min_gap goes with pairs" in run("feedback", "dataset", "--min-gap", "1", *AS_ADA, code=2).stderr
