"""`dataset add` from elsewhere, and credentials that are asked for."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from qlora_studio.cli import app
from qlora_studio.commands.datasets import read_mapping, read_source
from qlora_studio.core.errors import InvalidInput
from qlora_studio.ingest import launching, pipeline
from tests.commands.conftest import Run, answer, recordings
from tests.ingest import sounds
from tests.ingest.web import Web, web
from tests.services.hub import Hub, hub

__all__ = ["hub", "recordings", "web"]

pytestmark = pytest.mark.usefixtures("decoding_here")


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "launch", pipeline.run)


def test_a_dataset_from_an_address_with_its_columns_told(run: Run, web: Web) -> None:
    table = b"clip,words\na.wav,one\nb.wav,two\n"
    web.serve("/set.zip", sounds.zipped({"t.csv": table, "a.wav": sounds.wav(0.1), "b.wav": sounds.wav(0.2)}))
    made = answer(
        run("dataset", "add", "http://files.example/set.zip?x=1", "--column", "text=words", "--json")
    )
    assert (made["status"], made["name"], made["n_clips"]) == ("ready", "set.zip", 2)
    assert made["mapping"] == {"file": "clip", "text": "words"}
    assert "isn't a public server" in run("dataset", "add", "http://127.0.0.1/x.zip", code=1).stderr


def test_a_dataset_from_the_hub(run: Run, hub: type[Hub], tmp_path: Path) -> None:
    sounds.write(
        tmp_path / "calls",
        {"a.wav": sounds.wav(0.1), "a.txt": b"one", "b.wav": sounds.wav(0.2), "b.txt": b"two"},
    )
    hub.repos["someone/calls"] = tmp_path / "calls"
    made = answer(run("dataset", "add", "someone/calls", "--json"))
    assert (made["status"], made["name"], made["source"]["revision"]) == ("ready", "calls", "main")


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("s3://lab/a b/c", {"kind": "cloud", "url": "s3://lab/a b/c"}),
        ("gs://lab", {"kind": "cloud", "url": "gs://lab"}),
        ("https://files.example/x.zip", {"kind": "url", "url": "https://files.example/x.zip"}),
        (
            "https://huggingface.co/datasets/a/b",
            {"kind": "hub", "repo_id": "https://huggingface.co/datasets/a/b"},
        ),
        ("owner/name", {"kind": "hub", "repo_id": "owner/name"}),
    ],
)
def test_what_an_argument_means(given: str, source: dict[str, str]) -> None:
    assert read_source(given)[0] == source


def test_a_mapping_from_options() -> None:
    assert read_mapping(["text=a=b", "file = x"], "prefix") == {
        "label_from": "prefix",
        "text": "a=b",
        "file": "x",
    }
    with pytest.raises(InvalidInput):
        read_mapping(["text"], "")


def test_classes_in_file_names(run: Run, tmp_path: Path) -> None:
    sounds.write(
        tmp_path / "pack",
        {f"{k}_{n}.wav": sounds.wav(0.1, pitch=p) for k, p in (("drum", 200), ("loop", 300)) for n in "ab"},
    )
    arguments = ("--task", "audio-classification", "--label-from", "prefix", "--json")
    assert answer(run("dataset", "add", str(tmp_path / "pack"), *arguments))["mapping"] == {
        "label_from": "prefix"
    }
    assert run("dataset", "add", str(tmp_path / "pack"), "--label-from", "moon", code=2).stderr


def test_credentials_are_asked_for_and_never_shown(run: Run) -> None:
    made = CliRunner().invoke(
        app, ["credential", "add", "s3", "Lab", "--json"], input="AKIAMINE\nmy-secret\n"
    )
    assert made.exit_code == 0, made.output
    wrong = CliRunner().invoke(
        app, ["credential", "add", "gs", "G"], input='{"type": "external_account", "x": "my-secret"}\n'
    )
    assert wrong.exit_code == 2
    listed = run("credential", "list")
    for said in (made, wrong, listed, run("credential", "list", "--json")):
        assert "my-secret" not in said.output + said.stderr
    assert "Lab" in listed.output
    assert "no credential" in run("dataset", "add", "s3://lab/x", "--credential", "other", code=2).stderr
    run("credential", "delete", answer(made)["id"])
    assert answer(run("credential", "list", "--json")) == []


def test_a_folder_waits_until_somebody_has_looked_how_it_is_read(run: Run, recordings: Path) -> None:
    for text in recordings.glob("*.txt"):
        text.unlink()
    rows = "".join(f"{index}.wav,said {index},noted {index}\n" for index in range(10))
    (recordings / "list.csv").write_text("clip,heard,remark\n" + rows)
    waiting = answer(run("dataset", "add", str(recordings), "--review", "--json"))
    assert waiting["status"] == "awaiting_files"
    refused = answer(run("dataset", "mapping", waiting["id"], "--json"))
    assert refused["refusal"] or not refused["n_matched"]
    columns = ("--column", "file=clip", "--column", "text=remark")
    told = run("dataset", "mapping", waiting["id"], *columns, "--keep").output
    assert "Columns: clip, heard, remark" in told
    assert "noted 3" in told
    assert "10 would be taken in, 0 not." in told
    made = answer(run("dataset", "ingest", waiting["id"], "--json"))
    assert (made["status"], made["n_clips"]) == ("ready", 10)
    clips = answer(run("dataset", "clips", waiting["id"], "--json"))
    assert {clip["text"] for clip in clips} == {f"noted {index}" for index in range(10)}
    run("dataset", "mapping", waiting["id"], code=1)
    assert "nothing to look at" in run("dataset", "add", "example", "--review", code=2).output
    run("dataset", "mapping", waiting["id"], "--keep", code=2)
