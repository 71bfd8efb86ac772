import json
from pathlib import Path

import pytest

from qlora_studio.commands import doctor
from qlora_studio.commands.training import read_spec
from qlora_studio.core.errors import InvalidInput
from tests.commands.conftest import Run, answer, problem
from tests.modelfiles.build import whisper_folder


def test_every_command_has_its_help(run: Run) -> None:
    top = run("--help").output
    for name in ("serve", "train", "doctor", "dataset", "model", "jobs", "adapters", "export"):
        assert name in top
        run(name, "--help")


def test_a_model_is_added_listed_and_shown(run: Run, tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "tiny")
    made = answer(run("model", "add", str(folder), "--name", "Mine [bold]", "--json"))
    assert (made["status"], made["name"]) == ("ready", "Mine [bold]")
    assert [model["id"] for model in answer(run("model", "list", "--json"))] == [made["id"]]
    assert "Mine [bold]" in run("model", "list").output, "names are shown, never read as markup"
    shown = answer(run("model", "show", made["id"], "--json"))
    assert shown["architecture"] == "WhisperForConditionalGeneration"
    text = run("model", "show", made["id"]).stdout
    assert text.startswith(f"{made['id']}  Mine [bold]\n")
    assert "  architecture: WhisperForConditionalGeneration" in text


def test_a_model_that_cannot_be_trained_says_why(run: Run, tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "tiny", model_type="musicgen")
    refused = run("model", "add", str(folder), code=2)
    assert "MusicGen" in refused.stderr
    assert problem(run("model", "add", str(folder), "--json", code=2))["error"]


@pytest.mark.parametrize("source", ["nonsense", "a/b/c", "; touch x", "$(x)"])
def test_sources_that_are_nothing_are_refused(run: Run, source: str) -> None:
    assert run("model", "add", source, code=2).stderr
    assert run("dataset", "add", source, code=2).stderr


def test_empty_lists_say_what_to_do(run: Run) -> None:
    assert "model add starter" in run("model", "list").output
    assert "dataset add example" in run("dataset", "list").output
    assert answer(run("jobs", "list", "--json")) == []
    assert answer(run("adapters", "list", "--json")) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("model", "show", "mod_nothing"),
        ("jobs", "show", "job_nothing"),
        ("jobs", "stop", "job_nothing"),
        ("jobs", "logs", "job_nothing"),
        ("jobs", "metrics", "job_nothing"),
        ("jobs", "samples", "job_nothing"),
        ("jobs", "compare", "job_nothing", "job_neither"),
        ("jobs", "compare", "job_alone"),
        ("export", "job_nothing"),
        ("adapters", "download", "ada_nothing"),
        ("model", "list", "--user", "nobody"),
    ],
)
def test_what_is_not_there_ends_with_two(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments, code=2)
    assert "error:" in result.stderr
    assert "Traceback" not in result.output + result.stderr


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b\n",
        "name: [unclosed",
        "!!python/object/apply:os.system ['touch canary']",
        "1: x",
        "",
    ],
)
def test_a_file_that_is_no_job_is_refused(run: Run, tmp_path: Path, text: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        read_spec(path)
    run("train", str(path), code=2)
    assert not (tmp_path / "canary").exists()


def test_wrong_parameters_are_named(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    spec = {
        "name": "x",
        "dataset_id": "ds_000000000000",
        "model_id": "mod_000000000000",
        "qlora": {"rank": 0},
    }
    path.write_text(json.dumps(spec))
    assert "qlora.rank" in problem(run("train", str(path), "--json", code=2))["fields"]
    path.write_text(json.dumps(spec | {"dataset_id": "nowhere"}))
    assert "dataset_id" in problem(run("train", str(path), "--json", code=2))["fields"]


def test_the_doctor_reports_each_check(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    well = doctor.Finding("4-bit", "ok", "not asked here")
    quick = tuple(c for c in doctor.CHECKS if c is not doctor.check_four_bit)
    monkeypatch.setattr(doctor, "CHECKS", (*quick, lambda: well))
    report = answer(run("doctor", "--json"))
    assert report["ok"]
    assert {"versions", "devices", "disk", "memory", "database", "node", "4-bit"} <= {
        check["name"] for check in report["checks"]
    }
    assert report["versions"]["torch"]


def test_the_doctor_outlives_a_broken_check_and_ends_with_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_moon() -> doctor.Finding:
        raise OSError("no moon")

    monkeypatch.setattr(doctor, "CHECKS", (check_moon, doctor.check_memory))
    report = answer(run("doctor", "--json", code=1))
    assert report["checks"][0]["status"] == "failed"
    assert "no moon" in run("doctor", code=1).output


@pytest.mark.slow
def test_four_bit_training_works_here(run: Run) -> None:
    assert doctor.check_four_bit().status == "ok"
