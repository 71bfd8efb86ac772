"""What a recording sounds like in a few bytes, to find the same recording coded another way.

The bits are those of Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): the
signs of energy differences between 33 bands from 300 Hz to 2 kHz and between moments, 32 bits a moment. Two
things differ: moments are 32 ms apart and compared over 128 ms instead of 12 ms, since that survives coding
better and is smaller; and a moment without sound is 0, so that silence is like nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

RATE = 4410  # Hz, what the bits are computed at
MIN_RATE = 4000  # slower recordings don't hold the bands
MAX_S = 120.0  # of a longer recording, the beginning tells what it is
MIN_MOMENTS = 12  # with fewer, strangers look alike: about half a second of sound
MAX_ERROR = 0.17  # share of bits; copies differ in 0.05 to 0.15, other clips of a voice in 0.175 and more
MIN_OVERLAP = 0.65  # of the longer one's sounding moments

_WINDOW = 768  # 0.17 s
_HOP = 141  # 32 ms
_SUMMED = 4  # windows in a row, at every other moment, and between these the mean: a view of 0.4 s
_LAG = 4
_ROUGH_RATE = 11_000  # down to here by averaging neighbours: cheap, and what folds under 2 kHz is faint
_SOUND = 1e-4  # of the loudest moment's energy: -40 dB
_CHANGE = 0.02  # of its energy: a steady tone says nothing
_N_BANDS = 33
_EDGES = np.round(np.geomspace(300.0, 2000.0, _N_BANDS + 1) / RATE * _WINDOW).astype(np.int64)
_AT_ONCE = 32  # moments, so that they stay in the cache

# Keys: 14 bits of one moment with the same 14 of another 256 ms later, for eight choices of the bits.
_GAP = 8
_KEY_BITS = 14
_N_KEYS = 8
_KEYS_PER_CLIP = 24
_NEIGHBOURS = 8
_LOCAL_MOMENTS = np.arange(-4, _GAP + 5)
_LOCAL_ERROR = 0.27
_FRAMES_AT_ONCE = 4_000_000

Moments = NDArray[np.uint32]


class FingerprintMeter:
    """Takes mono samples piece by piece and keeps a fingerprint of the first `MAX_S` seconds.

    Args:
        rate: samples per second of what will come.
    """

    def __init__(self, rate: int) -> None:
        self._left = int(rate * MAX_S) if rate >= MIN_RATE else 0
        self._each = max(1, rate // _ROUGH_RATE)
        self._rough_rate = rate / self._each
        self._pieces: list[NDArray[np.float32]] = []

    def add(self, samples: NDArray[np.float32]) -> None:
        """Take the next samples, shape (n,)."""
        count = min(len(samples), self._left) // self._each * self._each  # the rest is too short to matter
        if count > 0:
            rough = sum(samples[start : count : self._each] for start in range(self._each))
            self._pieces.append(rough / np.float32(self._each))
        self._left -= len(samples)

    def to_bytes(self) -> bytes:
        """The fingerprint; empty if there is too little sound, or too slow a rate, to tell clips apart."""
        if not self._pieces:
            return b""
        rough = np.concatenate(self._pieces)  # at once: in a stream, soxr takes three times as long
        return _compute(soxr.resample(rough, self._rough_rate, RATE, quality="LQ")).tobytes()


def compute(samples: NDArray[np.float32], rate: int) -> bytes:
    """Return the fingerprint of mono samples, shape (n,), at `rate` Hz: 32 bits each 32 ms, or nothing."""
    meter = FingerprintMeter(rate)
    meter.add(samples)
    return meter.to_bytes()


def _compute(samples: NDArray[np.float32]) -> Moments:
    energies = _band_energies(samples)
    if len(energies) <= _LAG:
        return np.zeros(0, dtype=np.uint32)
    change = np.diff(energies, axis=1)
    change = change[_LAG:] - change[:-_LAG]
    total = energies.sum(axis=1)
    loudest = np.maximum(total[_LAG:], total[:-_LAG])
    sounds = (loudest > _SOUND * total.max()) & (np.abs(change).max(axis=1) > _CHANGE * loudest)
    if int(sounds.sum()) < MIN_MOMENTS:
        return np.zeros(0, dtype=np.uint32)
    moments = np.packbits(change > 0, axis=1, bitorder="little").view("<u4")[:, 0]
    return np.where(sounds, np.maximum(moments, 1), 0).astype("<u4")


def _band_energies(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Energy of each band at each moment, shape (moments, bands)."""
    silence = np.zeros(_WINDOW // 2, dtype=np.float32)
    padded = np.concatenate([silence, samples, silence])
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[:: 2 * _HOP]
    shape = np.hanning(_WINDOW).astype(np.float32)
    framed = np.empty((_AT_ONCE, _WINDOW), dtype=np.float32)
    heard = np.empty((_AT_ONCE, _WINDOW // 2 + 1), dtype=np.complex64)
    energies = np.zeros((len(frames) + _SUMMED - 1, _N_BANDS), dtype=np.float32)
    for start in range(0, len(frames), _AT_ONCE):
        count = min(_AT_ONCE, len(frames) - start)
        np.multiply(frames[start : start + count], shape, out=framed[:count])
        np.fft.rfft(framed[:count], out=heard[:count])
        power = np.ascontiguousarray(heard[:count, _EDGES[0] : _EDGES[-1]]).view(np.float32)
        power *= power  # real and imaginary parts side by side, added with the band's others
        at = start + _SUMMED // 2
        np.add.reduceat(power, 2 * (_EDGES[:-1] - _EDGES[0]), axis=1, out=energies[at : at + count])
    every_other = sum(energies[step : step + len(frames)] for step in range(_SUMMED))
    moments = np.empty((2 * len(frames) - 1, _N_BANDS), dtype=np.float32)
    moments[::2] = every_other
    moments[1::2] = (every_other[1:] + every_other[:-1]) / 2
    return moments


def find_groups(items: Iterable[tuple[str, bytes]]) -> list[list[str]]:
    """Group recordings that are the same one though coded again, resampled, louder, or cut at the ends.

    Nothing compares all with all: clips meet where a key of a few of their moments is the same, and only
    those that meet are compared. Recordings without a fingerprint are in no group.

    Args:
        items: id and fingerprint of each recording.

    Returns:
        Groups of two and more ids, ids and groups in the order given.
    """
    ids: list[str] = []
    of_bytes: dict[bytes, list[int]] = {}
    for name, fingerprint in items:
        if fingerprint:
            of_bytes.setdefault(fingerprint, []).append(len(ids))
            ids.append(name)
    library = _Library([np.frombuffer(content, dtype="<u4") for content in of_bytes])
    families = _Families(len(of_bytes))
    for first, second, offset in library.meetings():
        if families.find(first) != families.find(second) and library.is_same(first, second, offset):
            families.join(first, second)
    members: dict[int, list[int]] = {}
    for number, same in enumerate(of_bytes.values()):
        members.setdefault(families.find(number), []).extend(same)
    groups = [sorted(group) for group in members.values() if len(group) > 1]
    return [[ids[index] for index in group] for group in sorted(groups)]


class _Families:
    """Disjoint sets of numbers."""

    def __init__(self, n_items: int) -> None:
        self._parent = list(range(n_items))

    def find(self, item: int) -> int:
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, first: int, second: int) -> None:
        self._parent[self.find(second)] = self.find(first)


@dataclass(frozen=True, slots=True)
class _Keys:
    """Keys and the moment, in the library, that each begins at."""

    values: NDArray[np.uint64]
    at: NDArray[np.int64]


class _Library:
    """All fingerprints in one array, with silence around each so that no comparison reaches a neighbour."""

    def __init__(self, fingerprints: list[Moments]) -> None:
        self._lengths = np.array([len(f) for f in fingerprints], dtype=np.int64)
        margin = int(_LOCAL_MOMENTS[-1]) + 1
        self._starts = np.cumsum(np.concatenate([[margin], self._lengths + margin]))[:-1].astype(np.int64)
        total = int(self._lengths.sum()) + margin * (len(fingerprints) + 1)
        self._moments = np.zeros(total, dtype=np.uint32)
        for start, fingerprint in zip(self._starts, fingerprints, strict=True):
            self._moments[start : start + len(fingerprint)] = fingerprint
        self._n_sounding = np.array([np.count_nonzero(f) for f in fingerprints], dtype=np.int64)

    def meetings(self) -> Iterator[tuple[int, int, int]]:
        """Pairs of clips that sound alike around some moment, with the second's lag in moments."""
        seen: set[tuple[int, int, int]] = set()
        for number in range(_N_KEYS):
            for met in _pairs(self._keys(number)):
                first, second = met[:, self._is_alike(*met)]
                one, two = self._clip_of(first), self._clip_of(second)
                lag = (second - self._starts[two]) - (first - self._starts[one])
                for meeting in zip(one.tolist(), two.tolist(), lag.tolist(), strict=True):
                    if meeting[0] != meeting[1] and meeting not in seen:
                        seen.add(meeting)
                        yield meeting

    def is_same(self, first: int, second: int, lag: int) -> bool:
        """Whether two clips are one recording when the second is moved by `lag` moments."""
        begin = max(0, -lag)
        end = min(self._lengths[first], self._lengths[second] - lag)
        one = self._moments[self._starts[first] + begin : self._starts[first] + end]
        two = self._moments[self._starts[second] + begin + lag : self._starts[second] + end + lag]
        both = (one != 0) & (two != 0)
        longest = max(self._n_sounding[first], self._n_sounding[second])
        if both.sum() < max(MIN_MOMENTS, MIN_OVERLAP * longest):
            return False
        return float(np.bitwise_count(one[both] ^ two[both]).mean()) <= MAX_ERROR * 32

    def _clip_of(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._starts, at, side="right") - 1

    def _keys(self, number: int) -> _Keys:
        """Some keys of every clip: those whose scrambled value is low, the same ones in each copy."""
        mask = np.uint32(sum(1 << ((number * 32 // _N_KEYS + bit) % 32) for bit in range(_KEY_BITS)))
        share = np.minimum(_KEYS_PER_CLIP / np.maximum(self._n_sounding, 1), 1.0)
        values, places = [], []
        for begin in range(0, len(self._moments) - _GAP, _FRAMES_AT_ONCE):
            end = min(begin + _FRAMES_AT_ONCE, len(self._moments) - _GAP)
            early, late = self._moments[begin:end], self._moments[begin + _GAP : end + _GAP]
            at = np.flatnonzero((early != 0) & (late != 0))
            keys = ((early[at] & mask).astype(np.uint64) << np.uint64(32)) | (late[at] & mask)
            keys = _scrambled(keys)
            at += begin
            is_low = (keys >> np.uint64(11)) < share[self._clip_of(at)] * float(1 << 53)
            values.append(keys[is_low])
            places.append(at[is_low])
        if not values:
            return _Keys(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64))
        return _Keys(np.concatenate(values), np.concatenate(places))

    def _is_alike(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether few bits differ around two moments; cheap, and enough to tell nearly all strangers."""
        wrong, both = np.zeros(len(first), dtype=np.int64), np.zeros(len(first), dtype=np.int64)
        for step in _LOCAL_MOMENTS:
            one, two = self._moments[first + step], self._moments[second + step]
            sounding = (one != 0) & (two != 0)
            wrong += np.where(sounding, np.bitwise_count(one ^ two), 0)
            both += sounding
        return wrong <= both * (_LOCAL_ERROR * 32)


def _pairs(keys: _Keys) -> Iterator[NDArray[np.int64]]:
    """Moments with the same key, shape (2, n). Where many share one, each meets its next few: a chain."""
    order = np.argsort(keys.values, kind="stable")
    values, at = keys.values[order], keys.at[order]
    for step in range(1, _NEIGHBOURS + 1):
        same = np.flatnonzero(values[step:] == values[:-step])
        if len(same) == 0:
            return
        yield np.stack([at[same], at[same + step]])


def _scrambled(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread keys evenly over 64 bits (the finaliser of SplitMix64); different keys stay different."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
