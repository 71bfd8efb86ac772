"""How a dataset's files would be read, before any is: columns, a guessed mapping, first rows, counts."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qlora_studio.audio import turns
from qlora_studio.contracts.enums import Task
from qlora_studio.core.settings import Settings
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import peeking, staging
from qlora_studio.ingest.manifests import ManifestRefused, columns_of, guess_mapping
from qlora_studio.ingest.matching import LabelSource, Plan, PlannedClip, find_tables, match

MAX_FILES = 20_000
N_ROWS = 10


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """A clip as it would be taken in; with a `reason` it would not."""

    file: str
    text: str | None
    label: str | None
    speaker: str | None
    split: str | None
    reason: str | None


@dataclass(slots=True)
class Preview:
    """What would become of the files.

    `mapping` is what would be used, `guessed` what nobody had to say; `refusal` says why nothing would be
    taken in. With `is_choice` there is something that somebody could want to be read otherwise. With
    `is_partial` only the first files were looked at, and the counts are theirs.
    """

    n_files: int
    is_partial: bool
    tables: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    guessed: dict[str, str] = field(default_factory=dict)
    mapping: dict[str, str] = field(default_factory=dict)
    label_source: LabelSource = "none"
    rows: list[PreviewRow] = field(default_factory=list)
    n_matched: int = 0
    n_unmatched: int = 0
    reasons: list[tuple[str, int]] = field(default_factory=list)
    labels: list[tuple[str, int]] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
    refusal: str | None = None
    is_choice: bool = False

    def as_json(self) -> dict[str, Any]:
        """The shape the API gives."""
        values = asdict(self)
        for name in ("reasons", "labels"):
            values[name] = [{"name": key, "n": n} for key, n in getattr(self, name)]
        return values


def look(dataset: Dataset, settings: Settings, *, mapping: Mapping[str, str] | None = None) -> Preview:
    """Look at a dataset's files as an ingest with this mapping would (None: the dataset's own).

    Recordings aren't opened. Of archives only what may be labels is unpacked, and forgotten again.

    Raises:
        SourceRefused: the files aren't there, or the folder may not be read.
    """
    folder = staging.files_path(dataset.id).parent
    folder.mkdir(parents=True, exist_ok=True)
    wanted = dataset.mapping if mapping is None else dict(mapping)
    with tempfile.TemporaryDirectory(dir=folder, prefix="preview-") as scratch:
        files = peeking.peek(dataset, Path(scratch), settings, max_files=MAX_FILES)
        preview = Preview(n_files=len(files), is_partial=len(files) >= MAX_FILES)
        tables = find_tables(files)
        preview.tables = [table.name for table in tables]
        try:
            if tables and tables[-1].path is not None:
                preview.columns = columns_of(tables[-1].path, tables[-1].name)
                preview.guessed = guess_mapping(preview.columns)
            _fill(preview, match(files, task=dataset.task, mapping=wanted), dataset.task)
        except ManifestRefused as refusal:
            preview.refusal = str(refusal)
            preview.mapping = {**preview.guessed, **wanted}
    has_columns = preview.label_source == "manifest" or preview.refusal is not None
    preview.is_choice = has_columns or dataset.task is Task.AUDIO_CLASSIFICATION
    return preview


def _fill(preview: Preview, plan: Plan, task: Task) -> None:
    preview.mapping, preview.label_source = plan.mapping, plan.label_source
    preview.tables, preview.columns = plan.tables, plan.columns
    preview.guessed = preview.guessed or plan.mapping
    preview.rows = [_row(clip) for clip in plan.clips[:N_ROWS]]
    preview.n_unmatched = sum(clip.reason is not None for clip in plan.clips)
    preview.n_matched = len(plan.clips) - preview.n_unmatched
    kinds = Counter((clip.reason or "").partition(":")[0] for clip in plan.clips if clip.reason)
    preview.reasons = kinds.most_common()
    used = [clip.labels for clip in plan.clips if clip.reason is None]
    preview.labels = Counter(labels.label for labels in used if labels.label).most_common(50)
    speakers = {labels.speaker for labels in used if labels.speaker}
    if task is Task.SPEAKER_DIARIZATION:
        speakers |= {turn.speaker for labels in used for turn in turns.from_rttm(labels.text or "")}
    preview.speakers = sorted(speakers)[:200]


def _row(clip: PlannedClip) -> PreviewRow:
    labels = clip.labels
    text = labels.text[:500] if labels.text else None
    split = labels.split.value if labels.split else None
    return PreviewRow(clip.name, text, labels.label, labels.speaker, split, clip.reason)
