"""Bring files and labels together. Every file and every row ends up as a clip, as labels, or in a list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from qlora_studio.contracts.enums import Split, Task
from qlora_studio.ingest.manifests import Labels, ManifestRefused, Row, is_manifest, read_manifest, split_of
from qlora_studio.ingest.names import is_document, is_junk

MAX_TEXT_CHARACTERS = 10_000
_MAX_TEXT_BYTES = 64 << 10
_TABLES = (".csv", ".tsv", ".jsonl")
_NEEDED = {Task.SPEECH_TO_TEXT: "text", Task.TEXT_TO_AUDIO: "text", Task.AUDIO_CLASSIFICATION: "label"}
_NOT_SOUND = frozenset(
    ".png .jpg .jpeg .gif .webp .svg .pdf .doc .docx .xls .xlsx .html .htm .xml .json .yaml .yml .py .js .md "
    ".mp4 .mov .avi .mkv .npy .npz .pt .bin .safetensors .csv .tsv .jsonl .txt .rttm .ctm .textgrid".split()
)


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that was received: its name for people, where its bytes are, and why it can't be used, if so."""

    name: str
    path: Path | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedClip:
    """A clip to decode, or with a `reason` one that can't be used whatever its sound is."""

    name: str
    path: Path | None
    labels: Labels = field(default_factory=Labels)
    reason: str | None = None


@dataclass(slots=True)
class Plan:
    """What an ingest will do. `label_source` is "manifest", "text files", "folders" or "none"."""

    clips: list[PlannedClip]
    ignored: list[str]
    label_source: str
    mapping: dict[str, str] = field(default_factory=dict)


def match(files: Sequence[StagedFile], *, task: Task, mapping: Mapping[str, str] | None = None) -> Plan:
    """Decide what each file is and which labels belong to it, in the order of the names.

    Raises:
        ManifestRefused: the table of labels can't be read, so that no label could be trusted.
    """
    ordered = sorted(files, key=lambda f: f.name)
    ignored = [f.name for f in ordered if is_junk(f.name) or is_document(f.name)]
    dropped = set(ignored)
    kept = [f for f in ordered if f.name not in dropped]
    failed = [PlannedClip(f.name, None, reason=f.reason) for f in kept if f.reason]
    usable = [f for f in kept if f.reason is None and f.path is not None]
    tables = _tables(usable)
    table_names = {f.name for f in tables}
    rest = [f for f in usable if f.name not in table_names]
    texts, sounds = _pair_texts(rest)
    if tables:
        plan = _by_manifest(tables, sounds, task, mapping)
        texts = {}
    else:
        plan = _by_neighbours(sounds, texts, task)
    claimed = {f.name for f in sounds} | {text.name for text in texts.values()}
    spare = [f for f in rest if f.name not in claimed]
    plan.clips += failed + [PlannedClip(f.name, None, reason=_not_sound(f.name)) for f in spare]
    plan.clips.sort(key=lambda clip: clip.name)
    plan.ignored = ignored
    return plan


def _tables(files: Sequence[StagedFile]) -> list[StagedFile]:
    named = [f for f in files if is_manifest(f.name)]
    if named:
        return named
    tables = [f for f in files if f.name.lower().endswith(_TABLES)]
    return tables if len(tables) == 1 else []


def _pair_texts(files: Sequence[StagedFile]) -> tuple[dict[str, StagedFile], list[StagedFile]]:
    """Return (recording's name -> its .txt) and the files that may be recordings."""
    sounds = [f for f in files if PurePosixPath(f.name).suffix.lower() not in _NOT_SOUND]
    by_stem = {_stem(f.name): f for f in files if f.name.lower().endswith(".txt")}
    return {f.name: by_stem[_stem(f.name)] for f in sounds if _stem(f.name) in by_stem}, sounds


def _by_manifest(
    tables: Sequence[StagedFile], sounds: Sequence[StagedFile], task: Task, mapping: Mapping[str, str] | None
) -> Plan:
    index = _FileIndex(sounds)
    clips: list[PlannedClip] = []
    used: dict[str, int] = {}
    chosen: dict[str, str] = {}
    for table in tables:
        assert table.path is not None
        manifest = read_manifest(table.path, table.name, mapping=mapping)
        chosen = manifest.mapping
        needed = _NEEDED.get(task)
        if needed and needed not in chosen:
            listed = ", ".join(manifest.columns[:12])
            raise ManifestRefused(f"{table.name} has no column for the {needed}. Its columns: {listed}.")
        for row in manifest.rows:
            clips.append(_row_clip(row, table.name, index, used, task))
    names = " or ".join(table.name for table in tables[:2])
    for sound in sounds:
        if sound.name not in used:
            reason = f"Not listed: no row of {names} names this file."
            clips.append(PlannedClip(sound.name, None, reason=reason))
    return Plan(clips, [], "manifest", chosen)


def _row_clip(row: Row, table: str, index: "_FileIndex", used: dict[str, int], task: Task) -> PlannedClip:
    if not row.file:
        name = f"{table}, row {row.number}"
        return PlannedClip(name, None, row.labels, "No file name: the row names no file.")
    found = index.find(row.file)
    if found is None:
        reason = f"Missing file: row {row.number} of {table} names it, but it isn't here."
        return PlannedClip(row.file, None, row.labels, reason)
    if found.name in used:
        reason = f"Listed twice: row {row.number} of {table} names a file that row {used[found.name]} has."
        return PlannedClip(found.name, None, row.labels, reason)
    used[found.name] = row.number
    labels = _tidy(row.labels)
    labels = replace(labels, split=labels.split or _folder_split(found.name))
    return PlannedClip(found.name, found.path, labels, _lacks(labels, task))


def _by_neighbours(sounds: Sequence[StagedFile], texts: Mapping[str, StagedFile], task: Task) -> Plan:
    has_folders = task is Task.AUDIO_CLASSIFICATION and any(_class_of(f.name) for f in sounds)
    source = "text files" if texts else "folders" if has_folders else "none"
    clips: list[PlannedClip] = []
    for sound in sounds:
        labels, reason = Labels(split=_folder_split(sound.name)), None
        if sound.name in texts:
            labels, reason = _text_labels(sound, texts[sound.name], task)
        if has_folders and labels.label is None:
            labels = Labels(labels.text, _class_of(sound.name), labels.speaker, labels.split)
        if reason is None and source != "none":
            reason = _lacks(labels, task)
        clips.append(PlannedClip(sound.name, sound.path, labels, reason))
    return Plan(clips, [], source)


def _text_labels(sound: StagedFile, text: StagedFile, task: Task) -> tuple[Labels, str | None]:
    assert text.path is not None
    split = _folder_split(sound.name)
    with text.path.open("rb") as file:
        raw = file.read(_MAX_TEXT_BYTES + 1)
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Labels(split=split), f"Bad text: {text.name} isn't UTF-8 text."
    labels = _tidy(Labels(text=content, split=split))
    if task is Task.AUDIO_CLASSIFICATION:
        return Labels(label=(labels.text or "")[:200] or None, split=split), None
    return labels, None


def _tidy(labels: Labels) -> Labels:
    text = " ".join(labels.text.replace("\0", " ").split()) if labels.text is not None else None
    return Labels(text or None, labels.label or None, labels.speaker or None, labels.split)


def _lacks(labels: Labels, task: Task) -> str | None:
    needed = _NEEDED.get(task)
    if needed and not getattr(labels, needed):
        return f"No {needed}: its {needed} is empty or missing."
    if labels.text and len(labels.text) > MAX_TEXT_CHARACTERS:
        return f"Text too long: {len(labels.text):,} characters; at most {MAX_TEXT_CHARACTERS:,}."
    return None


def _folder_split(name: str) -> Split | None:
    top, slash, _ = name.partition("/")
    return split_of(top) if slash else None


def _class_of(name: str) -> str | None:
    folder = PurePosixPath(name).parent.name
    return None if not folder or split_of(folder) else folder[:200]


def not_sound_reason(name: str) -> str | None:
    """Why a file needn't even be copied, or None if it may be a recording, labels or a note."""
    suffix = PurePosixPath(name).suffix.lower()
    is_wanted = suffix not in _NOT_SOUND or suffix in (*_TABLES, ".txt") or is_document(name)
    return None if is_wanted else _not_sound(name)


def _not_sound(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".txt":
        return "Text without sound: no recording has the same name."
    return f"Not a recording: files of type {suffix or 'unknown'} aren't read."


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


class _FileIndex:
    """Finds the file that a row means: by its name, without its ending, or by its last part if unique."""

    def __init__(self, files: Sequence[StagedFile]) -> None:
        self._by_name = {f.name: f for f in files}
        self._by_key: dict[str, StagedFile | None] = {}
        for file in files:
            path = PurePosixPath(file.name)
            for key in {_stem(file.name), path.name, path.stem}:
                self._by_key[key] = None if key in self._by_key else file

    def find(self, name: str) -> StagedFile | None:
        if name in self._by_name:
            return self._by_name[name]
        path = PurePosixPath(name)
        keys = (name, path.name) if path.suffix else (name, path.name, path.stem)
        return next((hit for key in keys if (hit := self._by_key.get(key)) is not None), None)
