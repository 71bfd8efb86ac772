"""Long recordings in pieces that a model can take."""

import numpy as np

_SEARCH_SHARE = 0.25  # of a piece, at its end: where to look for a pause
_FRAME_S = 0.02
_PAUSE_FRAMES = 10


def cut(samples: np.ndarray, sample_rate: int, *, max_s: float) -> list[np.ndarray]:
    """Cut samples (n,) into pieces of at most `max_s` seconds, each ending in the middle of a pause.

    The pause is the quietest 0.2 s within the last quarter of a piece. Nothing is lost: the pieces, put
    together, are the samples.
    """
    most = int(max_s * sample_rate)
    pieces = []
    while len(samples) > most:
        end = _quietest(samples, int(most * (1 - _SEARCH_SHARE)), most, sample_rate)
        pieces.append(samples[:end])
        samples = samples[end:]
    return [*pieces, samples]


def _quietest(samples: np.ndarray, first: int, last: int, sample_rate: int) -> int:
    """The index in the middle of the quietest stretch between two indices."""
    n_frame = max(1, int(_FRAME_S * sample_rate))
    n_frames = (last - first) // n_frame
    if n_frames <= _PAUSE_FRAMES:
        return last
    frames = samples[first : first + n_frames * n_frame].reshape(n_frames, n_frame)
    energy = np.square(frames, dtype=np.float64).sum(axis=1)
    stretch = np.convolve(energy, np.ones(_PAUSE_FRAMES), mode="valid")
    return first + (int(stretch.argmin()) + _PAUSE_FRAMES // 2) * n_frame
