"""Tables that say what is in each recording: manifest.csv, manifest.jsonl, metadata.csv, metadata.jsonl."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from qlora_studio.contracts.enums import Split
from qlora_studio.ingest import preferences
from qlora_studio.ingest.names import clean_name

MAX_BYTES = 64 << 20
MAX_ROWS = 500_000
NAMES = ("manifest.csv", "manifest.jsonl", "manifest.tsv", "metadata.csv", "metadata.jsonl", "metadata.tsv")
FIELDS = ("file", "text", "label", "speaker", "split")
LABEL_FROM = "label_from"  # beside the fields in a mapping: what gives the label where no column does
LABELS_FROM = ("folder", "prefix", "none")
_GUESSES: dict[str, str] = {
    "file": "file_name filename file path audio audio_filepath audio_path audio_file wav wav_path clip id",
    "text": "text transcription transcript sentence normalized_text normalised_text caption prompt utterance",
    "label": "label class class_name category target intent emotion genre",
    "speaker": "speaker speaker_id speaker_name client_id reader",
    "split": "split subset partition",
}
_SPLITS = {
    "train": Split.TRAIN, "training": Split.TRAIN,
    "validation": Split.VALIDATION, "valid": Split.VALIDATION, "val": Split.VALIDATION,
    "dev": Split.VALIDATION, "eval": Split.VALIDATION,
    "test": Split.TEST, "testing": Split.TEST,
}  # fmt: skip


class ManifestRefused(Exception):
    """The table can't be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known about a recording besides its sound."""

    text: str | None = None
    label: str | None = None
    speaker: str | None = None
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its number for people (the first row under the head is 2 in a CSV), file name, labels."""

    number: int
    file: str
    labels: Labels


@dataclass(slots=True)
class Manifest:
    """A table that was read. `mapping` says which column was taken for which field."""

    name: str
    rows: list[Row]
    mapping: dict[str, str] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)


def is_manifest(name: str) -> bool:
    return PurePosixPath(name).name.lower() in NAMES


def split_of(word: str) -> Split | None:
    """The split that a word such as "dev" or "Training" means, or None."""
    return _SPLITS.get(word.strip().lower())


def guess_mapping(columns: list[str]) -> dict[str, str]:
    """Which column holds what, judged by its name."""
    by_key = {column.strip().lower(): column for column in columns}
    guessed: dict[str, str] = {}
    for name in FIELDS:
        found = next((by_key[guess] for guess in _GUESSES[name].split() if guess in by_key), None)
        if found is not None and found not in guessed.values():
            guessed[name] = found
    return guessed


def read_manifest(path: Path, name: str, *, mapping: Mapping[str, str] | None = None) -> Manifest:
    """Read a table of labels.

    Args:
        path: where its bytes are.
        name: its own name; tells CSV from JSON Lines and gives the folder that file names are relative to.
        mapping: field (`file`, `text`, `label`, `speaker`, `split`) to column, put over the guess; an empty
            column takes the guess away.

    Raises:
        ManifestRefused: not UTF-8, too large, broken, or no column names the files.
    """
    numbered, columns = _read(path, name)
    wanted = {**guess_mapping(columns), **(mapping or {})}
    chosen = {target: column for target, column in wanted.items() if column}
    _check_mapping(chosen, columns, name)
    folder = str(PurePosixPath(name).parent)
    rows = [_row(number, record, chosen, folder) for number, record in numbered]
    return Manifest(name=name, rows=rows, mapping=chosen, columns=columns)


def columns_of(path: Path, name: str) -> list[str]:
    """The columns of a table, for somebody to choose from.

    Raises:
        ManifestRefused: not UTF-8, too large or broken.
    """
    return _read(path, name)[1]


def read_text(path: Path, name: str) -> str:
    """A file's text.

    Raises:
        ManifestRefused: it is too large or isn't UTF-8.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ManifestRefused(f"{name} is larger than {MAX_BYTES >> 20} MB.")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestRefused(f"{name} isn't UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def _read(path: Path, name: str) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    content = read_text(path, name)
    if name.lower().endswith(".jsonl"):
        numbered, columns = _read_jsonl(content, name)
    else:
        numbered, columns = _read_csv(content, name)
    if len(numbered) > MAX_ROWS:
        raise ManifestRefused(f"{name} has {len(numbered):,} rows; at most {MAX_ROWS:,} are read.")
    return numbered, columns


def _check_mapping(mapping: Mapping[str, str], columns: list[str], name: str) -> None:
    listed = ", ".join(columns[:12])
    unknown = [f for f in mapping if f not in FIELDS]
    if unknown:
        raise ManifestRefused(f"The mapping names {unknown[0]}; it may name {', '.join(FIELDS)}.")
    if "file" not in mapping:
        raise ManifestRefused(f"{name} has no column that names the files. Its columns: {listed}.")
    for target, column in mapping.items():
        if column not in columns:
            raise ManifestRefused(f"{name} has no column {column} for {target}. Its columns: {listed}.")


def _read_csv(content: str, name: str) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    head = content.partition("\n")[0]
    if head.count("|") >= 1 and "," not in head and "\t" not in head and not guess_mapping(head.split("|")):
        return _read_ljspeech(content)
    delimiter = max(",\t;|", key=head.count)
    csv.field_size_limit(1 << 20)
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=delimiter)
    try:
        columns = [c for c in (reader.fieldnames or []) if c]
        numbered = [(reader.line_num, dict(record)) for record in reader]
    except csv.Error as error:
        raise ManifestRefused(f"{name} is broken at line {reader.line_num}: {error}.") from error
    return numbered, columns


def _read_ljspeech(content: str) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    """LJSpeech's table has no head: id|text|normalised text."""
    numbered: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            parts = line.split("|")
            numbered.append((number, {"file": parts[0], "text": parts[-1]}))
    return numbered, ["file", "text"]


def _read_jsonl(content: str, name: str) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    numbered: list[tuple[int, dict[str, Any]]] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ManifestRefused(f"{name} is broken at line {number}: not JSON.") from error
        if not isinstance(record, dict):
            raise ManifestRefused(f"{name} is broken at line {number}: each line must be an object.")
        columns.update(dict.fromkeys(record))
        numbered.append((number, record))
    if preferences.has_pairs(list(columns)):
        try:
            return preferences.to_recordings(numbered), ["file", "text", "label", "split"]
        except preferences.PairsRefused as error:
            raise ManifestRefused(f"{name} can't be used: {error}.") from error
    return numbered, list(columns)


def _row(number: int, record: Mapping[str, Any], mapping: Mapping[str, str], folder: str) -> Row:
    def value(target: str) -> str | None:
        found = record.get(mapping[target]) if target in mapping else None
        if isinstance(found, Mapping):
            found = found.get("path")  # {"audio": {"path": …}} of the datasets library
        return None if found is None else str(found).strip()

    file = value("file") or ""
    if file and folder != "." and not file.startswith(f"{folder}/"):
        file = f"{folder}/{file}"
    split = split_of(value("split") or "")
    label, speaker = value("label"), value("speaker")
    return Row(
        number=number,
        file=clean_name(file) if file else "",
        labels=Labels(
            text=value("text"),
            label=label[:200] if label else None,
            speaker=speaker[:200] if speaker else None,
            split=split,
        ),
    )
