"""Bring files and labels together. Every file and every row ends up as a clip, as labels, or in a list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from qlora_studio.audio import turns
from qlora_studio.contracts.enums import LEARNS_FROM, Split, Task
from qlora_studio.ingest import rttm
from qlora_studio.ingest.manifests import (
    LABEL_FROM,
    Labels,
    Manifest,
    ManifestRefused,
    Row,
    is_manifest,
    read_manifest,
    split_of,
)
from qlora_studio.ingest.names import is_document, is_junk
from qlora_studio.ingest.transcripts import read_transcript

MAX_TEXT_CHARACTERS = 10_000
_MAX_TEXT_BYTES = 64 << 10
_MAX_LISTS = 100
_TABLES = (".csv", ".tsv", ".jsonl")
LABEL_SUFFIXES = (*_TABLES, ".txt", ".rttm")  # files that may say what recordings hold
LabelSource = Literal["manifest", "transcript list", "rttm", "text files", "folders", "file names", "none"]
# What a recording must come with. Who speaks when comes in files of its own, and recordings may come without.
_NEEDED = {task: field for task, field in LEARNS_FROM.items() if task is not Task.SPEAKER_DIARIZATION}
_LABEL_SOURCES: dict[str, LabelSource] = {"folder": "folders", "prefix": "file names"}
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
    """What an ingest will do.

    `tables` are the files it was read from, `columns` those of the last of them, `mapping` what was taken for
    what, guesses included.
    """

    clips: list[PlannedClip]
    ignored: list[str]
    label_source: LabelSource
    mapping: dict[str, str] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)


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
    sounds = [f for f in usable if PurePosixPath(f.name).suffix.lower() not in _NOT_SOUND]
    plan, claimed = _plan(usable, sounds, task, dict(mapping or {}))
    claimed |= {f.name for f in sounds}
    spare = [f for f in usable if f.name not in claimed]
    plan.clips += failed + [PlannedClip(f.name, None, reason=_not_sound(f.name)) for f in spare]
    plan.clips.sort(key=lambda clip: clip.name)
    plan.ignored = ignored
    return plan


def _plan(
    files: Sequence[StagedFile], sounds: Sequence[StagedFile], task: Task, mapping: dict[str, str]
) -> tuple[Plan, set[str]]:
    """The plan for the recordings, and the names of the files that it took labels from."""
    rttm_files = [f for f in files if f.name.lower().endswith(".rttm")]
    if task is Task.SPEAKER_DIARIZATION and rttm_files:
        return _by_rttm(rttm_files, sounds), {f.name for f in rttm_files}
    label_from = mapping.pop(LABEL_FROM, "")
    tables = find_tables(files)
    if tables:
        manifests = [read_manifest(_path(f), f.name, mapping=mapping) for f in tables]
        plan = _by_manifest(manifests, sounds, task, label_from)
        return plan, {f.name for f in tables}
    texts = _pair_texts(files, sounds)
    lists = [] if texts else _transcripts(files, sounds)
    if lists:
        plan = _by_manifest(lists, sounds, task, label_from, "transcript list")
        return plan, {manifest.name for manifest in lists}
    plan = _by_neighbours(sounds, texts, task, label_from)
    return plan, {text.name for text in texts.values()}


def _path(file: StagedFile) -> Path:
    assert file.path is not None
    return file.path


def find_tables(files: Sequence[StagedFile]) -> list[StagedFile]:
    """The tables of labels: those with one of the usual names, or the only one there is."""
    readable = [f for f in files if f.reason is None and f.path is not None and not is_junk(f.name)]
    named = [f for f in readable if is_manifest(f.name)]
    if named:
        return named
    tables = [f for f in readable if f.name.lower().endswith(_TABLES) and not is_document(f.name)]
    return tables if len(tables) == 1 else []


def _pair_texts(files: Sequence[StagedFile], sounds: Sequence[StagedFile]) -> dict[str, StagedFile]:
    """Recording's name -> its .txt."""
    by_stem = {_stem(f.name): f for f in files if f.name.lower().endswith(".txt")}
    return {f.name: by_stem[_stem(f.name)] for f in sounds if _stem(f.name) in by_stem}


def _transcripts(files: Sequence[StagedFile], sounds: Sequence[StagedFile]) -> list[Manifest]:
    """Lists of `name: text` that name at least one of the recordings."""
    index = _FileIndex(sounds)
    texts = [f for f in files if f.name.lower().endswith(".txt")]
    read = [read_transcript(_path(f), f.name) for f in texts[:_MAX_LISTS]]
    return [m for m in read if m is not None and any(index.find(row.file, exact=True) for row in m.rows)]


def _by_rttm(tables: Sequence[StagedFile], sounds: Sequence[StagedFile]) -> Plan:
    index = _FileIndex(sounds)
    clips: list[PlannedClip] = []
    found: dict[str, rttm.Turns] = {}
    for table in tables:
        by_id = rttm.read(_path(table), table.name)
        for file_id, its in by_id.items():
            # a file of its own may call the recording what it likes
            sound = index.find(file_id) or (index.find(_stem(table.name)) if len(by_id) == 1 else None)
            if sound is None:
                reason = f"Missing file: {table.name} has segments of it, but it isn't here."
                clips.append(PlannedClip(file_id, None, reason=reason))
                continue
            so_far = found.setdefault(sound.name, rttm.Turns())
            so_far.turns += its.turns
            so_far.fault = so_far.fault or its.fault
    for sound in sounds:
        clips.append(_with_turns(sound, found.get(sound.name)))
    return Plan(clips, [], "rttm", tables=[table.name for table in tables])


def _with_turns(sound: StagedFile, its: rttm.Turns | None) -> PlannedClip:
    split = _folder_split(sound.name)
    if its is None:
        reason = "No segments: no RTTM file names this recording."
        return PlannedClip(sound.name, sound.path, Labels(split=split), reason)
    text = turns.to_rttm(PurePosixPath(sound.name).stem, its.turns)
    reason = its.fault
    if len(text) > rttm.MAX_CHARACTERS:
        reason = f"Too many segments: {len(its.turns):,}."
    return PlannedClip(sound.name, sound.path, Labels(text=None if reason else text, split=split), reason)


def _by_manifest(
    manifests: Sequence[Manifest],
    sounds: Sequence[StagedFile],
    task: Task,
    label_from: str,
    source: LabelSource = "manifest",
) -> Plan:
    index = _FileIndex(sounds)
    plan = Plan([], [], source, tables=[manifest.name for manifest in manifests])
    used: dict[str, int] = {}
    for manifest in manifests:
        plan.mapping, plan.columns = dict(manifest.mapping), manifest.columns
        needed = _NEEDED.get(task)
        gives_label = needed == "label" and label_from in ("folder", "prefix")
        if needed and needed not in manifest.mapping and not gives_label:
            listed = ", ".join(manifest.columns[:12])
            raise ManifestRefused(f"{manifest.name} has no column for the {needed}. Its columns: {listed}.")
        for row in manifest.rows:
            clip = _row_clip(row, manifest.name, index, used, exact=source != "manifest")
            plan.clips.append(clip if clip.reason else _labelled(clip, task, label_from))
    if label_from:
        plan.mapping[LABEL_FROM] = label_from
    names = " or ".join(plan.tables[:2])
    for sound in sounds:
        if sound.name not in used:
            reason = f"Not listed: no row of {names} names this file."
            plan.clips.append(PlannedClip(sound.name, None, reason=reason))
    return plan


def _labelled(clip: PlannedClip, task: Task, label_from: str) -> PlannedClip:
    """The clip with the label that its name gives where the table gave none, and what it lacks."""
    label = clip.labels.label or _label_of(clip.name, label_from)
    labels = replace(clip.labels, label=label)
    return PlannedClip(clip.name, clip.path, labels, _lacks(labels, task))


def _row_clip(
    row: Row, table: str, index: "_FileIndex", used: dict[str, int], *, exact: bool = False
) -> PlannedClip:
    if not row.file:
        name = f"{table}, row {row.number}"
        return PlannedClip(name, None, row.labels, "No file name: the row names no file.")
    found = index.find(row.file, exact=exact)
    if found is None:
        reason = f"Missing file: row {row.number} of {table} names it, but it isn't here."
        return PlannedClip(row.file, None, row.labels, reason)
    if found.name in used:
        reason = f"Listed twice: row {row.number} of {table} names a file that row {used[found.name]} has."
        return PlannedClip(found.name, None, row.labels, reason)
    used[found.name] = row.number
    labels = _tidy(row.labels)
    labels = replace(labels, split=labels.split or _folder_split(found.name))
    return PlannedClip(found.name, found.path, labels)


def _by_neighbours(
    sounds: Sequence[StagedFile], texts: Mapping[str, StagedFile], task: Task, label_from: str
) -> Plan:
    if not label_from and task is Task.AUDIO_CLASSIFICATION:
        guessed = guess_label_from([f.name for f in sounds])
        label_from = guessed if guessed == "folder" or not texts else ""
    source = "text files" if texts else _LABEL_SOURCES.get(label_from, "none")
    clips: list[PlannedClip] = []
    for sound in sounds:
        labels, reason = Labels(split=_folder_split(sound.name)), None
        if sound.name in texts:
            labels, reason = _text_labels(sound, texts[sound.name], task)
        if labels.label is None:
            labels = replace(labels, label=_label_of(sound.name, label_from))
        if reason is None and source != "none":
            reason = _lacks(labels, task)
        clips.append(PlannedClip(sound.name, sound.path, labels, reason))
    return Plan(clips, [], source, {LABEL_FROM: label_from} if label_from else {})


def guess_label_from(names: Sequence[str]) -> str:
    """What in the names of recordings is their class: the folder, or what is before the first `_`."""
    if any(_class_of(name) for name in names):
        return "folder"
    prefixes = [_label_of(name, "prefix") for name in names]
    is_class = None not in prefixes and 2 <= len(set(prefixes)) <= len(prefixes) / 2
    return "prefix" if is_class else "none"


def _label_of(name: str, label_from: str) -> str | None:
    if label_from == "folder":
        return _class_of(name)
    before, underscore, _ = PurePosixPath(name).stem.partition("_")
    return (before.strip()[:200] or None) if label_from == "prefix" and underscore else None


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
    is_wanted = suffix not in _NOT_SOUND or suffix in LABEL_SUFFIXES or is_document(name)
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
        self._by_stem: dict[str, StagedFile | None] = {}
        self._by_key: dict[str, StagedFile | None] = {}
        for file in files:
            self._by_stem[_stem(file.name)] = None if _stem(file.name) in self._by_stem else file
            parts = PurePosixPath(file.name).parts
            tails = ["/".join(parts[start:]) for start in range(len(parts))]
            for key in {*tails, *map(_stem, tails)} - {file.name}:
                self._by_key[key] = None if key in self._by_key else file

    def find(self, name: str, *, exact: bool = False) -> StagedFile | None:
        """The file, or None; `exact` keeps the folders that the name has, so that 1/a never means 2/a."""
        if (found := self._by_name.get(name) or self._by_stem.get(name)) is not None:
            return found
        path = PurePosixPath(name)
        keys = (name, path.name) if path.suffix else (name, path.name, path.stem)
        return next((hit for key in keys[: 1 if exact else None] if (hit := self._by_key.get(key))), None)
