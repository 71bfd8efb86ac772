"""`dictations`: made in this process, corrected, applied, made a dataset of."""

from tests.commands.conftest import Run, answer
from tests.services.test_dictations import dataset, host, model, speech_model

__all__ = ["dataset", "host", "model"]
AS_ADA = ("--user", "ada")


def test_from_recordings_to_a_dataset_of_corrections(host, run: Run, dataset, model) -> None:
    made = answer(run("dictations", "make", dataset.id, "--model", model.id, "--json", *AS_ADA))
    assert (made["status"], made["n_done"]) == ("succeeded", 3)
    assert answer(run("dictations", "list", dataset.id, "--json", *AS_ADA)) == [made]
    clips = answer(run("dictations", "show", made["id"], "--only", "open", "--json", *AS_ADA))
    assert len(clips) == 3
    assert clips[0]["filename"] in run("dictations", "show", made["id"], *AS_ADA).stdout
    assert run("dictations", "show", made["id"], "--only", "odd", *AS_ADA, code=2).stderr
    run("dictations", "correct", made["id"], clips[0]["clip_id"], "what was said", *AS_ADA)
    assert "1 clips" in run("dictations", "apply", made["id"], *AS_ADA).stdout
    assert "1 clips." in run("dictations", "dataset", made["id"], "Corrected", *AS_ADA).stdout
    run("dictations", "delete", made["id"], *AS_ADA)
    assert run("dictations", "show", made["id"], *AS_ADA, code=2).stderr


def test_a_failure_is_told(host, run: Run, session, user, dataset) -> None:
    crashing = speech_model(session, user, "crash")
    failed = run("dictations", "make", dataset.id, "--model", crashing.id, *AS_ADA, code=1)
    assert "ended unexpectedly" in failed.stderr
