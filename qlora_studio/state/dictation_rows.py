"""What the tab of a dictation shows, ready formatted."""

from dataclasses import dataclass, field

from qlora_studio.db.models import Clip, Dictation, Transcript
from qlora_studio.services import dictating
from qlora_studio.state import formats
from qlora_studio.state.dataset_rows import clip_row
from qlora_studio.state.dataset_versions import Piece, word_pieces


@dataclass(frozen=True)
class DictationView:
    """How far a dictation is, and what of it was looked at."""

    id: str = ""
    with_what: str = ""
    status: str = ""
    is_active: bool = False
    percent: int = 0
    progress: str = ""
    checked: str = ""
    n_checked: int = 0
    error: str = ""


@dataclass(frozen=True)
class TranscriptRow:
    """A clip: `said` is what was heard until somebody corrects it; `pieces` tell how the two differ."""

    id: str
    filename: str
    duration_s: str
    peaks: str
    heard: str
    said: str
    is_heard: bool
    is_checked: bool
    error: str
    pieces: list[Piece] = field(default_factory=list)


def dictation_view(dictation: Dictation) -> DictationView:
    """Format a dictation."""
    is_active = dictation.status in dictating.ACTIVE
    of_all = f"{dictation.n_done:,} of {formats.count(dictation.n_clips, 'clip')} heard"
    return DictationView(
        id=dictation.id,
        with_what=_with_what(dictation),
        status=dictation.status.value,
        is_active=is_active,
        percent=round(100 * dictation.n_done / max(1, dictation.n_clips)),
        progress=of_all,
        checked=f"{formats.count(dictation.n_checked, 'clip')} looked at",
        n_checked=dictation.n_checked,
        error=dictation.error,
    )


def dictation_choice(dictation: Dictation) -> list[str]:
    """A dictation as an option: what it is called."""
    n = formats.count(dictation.n_clips, "clip")
    return [dictation.id, f"{_with_what(dictation)}, {n}, {formats.when(dictation.created_at).relative}"]


def _with_what(dictation: Dictation) -> str:
    if not dictation.adapter_id:
        return dictation.model_name
    weaker = f" at {dictation.strength:g}" if dictation.strength != 1 else ""
    return f"{dictation.model_name} with {dictation.adapter_name}{weaker}"


def transcript_row(transcript: Transcript, clip: Clip) -> TranscriptRow:
    """Format what was heard in a clip."""
    shown, heard = clip_row(clip), transcript.heard or ""
    is_other = transcript.text is not None and transcript.text != heard
    return TranscriptRow(
        id=clip.id,
        filename=clip.filename,
        duration_s=shown.duration_s,
        peaks=shown.peaks,
        heard=heard,
        said=transcript.text if transcript.text is not None else heard,
        is_heard=transcript.heard is not None,
        is_checked=transcript.text is not None,
        error=transcript.error,
        pieces=word_pieces(heard, transcript.text or "") if is_other else [],
    )
