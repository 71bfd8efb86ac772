"""Labels find their files; whatever doesn't is listed with a reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlora_studio.contracts.enums import Split, Task
from qlora_studio.ingest.manifests import ManifestRefused, guess_mapping
from qlora_studio.ingest.matching import StagedFile, match
from qlora_studio.ingest.names import clean_name, staged_name
from tests.ingest.sounds import write

SPEECH, CLASSES = Task.SPEECH_TO_TEXT, Task.AUDIO_CLASSIFICATION


def plan_of(tmp_path, files: dict[str, bytes | str], *, task=SPEECH, mapping=None):
    content = {name: v.encode() if isinstance(v, str) else v for name, v in files.items()}
    write(tmp_path, {staged_name(name): v for name, v in content.items()})
    staged = [StagedFile(name, tmp_path / staged_name(name)) for name in files]
    return match(staged, task=task, mapping=mapping)


def good(plan) -> dict[str, str | None]:
    return {c.name: c.labels.text or c.labels.label for c in plan.clips if c.reason is None}


def bad(plan) -> dict[str, str]:
    return {c.name: c.reason for c in plan.clips if c.reason is not None}


def test_preferences_as_trl_has_them_become_marks_of_recordings(tmp_path):
    lines = [
        {"prompt": "a bell", "chosen": "a.wav", "rejected": "b.wav", "split": "train"},
        {"prompt": "a bell", "chosen": {"path": "c.wav"}, "rejected": "a.wav", "split": "train"},
        {"prompt": "rain", "chosen": "d.wav", "rejected": "gone.wav", "split": "validation"},
    ]
    table = "\n".join(map(json.dumps, lines))
    files = {"pairs.jsonl": table, **{f"{name}.wav": b"RIFF" for name in "abcd"}}
    plan = plan_of(tmp_path, files, task=Task.TEXT_TO_AUDIO)
    found = {c.name: (c.labels.text, c.labels.label, c.labels.split) for c in plan.clips if c.reason is None}
    assert found == {
        "a.wav": ("a bell", "1+ 2-", Split.TRAIN),
        "b.wav": ("a bell", "1-", Split.TRAIN),
        "c.wav": ("a bell", "2+", Split.TRAIN),
        "d.wav": ("rain", "3+", Split.VALIDATION),
    }
    assert "Missing file" in bad(plan)["gone.wav"]
    files["pairs.jsonl"] = table.replace("rain", "snow") + "\n" + json.dumps(lines[2] | {"rejected": "b.wav"})
    with pytest.raises(ManifestRefused, match=r"line 4 gives d\.wav another prompt"):
        plan_of(tmp_path, files, task=Task.TEXT_TO_AUDIO)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("manifest.csv", "path,text\na.wav,hello there\nsub/b.wav,good day\n"),
        ("metadata.csv", "file_name,transcription\na.wav,hello there\nsub/b.wav,good day\n"),
        ("metadata.csv", "\ufefffile_name;sentence\na.wav;hello there\nsub/b.wav;good day\n"),
        ("manifest.tsv", "audio\ttranscript\na\thello there\nb\tgood day\n"),
        ("metadata.csv", "a|hello there|hello there\nb|good  day|good day\n"),
        (
            "manifest.jsonl",
            '{"audio": {"path": "a.wav"}, "text": "hello there"}\n'
            '{"audio": {"path": "b.wav"}, "text": "good day"}\n',
        ),
        ("other.csv", "file,text\na.wav,hello there\nb.wav,good day\n"),
    ],
)
def test_reads_the_usual_tables(tmp_path, name, table):
    plan = plan_of(tmp_path, {name: table, "a.wav": "", "sub/b.wav": ""})
    assert good(plan) == {"a.wav": "hello there", "sub/b.wav": "good day"}
    assert bad(plan) == {}
    assert plan.label_source == "manifest"


def test_rows_without_file_and_files_without_row_are_listed(tmp_path):
    table = "file_name,text\na.wav,hello\ngone.wav,lost\na.wav,again\n,nothing\nc.wav,\n"
    plan = plan_of(
        tmp_path, {"metadata.csv": table, "a.wav": "", "b.wav": "", "c.wav": "", "notes.pdf": "%PDF"}
    )
    assert good(plan) == {"a.wav": "hello"}
    reasons = [(c.name, c.reason.partition(":")[0]) for c in plan.clips if c.reason]
    assert sorted(reasons) == [
        ("a.wav", "Listed twice"), ("b.wav", "Not listed"), ("c.wav", "No text"),
        ("gone.wav", "Missing file"), ("metadata.csv, row 5", "No file name"),
        ("notes.pdf", "Not a recording"),
    ]  # fmt: skip


def test_splits_of_the_table_are_kept(tmp_path):
    table = "file_name,text,split\na.wav,x,train\nb.wav,y,dev\nc.wav,z,Test\nd.wav,w,\n"
    plan = plan_of(tmp_path, {"metadata.csv": table, **{f"{n}.wav": "" for n in "abcd"}})
    assert [c.labels.split for c in plan.clips] == [Split.TRAIN, Split.VALIDATION, Split.TEST, None]


def test_an_explicit_mapping_wins_over_the_guess(tmp_path):
    table = "id,text,corrected\na.wav,wrong,right\n"
    plan = plan_of(tmp_path, {"manifest.csv": table, "a.wav": ""}, mapping={"text": "corrected"})
    assert good(plan) == {"a.wav": "right"}


@pytest.mark.parametrize(
    ("table", "mapping", "reason"),
    [
        ("who,what\n1,2\n", {}, "no column that names the files"),
        ("file_name,other\na.wav,x\n", {}, "no column for the text"),
        ("file_name,text\na.wav,x\n", {"text": "nope"}, "no column nope"),
        (b"file_name,text\na.wav,\xff\xfe\n", {}, "isn't UTF-8"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused(tmp_path, table, mapping, reason):
    with pytest.raises(ManifestRefused, match=reason):
        plan_of(tmp_path, {"metadata.csv": table, "a.wav": ""}, mapping=mapping)


def test_broken_json_lines_name_the_line(tmp_path):
    with pytest.raises(ManifestRefused, match="line 2"):
        plan_of(tmp_path, {"manifest.jsonl": '{"file": "a.wav", "text": "x"}\nnot json\n', "a.wav": ""})


def test_texts_of_the_same_name(tmp_path):
    files = {
        "1/a.wav": "",
        "1/a.txt": " two\n words ",
        "b.wav": "",
        "c.wav": "",
        "c.txt": b"\xff\xff",
        "spare.txt": "x",
    }
    plan = plan_of(tmp_path, files)
    assert good(plan) == {"1/a.wav": "two words"}
    assert {name: reason.partition(":")[0] for name, reason in bad(plan).items()} == {
        "b.wav": "No text", "c.wav": "Bad text", "spare.txt": "Text without sound",
    }  # fmt: skip


def test_classes_by_folder_and_splits_by_folder(tmp_path):
    files = {"train/dog/1.wav": "", "test/cat/1.wav": "", "loose.wav": ""}
    plan = plan_of(tmp_path, files, task=CLASSES)
    assert good(plan) == {"train/dog/1.wav": "dog", "test/cat/1.wav": "cat"}
    assert [c.labels.split for c in plan.clips if c.reason is None] == [Split.TEST, Split.TRAIN][::1]
    assert bad(plan)["loose.wav"].startswith("No label")


def test_without_labels_every_recording_is_taken(tmp_path):
    plan = plan_of(tmp_path, {"a.wav": "", "b.flac": ""})
    assert good(plan) == {"a.wav": None, "b.flac": None}
    assert plan.label_source == "none"


def test_notes_and_leftovers_are_not_clips(tmp_path):
    plan = plan_of(
        tmp_path, {"a.wav": "", "README.md": "x", "LICENSE": "x", ".DS_Store": "x", "__MACOSX/._a.wav": "x"}
    )
    assert good(plan) == {"a.wav": None}
    assert plan.ignored == [".DS_Store", "LICENSE", "README.md", "__MACOSX/._a.wav"]


def test_the_jsonl_may_hold_anything(tmp_path):
    rows = [
        {"file": 5, "text": None},
        {"file": ["x"], "text": {"a": 1}},
        {"file": "a.wav", "text": "ok", "label": "l" * 999},
    ]
    plan = plan_of(tmp_path, {"manifest.jsonl": "\n".join(json.dumps(r) for r in rows), "a.wav": ""})
    assert good(plan) == {"a.wav": "ok"}
    assert len(plan.clips) == 3


def test_guess_takes_each_column_once():
    assert guess_mapping(["Path", "Sentence", "client_id"]) == {
        "file": "Path",
        "text": "Sentence",
        "speaker": "client_id",
    }


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("..\\..\\x.wav", "x.wav"),
        ("/abs/x.wav", "abs/x.wav"),
        ("a\0b.wav", "a\\u0000b.wav"),
        ("evil\u202egpj.wav", "evil\\u202egpj.wav"),
        ("-rf.wav", "-rf.wav"),
        ("CON", "CON"),
        ("..", "unnamed"),
    ],
)
def test_names_are_cleaned_for_showing(raw, shown):
    assert clean_name(raw) == shown


@given(st.text(max_size=2000))
def test_a_cleaned_name_is_always_fit_to_show(raw):
    name = clean_name(raw)
    assert 0 < len(name) <= 300
    assert not name.startswith("/")
    assert ".." not in name.split("/")
    assert len(staged_name(name)) == 32
