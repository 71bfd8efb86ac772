"""A dataset's content from the command line."""

import zipfile
from pathlib import Path

import pytest
import soundfile
import yaml

from qlora_studio.contracts.spec import TrainSpec
from tests.commands.conftest import Run, answer

pytestmark = pytest.mark.usefixtures("decoding_here")


@pytest.fixture
def dataset_id(run: Run, recordings: Path) -> str:
    """Ten clips and a copy of one of them."""
    (recordings / "copy.wav").write_bytes((recordings / "0.wav").read_bytes())
    (recordings / "copy.txt").write_text("another word")
    return answer(run("dataset", "add", str(recordings), "--json"))["id"]


def test_from_report_to_export(
    run: Run, dataset_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "duplicate_audio" in run("dataset", "report", dataset_id).output
    checks = {c["key"]: c for c in answer(run("dataset", "report", dataset_id, "--json"))["checks"]}
    assert checks["duplicate_audio"]["n_to_leave_out"] == 1
    made = answer(run("dataset", "exclude", dataset_id, "duplicate_audio", "--json"))
    assert made["n_left_out"] == 1
    assert made["id"] in run("dataset", "exclusions", dataset_id).output
    assert answer(run("dataset", "exclusions", dataset_id, "--json"))[0]["n_left_out"] == 1
    differing = answer(run("dataset", "compare", dataset_id, "1", "2", "--json"))
    assert [d["kind"] for d in differing] == ["removed"]
    assert differing[0]["filename"] in run("dataset", "compare", dataset_id, "1", "2").output
    assert "They are the same." in run("dataset", "compare", dataset_id, "1", "1").output
    clip = answer(run("dataset", "clip", differing[0]["clip_id"], "--json"))
    assert clip["exclusion_id"] == made["id"]
    assert "1 clips taken back" in run("dataset", "include", dataset_id, made["id"]).output
    shown = answer(run("dataset", "split", dataset_id, "--validation", "0.5", "--preview", "--json"))
    assert shown["splits"]["validation"]["n_clips"] == 6
    run("dataset", "split", dataset_id, "--validation", "0.5")
    versions = answer(run("dataset", "versions", dataset_id, "--json"))
    assert [v["number"] for v in versions] == [4, 3, 2, 1]
    assert answer(run("dataset", "restore", dataset_id, "1", "--json"))["version"] == 5
    told = run("dataset", "export", dataset_id, "--json")
    assert "qlora-studio train recordings-v5.yaml" in told.stderr
    with zipfile.ZipFile(answer(told)["path"]) as archive:
        sounds = [name for name in archive.namelist() if name.endswith(".wav")]
        archive.extract(sounds[0])
    assert len(sounds) == 11
    assert soundfile.info(sounds[0]).samplerate == 16_000
    spec = TrainSpec.model_validate(yaml.safe_load((tmp_path / "recordings-v5.yaml").read_text()))
    assert spec.dataset_id == "recordings-v5"


def test_limits_of_the_report_are_set_and_set_back(run: Run, dataset_id: str) -> None:
    before = answer(run("dataset", "limits", dataset_id, "--json"))
    set_to = answer(run("dataset", "limits", dataset_id, "--limit", "silent_below_db=-45", "--json"))
    assert set_to == before | {"silent_below_db": -45}
    assert "-45" in run("dataset", "limits", dataset_id).output
    assert answer(run("dataset", "limits", dataset_id, "--default", "silent_below_db", "--json")) == before
    for wrong in ("silent_below_db", "silent_below_db=low", "loudness=3"):
        run("dataset", "limits", dataset_id, "--limit", wrong, code=2)


def test_what_is_not_there_is_said(run: Run) -> None:
    for command in (["report"], ["exclude", "silent"], ["restore", "1"], ["versions"], ["export"], ["split"]):
        refused = run("dataset", command[0], "ds_000000000000", *command[1:], code=2)
        assert "There is no such dataset" in refused.output


def test_the_example_is_there_once_and_again_under_a_name_of_its_own(run: Run) -> None:
    first = answer(run("dataset", "add", "example", "--json"))
    assert answer(run("dataset", "add", "example", "--json"))["id"] == first["id"]
    named = answer(run("dataset", "add", "example", "--name", "Calls", "--json"))
    assert (named["name"], named["n_clips"]) == ("Calls", first["n_clips"])
    assert named["id"] != first["id"]
