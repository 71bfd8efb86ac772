"""The embedded dataset is complete, small, and its validation clips say nothing that training has said."""

import csv

import pytest
import soundfile as sf

from qlora_studio.examples.catalog import EXAMPLE_DATASET, example_dataset_path

MAX_BYTES = 8_000_000


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (example_dataset_path() / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_has_its_clip_and_every_clip_its_row(rows: list[dict[str, str]]) -> None:
    files = sorted(f"clips/{path.name}" for path in (example_dataset_path() / "clips").iterdir())

    assert sorted(row["file_name"] for row in rows) == files
    assert len(files) == len(set(files)) >= 400


def test_clips_are_16_khz_mono_speech_of_seconds(rows: list[dict[str, str]]) -> None:
    for row in rows:
        info = sf.info(example_dataset_path() / row["file_name"])
        assert (info.samplerate, info.channels, info.format) == (16_000, 1, "FLAC"), row
        assert 0.3 <= info.duration <= 29.0, row


def test_texts_are_lower_case_words(rows: list[dict[str, str]]) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyz' ")

    assert all(row["text"].split() and set(row["text"]) <= allowed for row in rows)


def test_no_text_is_in_two_splits(rows: list[dict[str, str]]) -> None:
    train = {row["text"] for row in rows if row["split"] == "train"}
    validation = {row["text"] for row in rows if row["split"] == "validation"}

    assert {row["split"] for row in rows} == {"train", "validation"}
    assert not train & validation
    assert sum(row["split"] == "validation" for row in rows) >= 90


def test_small_and_with_licence_and_attribution() -> None:
    files = [path for path in example_dataset_path().rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    assert "Allison Smith" in (example_dataset_path() / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "ShareAlike" in (example_dataset_path() / "LICENSE.txt").read_text(encoding="utf-8")


def test_the_card_counts_right(rows: list[dict[str, str]]) -> None:
    minutes = sum(sf.info(example_dataset_path() / row["file_name"]).duration for row in rows) / 60

    assert f"{len(rows)} short recordings" in EXAMPLE_DATASET.description
    assert f"{minutes:.0f} minutes" in EXAMPLE_DATASET.description
