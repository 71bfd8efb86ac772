"""How well an answer says who spoke when."""

from collections.abc import Sequence
from typing import Any

from qlora_studio.audio.turns import Turn

Pair = tuple[Sequence[Turn], Sequence[Turn]]


def rates(pairs: Sequence[Pair]) -> dict[str, float | None]:
    """Return `der` and its parts `missed_speech`, `false_alarm` and `confusion` over some recordings.

    The diarization error rate of NIST's Rich Transcription evaluations, by pyannote.metrics: seconds that are
    wrong, summed over all recordings, divided by the seconds of speech in the references (a second in which
    two speak counts twice). Speakers are matched for each recording so that it comes out lowest. Strict: no
    collar around the ends of turns, overlapping speech counts. 1.0 is 100 %; false alarms can push it above.
    None when nobody speaks in the references.

    Args:
        pairs: (reference, answer) of each recording.
    """
    from pyannote.core import Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    measure: Any = DiarizationErrorRate(collar=0.0, skip_overlap=False)
    sums = dict.fromkeys(("total", "missed detection", "false alarm", "confusion"), 0.0)
    for reference, answer in pairs:
        end_s = max((turn.end_s for turn in (*reference, *answer)), default=0.0)
        if not end_s:
            continue
        found = measure.compute_components(
            _annotation(reference), _annotation(answer), uem=Timeline([Segment(0, end_s)])
        )
        sums = {name: value + found[name] for name, value in sums.items()}
    total = sums.pop("total")
    names = ("missed_speech", "false_alarm", "confusion")
    if not total:
        return dict.fromkeys(("der", *names))
    shares = dict(zip(names, (seconds / total for seconds in sums.values()), strict=True))
    return {"der": sum(shares.values()), **shares}


def _annotation(turns: Sequence[Turn]) -> Any:
    """The turns as pyannote has them; those of one speaker that touch or overlap become one."""
    from pyannote.core import Annotation, Segment

    annotation = Annotation()
    for index, turn in enumerate(turns):
        annotation[Segment(turn.start_s, turn.end_s), index] = turn.speaker
    return annotation.support()
