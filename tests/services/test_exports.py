"""What is taken out is the version that was asked for, and comes back in as the same content."""

import csv
import io
import json
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import yaml
from sqlmodel import select

from qlora_studio.commands.training import resolve_dataset
from qlora_studio.contracts.enums import ClipStatus, Split
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core.errors import Conflict, NotFound
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models import Clip
from qlora_studio.ingest import launching, pipeline, totals
from qlora_studio.services import datasets, exports, versions
from qlora_studio.services.exports import ExportFormat
from tests.ingest import sounds
from tests.ingest.test_pipeline import stage
from tests.services.test_datasets import create, get, launched, ready  # noqa: F401
from tests.services.test_versions import edit

pytestmark = pytest.mark.usefixtures("decoding_here")


def taken_out(user, dataset_id, format=ExportFormat.AUDIOFOLDER, **options) -> tuple[str, bytes]:
    with engine.read() as session:
        made = exports.stream(session, actor=user, dataset_id=dataset_id, format=format, **options)
    return made.name, b"".join(made.pieces)


@pytest.fixture
def dataset(user):
    """Six clips in three splits with speakers, one left out, one with a text that is a formula."""
    made = ready(user, n=6, name="Calls & co.")
    with engine.read() as session:
        ids = list(session.exec(select(Clip.id).order_by(Clip.position)))
    splits = [Split.TRAIN, Split.TRAIN, Split.TRAIN, Split.VALIDATION, Split.TEST, Split.TRAIN]
    for number, (clip_id, split) in enumerate(zip(ids, splits, strict=True)):
        edit(user, clip_id, speaker=f"s{number % 2}", split=split)
    edit(user, ids[0], text='=HYPERLINK("http://127.0.0.1")')
    edit(user, ids[5], status=ClipStatus.EXCLUDED)
    return get(user, made.id)


def unpacked(user, dataset, folder: Path, **options) -> Path:
    name, content = taken_out(user, dataset.id, **options)
    path = folder / name.removesuffix(".zip")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        archive.extractall(path)
    return path


def test_an_audiofolder_has_a_folder_and_a_table_for_each_split(user, dataset, tmp_path):
    folder = unpacked(user, dataset, tmp_path)
    assert folder.name == f"Calls---co-v{dataset.version}"
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert names == {
        "README.md", "train/metadata.jsonl", "validation/metadata.jsonl", "test/metadata.jsonl",
        "train/000001-0.wav", "train/000002-1.wav", "train/000003-2.wav",
        "validation/000004-3.wav", "test/000005-4.wav",
    }  # fmt: skip
    rows = [json.loads(line) for line in (folder / "train/metadata.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "file_name": "000001-0.wav",
        "text": '=HYPERLINK("http://127.0.0.1")',
        "speaker": "s0",
    }, "words to train on stay as they are"
    assert f'load_dataset("audiofolder", data_dir="{folder.name}")' in (folder / "README.md").read_text()


def test_it_comes_back_in_as_the_same_content(user, dataset, tmp_path, monkeypatch):
    folder = unpacked(user, dataset, tmp_path)
    monkeypatch.setenv("QLORA_STUDIO_DATASET_ROOTS", str(tmp_path))
    get_settings.cache_clear()
    again = create(user, source={"kind": "folder", "path": str(folder)})
    pipeline.run(again.id)
    again = get(user, again.id)
    assert (again.n_clips, again.n_rejected, again.error) == (5, 0, None)
    with engine.write() as session:  # without the clip that was left out, the contents are one
        session.delete(session.exec(select(Clip).where(Clip.status == ClipStatus.EXCLUDED)).one())
        assert totals.count(session, dataset.id).content_hash == again.content_hash


def test_a_former_version_is_taken_out_as_it_was(user, dataset):
    name, content = taken_out(user, dataset.id, ExportFormat.JSONL, version=1)
    rows = [json.loads(line) for line in content.decode().splitlines()]
    assert name.endswith("-v1.jsonl")
    assert [row["text"] for row in rows] == [f"text {i}" for i in range(6)]
    assert {row["speaker"] for row in rows} == {None}
    now = taken_out(user, dataset.id, ExportFormat.JSONL)[1].decode().splitlines()
    assert len(now) == 5
    assert set(json.loads(now[0])) == {
        "file_name", "text", "label", "speaker", "split", "duration_s", "sample_rate", "sha256"
    }  # fmt: skip


def test_formulas_are_inert_in_a_table_for_people(user, dataset):
    with engine.read() as session:
        ids = list(session.exec(select(Clip.id).order_by(Clip.position)))
    for clip_id, text in zip(ids[1:4], ("+1", " @SUM(A1)", "-2+3|cmd' /C calc'!A0"), strict=True):
        edit(user, clip_id, text=text, speaker="=1+1")
    _, content = taken_out(user, dataset.id, ExportFormat.CSV)
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert len(rows) == 5
    for row in rows:
        for cell in row.values():
            assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
    assert rows[1]["text"] == "'+1"


def test_names_lie_and_bytes_do_not(user):
    dataset = create(user, name="../../etc/passwd", task="text-to-audio")
    flac = sounds.encoded(sounds.tone(0.2), format="FLAC")
    stage(dataset.id, {"evil.wav": flac, "metadata.csv": b"file_name,text\nevil.wav,hello\n"})
    with engine.write() as session:
        datasets.start_ingest(session, actor=user, dataset_id=dataset.id)
    pipeline.run(dataset.id)
    name, content = taken_out(user, dataset.id)
    assert name == "etc-passwd-v1.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        [sound] = [entry for entry in archive.namelist() if entry.endswith(".flac")]
        assert ".." not in sound
        assert archive.read(sound) == flac


def test_the_recipe_is_a_job_that_takes_this_export_in(user, dataset, tmp_path, monkeypatch):
    folder = unpacked(user, dataset, tmp_path)
    with engine.read() as session:
        recipe = exports.recipe(session, actor=user, dataset_id=dataset.id)
    assert (
        recipe.command == f"unzip {folder.name}.zip -d {folder.name} && qlora-studio train {folder.name}.yaml"
    )
    spec = TrainSpec.model_validate(yaml.safe_load(recipe.yaml))
    monkeypatch.setattr(launching, "launch", pipeline.run)
    taken_in = resolve_dataset(user, spec.dataset_id, tmp_path)
    assert get(user, taken_in).n_clips == 5


def test_strangers_missing_versions_and_unready_datasets(user, stranger, dataset):
    with engine.read() as session:
        for who, number in ((stranger, None), (user, 99), (user, 0)):
            with pytest.raises(NotFound):
                exports.recipe(session, actor=who, dataset_id=dataset.id, version=number)
            with pytest.raises(NotFound):
                exports.stream(
                    session, actor=who, dataset_id=dataset.id, format=ExportFormat.CSV, version=number
                )
    with engine.read() as session, pytest.raises(Conflict):
        exports.stream(session, actor=user, dataset_id=create(user).id, format=ExportFormat.CSV)


def test_restored_and_exported_agree(user, dataset):
    then = taken_out(user, dataset.id, ExportFormat.JSONL, version=1)[1]
    with engine.write() as session:
        versions.restore(session, actor=user, dataset_id=dataset.id, number=1)
    assert taken_out(user, dataset.id, ExportFormat.JSONL)[1] == then


LOAD = """
    import json, sys, types
    import datasets, soundfile
    # Without FFmpeg torchcodec can't be loaded; the library imports its encoder even for plain paths.
    codec = types.ModuleType("torchcodec.encoders")
    codec.AudioEncoder = object
    sys.modules.setdefault("torchcodec", types.ModuleType("torchcodec"))
    sys.modules["torchcodec.encoders"] = codec
    data = datasets.load_dataset("audiofolder", data_dir=sys.argv[1], cache_dir=sys.argv[2])
    data = data.cast_column("audio", datasets.Audio(decode=False))
    answer = {
        split: [{**row, "audio": soundfile.read(row["audio"]["path"])[0].shape[0]} for row in part]
        for split, part in data.items()
    }
    print("ANSWER" + json.dumps(answer))
"""


@pytest.mark.slow
def test_the_datasets_library_loads_it(user, dataset, tmp_path, monkeypatch):
    folder = unpacked(user, dataset, tmp_path)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOAD), str(folder), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = json.loads(done.stdout.partition("ANSWER")[2])
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 3, "validation": 1, "test": 1}
    assert loaded["train"][0] == {"audio": 960, "text": '=HYPERLINK("http://127.0.0.1")', "speaker": "s0"}
