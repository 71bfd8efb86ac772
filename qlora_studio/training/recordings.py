"""Long recordings in pieces: cut for training, and in overlapping windows to hear one as a whole."""

import math
from collections.abc import Sequence

import numpy as np

from qlora_studio.audio import turns
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training.permutations import align

WINDOW_S = 20.0
OVERLAP_S = 5.0  # both windows hear it, which tells whose voice is whose in the next one


def cut_evenly(clip: ClipItem) -> list[ClipItem]:
    """Pieces of equal length without overlap, none longer than a window: nothing is thrown away."""
    n_pieces = math.ceil(clip.duration_s / WINDOW_S)
    if n_pieces <= 1:
        return [clip]
    length_s = clip.duration_s / n_pieces
    return [part(clip, index * length_s, length_s) for index in range(n_pieces)]


def cut_overlapping(clip: ClipItem) -> list[ClipItem]:
    """Windows spread evenly over a recording, each sharing at least `OVERLAP_S` with the next."""
    starts = window_starts(clip.duration_s)
    return [part(clip, start_s, WINDOW_S) for start_s in starts] if len(starts) > 1 else [clip]


def window_starts(duration_s: float) -> list[float]:
    """Where windows over a recording begin: the first at 0, the last so that it ends with the recording."""
    rest_s = duration_s - WINDOW_S
    if rest_s <= 0:
        return [0.0]
    n_steps = math.ceil(rest_s / (WINDOW_S - OVERLAP_S))
    return [index * rest_s / n_steps for index in range(n_steps + 1)]


def part(clip: ClipItem, start_s: float, duration_s: float) -> ClipItem:
    """A stretch of a recording with its own turns."""
    heard = turns.from_rttm(clip.text or "")
    within = turns.cut(heard, start_s, start_s + duration_s)
    return clip.model_copy(
        update={
            "id": f"{clip.id}@{start_s:.2f}",
            "start_s": clip.start_s + start_s,
            "duration_s": duration_s,
            "is_part": True,
            "text": turns.to_rttm(turns.file_id_of(clip.text or "") or clip.id, within),
        }
    )


def join(pieces: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """Join what was heard in windows of one recording.

    Each window numbers its speakers as it likes; they are put into the order in which they agree best with
    the windows before it, over the frames that both have heard. Those frames become the mean.

    Args:
        pieces: first frame of each window and its activity, (frames, speakers), in order.

    Returns:
        The whole recording's activity, float32 (frames, speakers).
    """
    n_frames = max(start + len(activity) for start, activity in pieces)
    total = np.zeros((n_frames, pieces[0][1].shape[1]), dtype=np.float32)
    n_heard = np.zeros((n_frames, 1), dtype=np.float32)
    for start, activity in pieces:
        here = slice(start, start + len(activity))
        both = n_heard[here, 0] > 0
        if both.any():
            before = total[here][both] / n_heard[here][both]
            total[here] += activity[:, align(before, activity[both])]
        else:
            total[here] += activity
        n_heard[here] += 1
    return total / np.maximum(n_heard, 1)
