"""A waveform small enough to draw: the lowest and highest value of each of at most 800 stretches."""

import numpy as np
from numpy.typing import NDArray

N_BUCKETS = 800


class PeakMeter:
    """Takes mono samples piece by piece and keeps the low and high of each bucket.

    Args:
        n_frames: how many samples will come in all.
        n_buckets: how many stretches to keep; fewer if there are fewer samples.
    """

    def __init__(self, n_frames: int, n_buckets: int = N_BUCKETS) -> None:
        self._n = max(1, min(n_buckets, n_frames))
        self._edges = np.arange(self._n + 1, dtype=np.int64) * max(n_frames, 1) // self._n
        self._low = np.full(self._n, np.inf, dtype=np.float32)
        self._high = np.full(self._n, -np.inf, dtype=np.float32)
        self._at = 0

    def add(self, samples: NDArray[np.float32]) -> None:
        """Take the next samples, shape (n,)."""
        start, end = self._at, min(self._at + len(samples), int(self._edges[-1]))
        if end <= start:
            return
        first = int(np.searchsorted(self._edges, start, side="right")) - 1
        last = int(np.searchsorted(self._edges, end, side="left"))  # one past the last bucket touched
        offsets = np.maximum(self._edges[first:last], start) - start
        piece = samples[: end - start]
        low = np.minimum.reduceat(piece, offsets)
        high = np.maximum.reduceat(piece, offsets)
        self._low[first:last] = np.minimum(self._low[first:last], low)
        self._high[first:last] = np.maximum(self._high[first:last], high)
        self._at = end

    def to_bytes(self) -> bytes:
        """Low and high in turn, one unsigned byte each: 0 is -1.0, 255 is +1.0."""
        both = np.stack([self._low, self._high], axis=1)
        both = np.where(np.isfinite(both), both, 0.0)
        return np.round((np.clip(both, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8).tobytes()


def to_pairs(peaks: bytes) -> list[tuple[float, float]]:
    """Turn stored bytes back into (low, high) pairs between -1 and 1."""
    values = np.frombuffer(peaks, dtype=np.uint8).astype(np.float32) / 127.5 - 1.0
    pairs = values.reshape(-1, 2).round(3).tolist()
    return [(low, high) for low, high in pairs]
