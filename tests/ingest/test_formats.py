"""RTTM, transcript lists, classes in file names, parquet shards; and the preview that shows them first."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qlora_studio.audio.turns import Turn, from_rttm
from qlora_studio.contracts.enums import DatasetStatus, Split, Task
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import preview
from qlora_studio.ingest.manifests import ManifestRefused
from tests.ingest import sounds
from tests.ingest.test_matching import bad, good, plan_of
from tests.ingest.test_pipeline import stage, taken_in

pytestmark = pytest.mark.usefixtures("decoding_here")
DIARIZATION, CLASSES = Task.SPEAKER_DIARIZATION, Task.AUDIO_CLASSIFICATION
TURNS = (
    "SPEAKER a 1 2.5 1.25 <NA> <NA> bob <NA> <NA>\n"
    ";; a comment\nSPKR-INFO a 1 <NA> <NA> <NA> unknown bob <NA>\n"
    "SPEAKER a 1 0 1.5 <NA> <NA> ann <NA> <NA>\n"
)
CANONICAL = "SPEAKER a 1 0.000 1.500 <NA> <NA> ann <NA> <NA>\nSPEAKER a 1 2.500 1.250 <NA> <NA> bob <NA> <NA>"


def test_segments_become_canonical_lines(tmp_path):
    files = {"all.rttm": TURNS + TURNS.replace(" a ", " gone "), "x/a.wav": "", "train/b.wav": ""}
    plan = plan_of(tmp_path, files, task=DIARIZATION)
    assert good(plan) == {"x/a.wav": CANONICAL}
    assert {n: r.partition(":")[0] for n, r in bad(plan).items()} == {
        "gone": "Missing file", "train/b.wav": "No segments",
    }  # fmt: skip
    assert from_rttm(CANONICAL) == [Turn(0, 1.5, "ann"), Turn(2.5, 1.25, "bob")]
    assert plan.label_source == "rttm"


def test_a_file_beside_its_recording_may_call_it_anything(tmp_path):
    plan = plan_of(tmp_path, {"a.wav": "", "a.rttm": TURNS.replace(" a ", " other ")}, task=DIARIZATION)
    assert good(plan) == {"a.wav": CANONICAL}


@pytest.mark.parametrize("time", ["-1 2", "nan 2", "0 inf", "0 0", "x y"])
def test_a_segment_without_usable_times_costs_its_recording(tmp_path, time):
    text = f"SPEAKER a 1 {time} <NA> <NA> ann <NA> <NA>\nSPEAKER b 1 0 1 <NA> <NA> ann <NA> <NA>\n"
    plan = plan_of(tmp_path, {"a.wav": "", "b.wav": "", "all.rttm": text}, task=DIARIZATION)
    assert list(good(plan)) == ["b.wav"]
    assert bad(plan)["a.wav"].startswith("Bad segment: line 1 of all.rttm")


def test_what_is_no_rttm_is_refused(tmp_path):
    with pytest.raises(ManifestRefused, match="line 1"):
        plan_of(tmp_path, {"a.wav": "", "a.rttm": "speaker one speaks"}, task=DIARIZATION)


def test_without_segments_recordings_are_taken_for_diarization(tmp_path):
    plan = plan_of(tmp_path, {"a.wav": ""}, task=DIARIZATION)
    assert (good(plan), bad(plan), plan.label_source) == ({"a.wav": None}, {}, "none")


CORE_SOUNDS = """; core-sounds-en.txt: what the recordings say
activated: Activated.
digits/0: zero
letters/a: A
agent-pass: Please enter your password: then press the pound key.
gone: Nobody hears this
"""


def test_a_list_of_what_is_said(tmp_path):
    files = {
        "core-sounds-en.txt": CORE_SOUNDS, "en/activated.wav": "", "en/digits/0.wav": "",
        "en/letters/0.wav": "",        "en/agent-pass.wav": "",
    }  # fmt: skip
    plan = plan_of(tmp_path, files)
    assert good(plan) == {
        "en/activated.wav": "Activated.", "en/digits/0.wav": "zero",
        "en/agent-pass.wav": "Please enter your password: then press the pound key.",
    }  # fmt: skip
    assert {n: r.partition(":")[0] for n, r in bad(plan).items()} == {
        "gone": "Missing file", "letters/a": "Missing file", "en/letters/0.wav": "Not listed",
    }  # fmt: skip
    assert plan.label_source == "transcript list"


def test_other_texts_are_no_list(tmp_path):
    prose = "Dear all,\nplease find the recordings below: a lot of them.\nRegards\n"
    plan = plan_of(tmp_path, {"letter.txt": prose, "a.wav": ""})
    assert (good(plan), plan.label_source) == ({"a.wav": None}, "none")
    assert bad(plan)["letter.txt"].startswith("Text without sound")


DRUMS = {f"{kind}_{n}.flac": "" for kind in ("drum_bass", "drum_hat", "loop_amen", "loop_x") for n in "ab"}


def test_classes_before_the_first_underscore(tmp_path):
    plan = plan_of(tmp_path, DRUMS, task=CLASSES)
    assert set(good(plan).values()) == {"drum", "loop"}
    assert (plan.label_source, plan.mapping) == ("file names", {"label_from": "prefix"})
    plan = plan_of(tmp_path, DRUMS | {"odd.flac": ""}, task=CLASSES, mapping={"label_from": "prefix"})
    assert bad(plan) == {"odd.flac": "No label: its label is empty or missing."}


def test_what_gives_the_label_can_be_told(tmp_path):
    files = {f"kit/{name}": "" for name in DRUMS}
    assert set(good(plan_of(tmp_path, files, task=CLASSES)).values()) == {"kit"}
    told = plan_of(tmp_path, files, task=CLASSES, mapping={"label_from": "prefix"})
    assert set(good(told).values()) == {"drum", "loop"}
    none = plan_of(tmp_path, files, task=CLASSES, mapping={"label_from": "none"})
    assert set(good(none).values()) == {None}
    table = plan_of(
        tmp_path, {"metadata.csv": "file_name,pitch\ndrum_bass_a.flac,1\n", "drum_bass_a.flac": ""},
        task=CLASSES, mapping={"label_from": "prefix"},
    )  # fmt: skip
    assert good(table) == {"drum_bass_a.flac": "drum"}


def shard(n: int = 3, *, labels: bool = False, **columns) -> bytes:
    """A Parquet file as the `datasets` library writes it."""
    rows = [{"bytes": sounds.wav(0.1, pitch=200 + i), "path": f"../{i}.wav"} for i in range(n)]
    table = {"audio": rows, "text": [f"text {i}" for i in range(n)], **columns}
    if labels:
        table["label"] = [i % 2 for i in range(n)]
    made = pa.table(table)
    features = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}} if labels else {}
    made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    out = io.BytesIO()
    pq.write_table(made, out)
    return out.getvalue()


@pytest.fixture
def dataset(session, user):
    def make(**fields) -> Dataset:
        given = {
            "task": Task.SPEECH_TO_TEXT,
            "status": DatasetStatus.PROCESSING,
            "source": {"kind": "upload"},
        }
        made = Dataset(owner_id=user.id, name="d", **given | fields)
        session.add(made)
        session.commit()
        return made

    return make


def test_parquet_shards_are_taken_apart(dataset):
    made = dataset(task=CLASSES)
    stage(made.id, {"data/train-00000-of-00001.parquet": shard(40, labels=True),
                    "data/test-00000-of-00001.parquet": shard(2, labels=True)})  # fmt: skip
    result, clips = taken_in(made)
    assert (result.status, result.n_clips, result.n_rejected) == (DatasetStatus.READY, 42, 0)
    assert {c.label for c in clips.values()} == {"cat", "dog"}
    assert clips["train-00000-of-00001/000007-7.wav"].text == "text 7"
    assert clips["train-00000-of-00001/000007-7.wav"].label == "dog"
    assert sum(c.split is Split.TEST for c in clips.values()) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PAR1 and nothing else", "can't be read"),
        (shard()[:-40] + b"x" * 40, "can't be read"),
        (b"not parquet at all", "Not audio"),
    ],
)
def test_broken_parquet_costs_itself_only(dataset, content, reason):
    made = dataset()
    stage(made.id, {"bad.parquet": content, "a.wav": sounds.wav(0.2)})
    result, clips = taken_in(made)
    assert (result.status, result.n_clips) == (DatasetStatus.READY, 1)
    assert reason in clips["bad.parquet"].reason


@pytest.mark.slow
def test_parquet_without_recordings_or_over_a_cap_is_refused(dataset, monkeypatch):
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"]}), out)
    made = dataset()
    stage(made.id, {"a.parquet": out.getvalue(), "b.parquet": shard(), "c.wav": sounds.wav(0.2)})
    monkeypatch.setenv("QLORA_STUDIO_MAX_FILE_BYTES", "2000")
    get_settings.cache_clear()
    _, clips = taken_in(made)
    assert clips["a.parquet"].reason.startswith("Parquet refused: no column of it holds recordings")
    assert clips["b.parquet"].reason.startswith("Parquet refused: its recordings are larger")
    out = io.BytesIO()
    pq.write_table(pa.table({"audio": [b"\0" * (70 << 20)]}), out, compression="zstd")
    made = dataset()
    stage(made.id, {"bomb.parquet": out.getvalue(), "c.wav": sounds.wav(0.2)})
    assert "200 times its size" in taken_in(made)[1]["bomb.parquet"].reason


def look(made: Dataset, **mapping: str) -> preview.Preview:
    return preview.look(made, get_settings(), mapping=mapping or None)


def test_the_preview_shows_what_an_ingest_would_do(dataset):
    made = dataset(status=DatasetStatus.AWAITING_FILES)
    table = b"clip,words,who\na.wav,hello,ann\nb.wav,,ann\ngone.wav,x,ann\n"
    stage(made.id, {"metadata.csv": table, "a.wav": sounds.wav(0.1), "b.wav": b"", "c.wav": b"x"})
    first = look(made)
    assert (first.columns, first.guessed) == (["clip", "words", "who"], {"file": "clip"})
    assert "no column for the text" in first.refusal
    told = look(made, text="words", speaker="who")
    assert told.refusal is None
    assert told.mapping == {"file": "clip", "text": "words", "speaker": "who"}
    assert (told.n_matched, told.n_unmatched) == (1, 3)
    assert [(r.file, r.text, (r.reason or "").partition(":")[0]) for r in told.rows] == [
        ("a.wav", "hello", ""), ("b.wav", None, "No text"), ("c.wav", None, "Not listed"),
        ("gone.wav", "x", "Missing file"),
    ]  # fmt: skip
    assert "no column nope" in look(made, text="nope").refusal
    with engine.write() as session:
        row = session.get_one(Dataset, made.id)
        row.mapping, row.status = told.mapping, DatasetStatus.PROCESSING
    clips = taken_in(made)[1]
    assert {n: c.text for n, c in clips.items() if c.reason is None} == {"a.wav": "hello"}
    assert len(clips) == told.n_matched + told.n_unmatched


@pytest.mark.slow
def test_the_preview_looks_into_archives_and_shards_without_unpacking_sound(dataset):
    made = dataset(status=DatasetStatus.AWAITING_FILES)
    inner = {
        "set/metadata.csv": b"file_name,text\na.wav,one\n",
        "set/a.wav": sounds.wav(0.1),
        "set/notes.txt": b"x",
    }
    stage(made.id, {"set.zip": sounds.zipped(inner)})
    seen = look(made)
    assert (seen.n_files, seen.n_matched, seen.tables) == (3, 1, ["metadata.csv"])
    stage(made.id, {"evil.zip": sounds.zipped({"../../evil.wav": b"x"})})
    assert ("Archive refused", 1) in look(made).reasons
    shards = dataset(status=DatasetStatus.AWAITING_FILES)
    stage(shards.id, {"train-0.parquet": shard(30), "bad.parquet": b"PAR1" + b"\0" * 50})
    seen = look(shards)
    assert (seen.n_matched, seen.rows[1].text, seen.rows[1].split) == (30, "text 0", "train")
    assert ("Parquet refused", 1) in seen.reasons
    held = {p.name for p in preview.staging.files_path(shards.id).parent.iterdir()}
    assert held == {"files"}, "nothing is left of a preview"


def test_the_preview_of_a_server_folder_follows_no_link_out(dataset, tmp_path, monkeypatch):
    root = tmp_path / "root"
    sounds.write(root / "set", {"a.wav": sounds.wav(0.1), "a.txt": b"one"})
    sounds.write(tmp_path, {"outside/metadata.csv": b"file_name,text\na.wav,secret\n"})
    (root / "set" / "metadata.csv").symlink_to(tmp_path / "outside" / "metadata.csv")
    monkeypatch.setenv("QLORA_STUDIO_DATASET_ROOTS", str(root))
    get_settings.cache_clear()
    made = dataset(status=DatasetStatus.AWAITING_FILES, source={"kind": "folder", "path": str(root / "set")})
    seen = look(made)
    assert [(r.file, r.text) for r in seen.rows] == [("a.wav", "one"), ("metadata.csv", None)]
    assert seen.reasons == [("Outside", 1)]
    gone = dataset(status=DatasetStatus.AWAITING_FILES, source={"kind": "folder", "path": str(tmp_path)})
    with pytest.raises(preview.peeking.SourceRefused):
        look(gone)


def test_the_preview_lists_speakers_and_classes(dataset):
    made = dataset(status=DatasetStatus.AWAITING_FILES, task=DIARIZATION)
    stage(made.id, {"a.wav": b"x", "a.rttm": TURNS.encode()})
    assert look(made).speakers == ["ann", "bob"]
    drums = dataset(status=DatasetStatus.AWAITING_FILES, task=CLASSES)
    stage(drums.id, dict.fromkeys(DRUMS, b"x"))
    assert look(drums).labels == [("drum", 4), ("loop", 4)]
    assert look(drums, label_from="none").labels == []
